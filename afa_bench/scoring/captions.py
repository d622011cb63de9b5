"""Which caption belongs to which image of a folder: by the order of lines, by name in a table, beside the image, or in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from afa_bench.errors import UserError
from afa_bench.images.find import Found
from afa_bench.images.order import in_order
from afa_bench.images.parameters import parameters
from afa_bench.prompts.captions import read_bytes, read_lines, written
from afa_bench.prompts.rows import FILE, PROMPT, file_of, parsed, read_rows, text
from afa_bench.prompts.samples import TEXTS, Samples, pair
from afa_bench.prompts.webui import Written

Carrier: TypeAlias = Literal["sidecar", "log", "image"]
CARRIERS: Mapping[Carrier, str] = {
    "sidecar": "a text file beside each image",
    "log": "the web UI's log.csv in the folder",
    "image": "the generation parameters in each image",
}
"""What may carry captions beside a file of them."""

LOG = "log.csv"
NO_FILE = "no image for this caption"


@dataclass(frozen=True)
class Lost:
    """A caption without an image: its name, its text, and why."""

    name: str
    caption: str
    error: str


@dataclass
class Captions:
    """The captions of a folder's images.

    Attributes:
        texts: image -> caption.
        errors: image -> why it has none.
        clusters: image -> what its sample is not independent of, where the table says so.
        lost: captions without an image.
        notes: how they were found, a line each.
    """

    texts: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def in_file(files: Sequence[str], prompts: Path, images_per_prompt: int) -> Captions:
    """Captions of a file: a text file's lines, in the order of the images; or a table that names the images.

    Raises:
        UserError: it cannot be read, or cannot be meant for these images.
    """
    if prompts.suffix.lower() == ".txt":
        return _by_line(files, prompts, images_per_prompt)
    if images_per_prompt != 1:
        raise UserError(f"--images-per-prompt: {prompts}: expected a text file, a table names its images")
    return _by_name(files, prompts)


def carried(found: Found, carrier: Carrier) -> Captions:
    """Captions that lie beside the images or in them.

    Raises:
        UserError: there is no log, or it cannot be read.
    """
    return {"log": _by_log, "sidecar": _by_text, "image": _by_parameters}[carrier](found.folder, found)


def _by_line(files: Sequence[str], prompts: Path, images_per_prompt: int) -> Captions:
    lines = [line.text for line in read_lines(prompts)]
    if len(lines) * images_per_prompt != len(files):
        empty = ", the last of them empty" if lines and not lines[-1] else ""
        each, rest = divmod(len(files), len(lines) or len(files) + 1)
        hint = f", or --images-per-prompt {each}" if each > 1 and not rest else ""
        times = f" of {images_per_prompt} images each" if images_per_prompt > 1 else ""
        raise UserError(
            f"{prompts}: {len(lines)} captions{times}{empty}, for {len(files)} images: expected one for each image{hint}"
        )
    ordered, order = in_order(files, str(prompts))
    note = f"{prompts}: captions go to images {order}: the first line to {ordered[0]}, the last to {ordered[-1]}"
    return Captions({file: lines[place // images_per_prompt] for place, file in enumerate(ordered)}, notes=[note])


def _by_name(files: Sequence[str], table: Path) -> Captions:
    there, found, seen = set(files), Captions(), dict[str, int]()
    for number, row in enumerate(read_rows(table, [FILE, PROMPT], ["error", "sample_id", "cluster"]), start=1):
        where = f"{table}: row {number}"
        caption = text(row[PROMPT[0]], f"{where}: prompt")
        if row[FILE[0]] is None and row.get("error"):  # of a run's samples.parquet
            name = str(row.get("sample_id") or f"row {number}")
            found.lost.append(Lost(f"{table.name} {name}", caption, f"failed when it was made: {row['error']}"))
            continue
        file = file_of(row[FILE[0]], f"{where}: file", there)
        if file in seen:
            raise UserError(f"{where}: {file}: has a caption already, in row {seen[file]}: expected one caption of an image")
        seen[file] = number
        if file not in there:
            found.lost.append(Lost(f"{table.name} {file}", caption, NO_FILE))
            continue
        found.texts[file] = caption
        if row.get("cluster"):
            found.clusters[file] = str(row["cluster"])
    found.errors = {file: f"no caption: not in {table.name}" for file in files if file not in seen}
    found.lost.sort(key=lambda lost: lost.name)
    return found


def _by_text(folder: Path, images: Found) -> Captions:
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for name in images.beside:
        if name.lower().endswith(TEXTS):
            texts[name.rpartition(".")[0]].append(name)
    found, whole = Captions(), Samples()
    for file in images.files:
        stem = file.rpartition(".")[0]
        own = texts.get(stem, [])
        try:
            sample = pair([file, *own], lambda name: read_bytes(folder / name), lambda name: str(folder / name))
            if sample.bare:
                raise UserError(f"no caption: expected {PurePosixPath(stem).name}.txt beside it")
            found.texts[file] = sample.captions[file].text
            whole.differing += sample.differing
        except UserError as error:
            found.errors[file] = str(error)
    taken = {file.rpartition(".")[0] for file in images.files}
    whole.texts = [name for stem, own in texts.items() if stem not in taken for name in own]
    whole.captions = {file: Written(caption) for file, caption in found.texts.items()}
    found.notes = [_origin(folder, found, images.files, "sidecar"), *whole.notes(folder, {})]
    return found


def _by_parameters(folder: Path, images: Found) -> Captions:
    found = Captions()
    for file in images.files:
        try:
            found.texts[file] = _inside(folder / file).text
        except UserError as error:
            found.errors[file] = str(error)
    found.notes = [_origin(folder, found, images.files, "image")]
    return found


def _by_log(folder: Path, images: Found) -> Captions:
    """A log goes on while images are saved and deleted: rows without an image are counted, no more."""
    if not (folder / LOG).is_file():
        raise UserError(f"{folder}: --captions log: expected {LOG} in it")
    files, found, gone = images.files, Captions(), 0
    there = set(files)
    for number, row in enumerate(read_rows(folder / LOG, [FILE, PROMPT]), start=1):
        where = f"{folder / LOG}: row {number}"
        file, caption = file_of(row[FILE[0]], f"{where}: filename", there), text(row[PROMPT[0]], f"{where}: prompt")
        gone += file not in there
        if file in there and found.texts.setdefault(file, caption) != caption:
            raise UserError(f"{where}: {file}: has another caption already: expected one caption of an image")
    found.errors = {file: f"no caption: not in {LOG}" for file in files if file not in found.texts}
    found.notes = [_origin(folder, found, files, "log") + (f"; {gone} of its rows have no image" if gone else "")]
    return found


def _origin(folder: Path, found: Captions, files: Sequence[str], carrier: Carrier) -> str:
    return f"{folder}: captions are from {CARRIERS[carrier]}: {len(found.texts)} of {len(files)} images have one"


def _inside(path: Path) -> Written:
    try:
        content = parameters(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: no caption: {error}") from error
    if content is None:
        raise UserError("no caption: it carries no generation parameters")
    content = text(content, f"{path}: its generation parameters")
    if not content.lstrip().startswith("{"):
        return written(content)
    document = parsed(content, f"{path}: its generation parameters")
    prompt = document.get("prompt") if isinstance(document, dict) else None
    return Written(text(prompt, f"{path}: its generation parameters: prompt"))
