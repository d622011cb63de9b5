"""The rows of a folder's images: what is in it, with captions and hashes, before anything is scored."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.images.decode import traits
from afa_bench.images.find import find_images
from afa_bench.images.names import SUFFIXES
from afa_bench.images.seen import TRAITS
from afa_bench.prompts.webui import syntax_notes
from afa_bench.scoring.captions import Captions, Carrier, carried, in_file
from afa_bench.store.layout import SampleRow


def read_folder(
    images: Path,
    prompts: Path | None = None,
    carrier: Carrier | None = None,
    images_per_prompt: int = 1,
    as_seen: bool = False,
) -> tuple[list[SampleRow], list[str]]:
    """One row an image, in the order of their names, with captions, and what is to be said of them, a line each.

    What is amiss is in a row's ``error``.

    Args:
        images: a folder; images in folders below it count too.
        prompts: a text file with a caption a line (an empty one is an empty caption), in the order of the images; or a table with
            the columns ``file``, relative to the folder, and ``prompt``.
        carrier: where captions are in place of ``prompts``.
        images_per_prompt: how many images a line of a text file stands for.
        as_seen: whether images are to be scored as a person sees them.

    Raises:
        UserError: no folder, no image in it, captions that cannot be read, or of which it is not plain whose they are.
    """
    if prompts and carrier:
        raise UserError(f"--captions {carrier}: expected this or --prompts, not both")
    if images_per_prompt != 1 and not prompts:
        raise UserError("--images-per-prompt: expected --prompts with a text file")
    found = find_images(images)
    if not found.files:
        hidden = f"; {found.notes[0]}" if found.notes else ""
        raise NothingToDoError(f"{images}: no image in it (expected {', '.join(SUFFIXES)}){hidden}")
    captions = Captions()
    if prompts:
        captions = in_file(found.files, prompts, images_per_prompt)
    elif carrier:
        captions = carried(found, carrier)
    rows = [_row(file, captions.texts.get(file, ""), captions.errors.get(file)) for file in found.files]
    rows += [_row(None, lost.caption, lost.error, lost.name) for lost in captions.lost]
    notes = [*found.notes, *captions.notes, *_read_files(images, rows, as_seen)]
    notes += syntax_notes(captions.texts.values(), "captions")
    first: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        row["prompt_id"] = first.setdefault(row["prompt"], row["sample_id"]) if prompts or carrier else row["sample_id"]
        row["image_index"] = seen[row["prompt_id"]]
        seen[row["prompt_id"]] += 1
        if row["file"] in captions.clusters:
            row["cluster"] = captions.clusters[row["file"]]
    return rows, notes


def _row(file: str | None, prompt: str, error: str | None, name: str = "") -> SampleRow:
    known = {"sample_id": file or name, "prompt_id": "", "prompt": prompt, "category": "", "image_index": 0, "repeat": 0}
    return {**known, "file": file, "sha256": None, "error": error}


def _read_files(images: Path, rows: Sequence[SampleRow], as_seen: bool) -> list[str]:
    """Fill in the rows' hashes; returns one line that says how many images are not scored as they are seen, or none."""

    def read(row: SampleRow) -> Sequence[str]:
        if row["error"] is not None:
            return ()
        try:
            data = (images / row["file"]).read_bytes()
        except OSError as error:
            row["error"] = f"{images / row['file']}: cannot be read: {error.strerror}"
            return ()
        row["sha256"] = hashlib.sha256(data).hexdigest()
        return [trait for trait in traits(data) if trait == "animated" or not as_seen]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(read, rows))
    if not any(found):
        return []
    counts = Counter(trait for own in found for trait in own)
    kinds = ", ".join(f"{counts[trait]} {words}" for trait, words in TRAITS.items() if counts[trait])
    mend = "the first frame is scored" if as_seen else "--as-seen scores them as a person sees them"
    return [f"{images}: {sum(map(bool, found))} of {len(rows)} images are not scored as they are seen ({kinds}): {mend}"]
