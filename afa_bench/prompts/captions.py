"""Texts of prompts and captions: files with one a line, and files beside images with one each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.prompts.rows import text
from afa_bench.prompts.webui import COMMAND, SETTINGS, Written, from_command, from_parameters, is_parameters

SIDECARS = (".txt", ".caption")
"""Of files that are a caption."""


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    return decoded(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def decoded(data: bytes, where: str) -> str:
    """A text in UTF-8, without a byte order mark; a line ends with a line feed.

    Raises:
        UserError: it is no text.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: cannot be read as {Path(where).suffix.lower()}: expected UTF-8: {error}") from error
    return text(content, where).replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[Written]:
    """The prompts of a text file: one a line, as it is or as a web UI's command line; or generation parameters, which end with
    their line of settings. An empty line is an empty prompt.

    Lines end with a line feed or a carriage return alone, not with U+2028 and the like.

    Raises:
        UserError: it cannot be read, or a line is none of these.
    """
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if is_parameters(lines):
        return _parameters(path, lines)
    return [_line(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]


def written(content: str) -> Written:
    """The caption that a text of its own is: all of it, or the prompt of the generation parameters that it has."""
    lines = content.strip().split("\n")
    return from_parameters(lines) if is_parameters(lines) else Written(content.strip())


def _line(line: str, where: str) -> Written:
    return from_command(line, where) if COMMAND.match(line) else Written(line.strip())


def _parameters(path: Path, lines: Sequence[str]) -> list[Written]:
    found: list[Written] = []
    begin = 0
    for number, line in enumerate(lines):
        if SETTINGS.match(line):
            found.append(from_parameters(lines[begin : number + 1]))
            begin = number + 1
    if any(line.strip() for line in lines[begin:]):
        raise UserError(f"{path}: line {begin + 1}: expected generation parameters that end with a line 'Steps: ...'")
    return found
