"""Damaged prompts, captions and images for :mod:`fuzz`, each with what an independent reader makes of it.

A value that differs from that reader's, a file read although it cannot be what was meant, several lines: all are findings.
"""

from __future__ import annotations

import csv
import io
import json
import random
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from fuzzing import Finding, mutated, tried
from PIL import Image, ImageCms, PngImagePlugin

from afa_bench.errors import UserError
from afa_bench.images.decode import MOST_PIXELS, decode, traits
from afa_bench.images.modes import COMMON
from afa_bench.images.parameters import parameters
from afa_bench.prompts.file import FilePrompts
from afa_bench.prompts.folder import FolderPrompts
from afa_bench.prompts.rows import NO_TEXT
from afa_bench.scoring.folder_rows import read_folder

PROMPTS = (
    "red dog, left of blue bus", 'a "big" dog', "", "5\" pipe", "two\nlines", "left\u2028right", "up\x0bdown\x85\x1c!", "狗 🐕",
    "(red:1.4) BREAK <lora:x:1>", "--prompt 'a dog' --negative_prompt bad --steps 9", "tab\there", "; semicolon", "'quoted'",
    "Negative prompt: bad", "Steps: 20, Sampler: Euler a, Seed: 1", " spaces ", "back\\slash", "x" * 300, "true", "null",
)  # fmt: skip
NAMES = ("prompt", "text", "caption", "Prompt", "file", "file_name", "id", "negative_prompt", "", "seed")


class WrongError(Exception):
    """A value that is not what the file says."""


def prompts(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Tables and text files of prompts that were changed, against other readers of the same bytes."""
    makers = (_csv, _tsv, _jsonl, _json, _txt, _parquet)
    while True:
        suffix, data = chance.choice(makers)(chance)
        if chance.random() < 0.8:
            data = mutated(data, chance)
        file = folder / f"p{chance.choice([suffix, suffix, suffix.upper()])}"
        file.write_bytes(data)
        yield tried(partial(_read_prompts, file, data), f"{file.suffix} {data!r}")
        file.unlink()


def _read_prompts(file: Path, data: bytes) -> None:
    prompt_set = FilePrompts(path=file)
    found = prompt_set.prompts(file.parent)
    prompt_set.notes(file.parent)
    texts = [prompt.text for prompt in found]
    if any(not isinstance(text, str) or NO_TEXT.search(text) for text in texts):
        raise WrongError("what is no text was read as one")
    kind = file.suffix.lower()
    expected = {".csv": _other_csv, ".tsv": _other_tsv, ".jsonl": _other_jsonl, ".txt": _other_txt}.get(kind, lambda data: None)(
        data
    )
    if expected is not None and expected != texts:
        raise WrongError(f"{texts!r}, expected {expected!r}")


def _rows(chance: random.Random) -> tuple[list[str], list[list[str]]]:
    head = [chance.choice(NAMES[:4]), *chance.sample(NAMES[4:], chance.randrange(3))]
    chance.shuffle(head)
    return head, [[chance.choice(PROMPTS) for _ in head] for _ in range(chance.randrange(1, 5))]


def _csv(chance: random.Random) -> tuple[str, bytes]:
    head, rows = _rows(chance)
    buffer = io.StringIO()
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(
        buffer, delimiter=chance.choice(",,,;\t"), quoting=quoting, lineterminator=chance.choice(["\n", "\r\n"])
    ).writerows([head, *rows])
    return ".csv", chance.choice([b"", b"", b"\xef\xbb\xbf"]) + buffer.getvalue().encode()


def _tsv(chance: random.Random) -> tuple[str, bytes]:
    head, rows = _rows(chance)
    plain = [[field.replace("\t", " ").replace("\n", " ") for field in row] for row in [head, *rows]]
    return ".tsv", "\n".join("\t".join(row) for row in plain).encode()


def _jsonl(chance: random.Random) -> tuple[str, bytes]:
    head, rows = _rows(chance)
    lines = [json.dumps(dict(zip(head, row, strict=True)), ensure_ascii=chance.random() < 0.5) for row in rows]
    return ".jsonl", "\n".join(lines).encode()


def _json(chance: random.Random) -> tuple[str, bytes]:
    head, rows = _rows(chance)
    return ".json", json.dumps([dict(zip(head, row, strict=True)) if chance.random() < 0.8 else row[0] for row in rows]).encode()


def _txt(chance: random.Random) -> tuple[str, bytes]:
    return ".txt", chance.choice(["\n", "\r\n"]).join(chance.choice(PROMPTS) for _ in range(chance.randrange(1, 6))).encode()


def _parquet(chance: random.Random) -> tuple[str, bytes]:
    pool: tuple[Any, ...] = (
        ["a", "b"],
        ["a", None],
        [1, 2],
        [True, False],
        [b"x", b"\xff"],
        [["a"], []],
        [{"bytes": b"x"}, None],
    )
    columns = {name: pa.array(chance.choice(pool)) for name in dict.fromkeys(chance.choices(NAMES, k=3))}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, write_page_checksum=True)
    return ".parquet", sink.getvalue()


def _other_csv(data: bytes) -> list[str] | None:
    """pyarrow's reader, which refuses rows of other lengths; only where the fields are parted by commas."""
    text = data.decode("utf-8-sig")
    head = next(csv.reader([next((line for line in io.StringIO(text, newline="") if line.strip()), "")]), [])
    names = [name for name in head if name.strip().casefold() in NAMES[:3]]
    if len(names) != 1 or "\0" in text:
        return None
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(head, pa.string()), strings_can_be_null=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(text.encode()), parse_options=parse, convert_options=options)
    except (pa.ArrowException, KeyError):
        return None
    return list(table.column(names[0]).to_pylist()) if table.column_names == head else None


