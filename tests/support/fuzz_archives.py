"""Damaged archives and folders of images with captions for :mod:`fuzz`: all pairs that were meant, or an error."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fuzzing import Finding, mutated, tried
from sets import picture

from afa_bench.images.stored import read
from afa_bench.prompts.base import PromptSet
from afa_bench.prompts.folder import FolderPrompts
from afa_bench.prompts.webdataset import WebDatasetPrompts

PACKED: tuple[Callable[[bytes], bytes], ...] = (bytes, gzip.compress, bz2.compress, lzma.compress)
PAIRS = {f"{folder}/{number}": (f"{folder} {number}", picture(number)) for number, folder in enumerate("abab")}


class WrongPairsError(Exception):
    """Other pairs than were meant."""


def archives(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Archives that were cut, or changed where a checksum is: what is read is whole."""
    whole, headers = _archive()
    end = len(whole.rstrip(b"\0"))
    while True:
        for old in folder.iterdir():
            old.unlink()
        pack, exact = chance.choice(PACKED), True
        data = pack(whole)
        kind = chance.choice(["whole", "cut", "changed", "header"])
        if kind == "cut":
            data = data[: chance.randrange(end if pack is bytes else len(data))]
        elif kind == "changed":
            data, exact = mutated(data, chance), pack is not bytes  # the bytes of a file in a plain archive may be any
        elif kind == "header" and pack is bytes:
            changed = bytearray(data)
            changed[chance.choice(headers) + chance.randrange(345)] ^= 1 << chance.randrange(8)
            data = bytes(changed)
        (folder / "x.tar").write_bytes(data)
        yield tried(partial(_read, WebDatasetPrompts(path=folder / "x.tar"), folder, "x.tar/", exact), f"{kind} {data!r}")


def layouts(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Folders of images whose texts and tables were changed."""
    place = folder / "pics"
    for name, (_, image) in PAIRS.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.png").write_bytes(image)
    rows = "".join(json.dumps({"file_name": f"{name}.png", "text": text}) + "\n" for name, (text, _) in PAIRS.items()).encode()
    forms = {"metadata.jsonl": rows, "metadata.jsonl.gz": gzip.compress(rows), "": b""}
    while True:
        form = chance.choice(list(forms))
        texts = {} if form else {f"{name}.json": json.dumps({"caption": text}).encode() for name, (text, _) in PAIRS.items()}
        files = texts or {form: forms[form]}
        name = chance.choice(list(files))
        before, exact = files[name], True
        if chance.random() < 0.8:
            files[name] = mutated(before, chance)
            exact = form.endswith(".gz") or files[name] == before
        for file, data in files.items():
            (place / file).write_bytes(data)
        yield tried(partial(_read, FolderPrompts(path=place), folder, "", exact), f"{name} {files[name]!r}")
        for file in files:
            (place / file).unlink()


def _archive() -> tuple[bytes, list[int]]:
    """All pairs, and where the headers are."""
    files = [
        (f"{name}{kind}", data)
        for name, (text, image) in PAIRS.items()
        for kind, data in ((".png", image), (".txt", text.encode()))
    ]
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return buffer.getvalue() + bytes(1024), [member.offset for member in archive.getmembers()]


def _read(prompt_set: PromptSet, folder: Path, prefix: str, exact: bool) -> None:
    """Read a set, and all of its images; where its files are held by checksums, or are whole, it is all that was meant."""
    found = {prompt.id: (prompt.text, read(prompt.image or b"")) for prompt in prompt_set.prompts(folder)}
    prompt_set.notes(folder)
    expected = {f"{prefix}{name}": pair for name, pair in PAIRS.items()}
    flat = dict(zip((name.rpartition("/")[2] for name in expected), expected.values(), strict=True))
    if exact and found not in (expected, flat):
        raise WrongPairsError(f"{found}")
