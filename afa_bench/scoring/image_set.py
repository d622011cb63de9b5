"""Sets of images: those that are scored, and the real ones that they are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from typing_extensions import override

from afa_bench.cells import Cell, Lazy, Plan, Sample
from afa_bench.errors import UserError
from afa_bench.extractors.base import Extractor
from afa_bench.images.decode import decode
from afa_bench.images.stored import Picture, identity, shown
from afa_bench.scoring.extraction import BATCH, ImageInput
from afa_bench.scoring.reconstruct import ReconstructedBatch, Reconstructor
from afa_bench.store.layout import CellStore, SampleRow

if TYPE_CHECKING:
    from afa_bench.metrics.gaussian import Gaussian
    from afa_bench.models.group import Group


@dataclass(frozen=True)
class _StoredRows(Lazy[Sequence[SampleRow]]):
    """The rows of a cell's finished shards, read when they are asked for, with the categories that their prompts have now."""

    files: CellStore
    shards: Sequence[Sequence[Sample]]

    def __len__(self) -> int:
        return len(self.shards)

    @override
    def item(self, index: int) -> Sequence[SampleRow]:
        rows = zip(self.files.rows_of(index), self.shards[index], strict=True)
        return [{**row, "category": sample.prompt.category} for row, sample in rows]


@dataclass(frozen=True)
class ImageSet:
    """Images to score: a cell's of a run, or those of a folder.

    Attributes:
        store: where their features are kept.
        folder: that their rows' ``file`` is relative to.
        shards: rows by shard; those with an error take no part. A plain list where rows may still fail (``tolerant``).
        tolerant: whether an image that cannot be read becomes an error in its row; otherwise it stops the run.
        as_seen: whether they are read as a person sees them, and not as the official loops read them.
    """

    store: CellStore
    folder: Path
    shards: Sequence[Sequence[SampleRow]]
    tolerant: bool = False
    as_seen: bool = False

    @classmethod
    def of_cell(cls, plan: Plan, cell: Cell, files: CellStore) -> ImageSet:
        """A cell's, of which all shards are finished."""
        return cls(files, files.images, _StoredRows(files, plan.shards(cell)))

    def in_memory(self) -> ImageSet:
        """The same with all rows in memory, so that values can be written into them."""
        return replace(self, shards=list(self.shards))

    def good(self, shard: int) -> list[SampleRow]:
        return [row for row in self.shards[shard] if row["error"] is None]

    def prompts(self, by: str) -> dict[str, str]:
        """The prompts of all rows that have an image, by another of their columns."""
        return {row[by]: row["prompt"] for shard in range(len(self.shards)) for row in self.good(shard)}

    def inputs(self, rows: Sequence[SampleRow]) -> list[ImageInput]:
        return [
            ImageInput(partial(_generated, self.folder / row["file"], row["sha256"], self.as_seen), row["prompt"]) for row in rows
        ]


@dataclass(frozen=True)
class RealImages:
    """The real images that metrics compare generated ones with.

    Attributes:
        paired: prompt id -> that prompt's own real image, where it has one.
        by: the column of a row that ``paired`` is looked up with.
        find: the reference images of the distribution; asked once, and only if a metric needs them.
        group: whose VAE reconstructs them.
        vae: the VAE's sha256.
        size: of the generated images in pixels.
        moments: of an extractor's features, where a file of statistics stands in place of reference images.
        moments_identity: the sha256 of that file.
    """

    paired: Mapping[str, Picture | None] = field(default_factory=dict)
    by: Literal["prompt_id", "sample_id"] = "prompt_id"
    find: Callable[[], Sequence[Picture]] = tuple
    group: Group | None = None
    vae: str | None = None
    size: int | tuple[int, int] | None = None
    moments: Callable[[Extractor], Gaussian] | None = None
    moments_identity: str | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> RealImages:
        first = plan.cells[0]
        return cls(
            paired={prompt.id: prompt.image for prompt in plan.samples.prompts},
            find=lambda: plan.prompts.reference(plan.suite.file.parent),
            group=first.group,
            vae=first.vae,
            size=plan.suite.size,
        )

    @cached_property
    def reference(self) -> Sequence[Picture]:
        return self.find()

    def has(self, kind: str) -> bool:
        """Whether there are reference images of a kind: ``real``, or ``vae`` for their reconstructions."""
        return self.moments is None and bool(self.reference) and (kind == "real" or self.group is not None)

    def paired_inputs(self, prompts: Mapping[str, str]) -> list[ImageInput]:
        """Some prompts' own real images (id -> text), as networks take them."""
        return [ImageInput(partial(shown, self.paired[name] or b"", name), text) for name, text in prompts.items()]

    def reference_inputs(self, first: int, last: int, reconstruct: Reconstructor | None) -> list[ImageInput]:
        """Reference images ``first`` to ``last - 1``, as networks take them; through a VAE where one is given."""
        pictures = self.reference[first:last]
        names = [f"reference image {first + index}" for index in range(len(pictures))]
        if reconstruct is None:
            return [ImageInput(partial(shown, picture, name)) for picture, name in zip(pictures, names, strict=True)]
        inputs: list[ImageInput] = []
        for start in range(0, len(pictures), BATCH):
            batch = ReconstructedBatch(pictures[start : start + BATCH], names[start : start + BATCH], reconstruct)
            inputs += [ImageInput(partial(batch.image, index)) for index in range(len(batch.pictures))]
        return inputs

    def reference_identity(self, kind: str, first: int, last: int) -> list[Any]:
        """What fixes the pixels of reference images ``first`` to ``last - 1`` of a kind."""
        return [kind, self.vae if kind == "vae" else None, self.size, self._identities[first:last], "as seen"]

    @cached_property
    def _identities(self) -> list[str]:
        return [identity(picture) for picture in self.reference]


def _generated(path: Path, sha256: str, as_seen: bool) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path}: not the image that was generated (its sha256 is another); delete it and run again")
    return decode(data, str(path), as_seen)