def _other_tsv(data: bytes) -> list[str] | None:
    """No quotation mark in it: then lines and tabs are all there is."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.split("\t") for line in text.split("\n") if line]
    places = [place for place, name in enumerate(lines[0]) if name.strip().casefold() in NAMES[:3]]
    return [line[places[0]] for line in lines[1:]] if '"' not in text and len(places) == 1 else None


def _other_jsonl(data: bytes) -> list[str]:
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [next(value for key, value in row.items() if key.strip().casefold() in NAMES[:3]) for row in rows]


def _other_txt(data: bytes) -> list[str] | None:
    """No line that begins as a form of web UIs does: then there is a prompt a line."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n")]
    formed = any(line.startswith(("--", "Negative prompt:", "Steps:")) for line in lines)
    return None if formed else [line for line in lines if line]


def captions(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Folders of images and captions in all ways, changed: whatever is read, an image has its own caption."""
    place = folder / "images"
    place.mkdir()
    form = chance.choice(["{}.png", "img_{}.png", "sub/{}.png"])
    names = [form.format(number) for number in (1, 2, 10)]
    texts = dict(zip(names, ("one", "two", "ten"), strict=True))
    picture = encoded(Image.new("RGB", (4, 4)))
    (place / "sub").mkdir()
    for name in names:
        (place / name).write_bytes(picture)
    while True:
        kind = chance.choice(["csv", "jsonl", "log", "sidecar", "txt", "metadata"])
        rows = list(texts.items())
        chance.shuffle(rows)
        table = "filename,prompt\n" + "".join(f"{name},{text}\n" for name, text in rows)
        lines = "\n".join(json.dumps({"file": name, "caption": text}) for name, text in rows)
        content = {"jsonl": lines, "txt": "one\ntwo\nten\n", "sidecar": "one"}.get(kind, table).encode()
        data = mutated(content, chance) if chance.random() < 0.7 else content
        file = {
            "log": place / "log.csv",
            "sidecar": (place / names[0]).with_suffix(".txt"),
            "metadata": place / "metadata.csv",
        }.get(kind, folder / f"c.{kind}")
        file.write_bytes(data)
        yield tried(partial(_read_captions, kind, place, file, texts if data == content else None), f"{kind} {data!r}")
        file.unlink()


def _read_captions(kind: str, place: Path, file: Path, expected: dict[str, str] | None) -> None:
    if kind == "metadata":
        found = {str(prompt.image.path.relative_to(place)): prompt.text for prompt in FolderPrompts(path=place).prompts(place)}  # type: ignore[union-attr]
    elif kind in ("log", "sidecar"):
        rows, _ = read_folder(place, carrier=kind)  # type: ignore[arg-type]
        found = {row["file"]: row["prompt"] for row in rows if row["error"] is None}
        expected = {name: text for name, text in (expected or {}).items() if kind == "log" or text == "one"} or None
    else:
        rows, _ = read_folder(place, file)
        found = {row["file"]: row["prompt"] for row in rows if row["error"] is None}
    if expected is not None and found != expected:
        raise WrongError(f"{found}, expected {expected}")


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def images(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Encoded images of all kinds that were changed; a PNG is read whole or not at all."""
    pictures = dict(_pictures())
    while True:
        name = chance.choice(list(pictures))
        data = mutated(pictures[name], chance) if chance.random() < 0.9 else pictures[name]
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data) + 1)]
        yield tried(partial(_read_image, name, data, pictures[name]), f"{name} {data!r}")


def _pictures() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    exif, texts = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a dog\nSteps: 2, Seed: 1".encode("utf-16-be")
    texts.add_text("parameters", "a dog\nNegative prompt: bad\nSteps: 2, Seed: 1", zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"):
        yield kind, encoded(base, kind, exif=exif, icc_profile=profile)
    for kind in ("BMP", "PPM", "GIF"):
        yield kind, encoded(base, kind)
    yield "PNG texts", encoded(base, pnginfo=texts)
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"):
        yield f"TIFF {mode}", encoded(base.convert(mode), "TIFF", compression=None if mode in ("PA", "LAB") else "tiff_lzw")
    yield "PNG 16", encoded(Image.fromarray(rng.integers(0, 65536, (12, 16), dtype=np.uint16)))
    yield "PNG palette", encoded(base.convert("P"), transparency=3)
    for kind in ("PNG", "WEBP", "GIF"):
        yield f"{kind} frames", encoded(base, kind, save_all=True, append_images=[base.rotate(180)])


def _read_image(name: str, data: bytes, whole: bytes) -> None:
    errors: list[UserError] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in _readers(name, data, whole):
            try:
                read()
            except UserError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _readers(name: str, data: bytes, whole: bytes) -> Iterator[Callable[[], object]]:
    def scored() -> None:
        found = decode(data, "x")
        if found.mode not in COMMON or found.width * found.height > MOST_PIXELS:
            raise WrongError(f"{found.mode} {found.size}")
        found.convert("RGB").resize((5, 5), Image.Resampling.BICUBIC)
        if name in ("PNG", "PNG 16") and np.asarray(found).tobytes() != np.asarray(decode(whole, "x")).tobytes():
            raise WrongError("a damaged PNG has other pixels")

    def seen() -> None:
        if decode(data, "x", as_seen=True).mode != "RGB":
            raise WrongError("not RGB")

    def text() -> None:
        try:
            parameters(data)
        except (ValueError, UserError):
            raise UserError("its text cannot be read") from None

    yield from (scored, seen, lambda: traits(data), text)
