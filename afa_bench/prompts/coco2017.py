"""COCO 2017 captions (Lin et al. 2014, "Microsoft COCO: Common Objects in Context")."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from afa_bench.errors import UserError
from afa_bench.fetch import Needed, UrlFile, locate
from afa_bench.images.archives import in_zip
from afa_bench.images.stored import Picture
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked

Split = Literal["val", "train"]

ANNOTATIONS = UrlFile(address="http://images.cocodataset.org/annotations/annotations_trainval2017.zip")
"""Has ``annotations/captions_val2017.json`` and ``captions_train2017.json``: ``images`` (``id``, ``file_name``) and
``annotations`` (``id``, ``image_id``, ``caption``; five or so an image)."""

IMAGES: dict[Split, UrlFile] = {
    "val": UrlFile(address="http://images.cocodataset.org/zips/val2017.zip"),
    "train": UrlFile(address="http://images.cocodataset.org/zips/train2017.zip"),
}


class Coco2017(PromptSet):
    """One caption an image, in the order of the images' ids; each prompt has its image, which is one cluster of the intervals.

    Attributes:
        split: ``val`` (5,000 images) or ``train`` (118,287).
        captions: the first caption of an image (that with the smallest id), or all of them.
        reference_split: the images that FID compares with. The paper's appendix C calls the 118,287 images of ``train`` its
            test set.
    """

    source: ClassVar[str] = "cocodataset.org, captions and images of 2017"
    licence: ClassVar[str] = "annotations CC BY 4.0; images under the Flickr terms of their owners"

    split: Split = "val"
    captions: Literal["first", "all"] = "first"
    reference_split: Split = "train"

    def sources(self) -> Sequence[Needed]:
        """Captions, and the images of both splits in use."""
        return [ANNOTATIONS, *(IMAGES[split] for split in dict.fromkeys((self.split, self.reference_split)))]

    @property
    def expected(self) -> int | None:
        """How many prompts there are."""
        return {"val": 5_000, "train": 118_287}[self.split] if self.captions == "first" else None

    def prompts(self, folder: Path) -> list[Prompt]:
        """The captions.

        Raises:
            UserError: not fetched, changed since, or another layout.
        """
        path, images = locate(ANNOTATIONS), in_zip(locate(IMAGES[self.split]))
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"annotations/captions_{self.split}2017.json") as file:
                content = json.load(file)
            names = {image["id"]: image["file_name"] for image in content["images"]}
            captions: list[dict[str, Any]] = sorted(content["annotations"], key=lambda row: (row["image_id"], row["id"]))
            if self.captions == "first":
                captions = list({row["image_id"]: row for row in reversed(captions)}.values())[::-1]
            prompts = [
                Prompt(
                    str(row["image_id"]) if self.captions == "first" else f"{row['image_id']}-{row['id']}",
                    row["caption"].strip(),
                    image=images[names[row["image_id"]]],
                    cluster=None if self.captions == "first" else str(row["image_id"]),
                )
                for row in captions
            ]
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: expected the captions of COCO 2017: {error!r}") from error
        return checked(prompts, path)

    def reference(self, folder: Path) -> list[Picture]:
        """All images of the reference split.

        Raises:
            UserError: not fetched, or changed since.
        """
        return list(in_zip(locate(IMAGES[self.reference_split])).values())
