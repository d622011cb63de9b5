"""Prompts as web UIs write them: command lines of a prompt file, generation parameters, and what their syntax is."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from afa_bench.errors import UserError


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt as it was written.

    Attributes:
        text: what is asked for.
        negative: what is to be avoided; None where nothing is said of it.
        settings: names of what else was said, such as the number of steps.
    """

    text: str
    negative: str | None = None
    settings: Sequence[str] = ()


COMMAND = re.compile(r"\s*--[a-z][a-z_]*(\s|$)")
"""How a line of the script "prompts from file" begins that is no bare prompt."""

OPTIONS = (
    "sd_model", "outpath_samples", "outpath_grids", "prompt_for_display", "styles", "seed", "subseed_strength", "subseed",
    "seed_resize_from_h", "seed_resize_from_w", "sampler_index", "sampler_name", "batch_size", "n_iter", "steps", "cfg_scale",
    "width", "height", "restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid",
)  # fmt: skip
"""What such a line may say beside ``prompt`` and ``negative_prompt``; each has one value."""

NEGATIVE = "Negative prompt:"
SETTINGS = re.compile(r"Steps: \d+, \w[\w ]*: ")
"""How the line of settings begins that ends an image's generation parameters."""


def from_command(line: str, where: str) -> Written:
    """A line ``--prompt "..." --negative_prompt "..." --steps 20``, in which a shell's quotation marks hold a text together.

    Raises:
        UserError: an unknown option, one without its value or there twice, or no prompt.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(f"{where}: {line.strip()[:60]}: {error}: expected texts in quotation marks") from error
    found: dict[str, str] = {}
    while words:
        option = words.pop(0).removeprefix("--")
        taken = 0
        while taken < len(words) and not words[taken].startswith("--"):
            taken += 1
        value, words = words[:taken], words[taken:]
        if option not in ("prompt", "negative_prompt", *OPTIONS):
            raise UserError(f"{where}: --{option}: unknown option of a line that begins with --")
        if not value or (option in OPTIONS and len(value) > 1):
            raise UserError(f"{where}: --{option}: expected one value, found {' '.join(value) or 'none'}")
        if option in found:
            raise UserError(f"{where}: --{option}: is there twice")
        found[option] = " ".join(value)
    if "prompt" not in found:
        raise UserError(f"{where}: --prompt: expected it in a line that begins with --")
    return Written(found.pop("prompt"), found.pop("negative_prompt", None), tuple(found))


def is_parameters(lines: Iterable[str]) -> bool:
    """Whether lines have those of generation parameters among them."""
    return any(SETTINGS.match(line) or line.startswith(NEGATIVE) for line in lines)


def from_parameters(lines: Sequence[str]) -> Written:
    """Generation parameters as images carry them: the prompt, ``Negative prompt: ...``, and a line of settings; each but the
    last may go on over several lines."""
    end = next((number for number, line in enumerate(lines) if SETTINGS.match(line)), len(lines))
    begin = next((number for number, line in enumerate(lines[:end]) if line.startswith(NEGATIVE)), end)
    negative = "\n".join(lines[begin:end]).removeprefix(NEGATIVE).strip()
    settings = re.findall(r"(\w[\w \-/]*): ", lines[end]) if end < len(lines) else []
    return Written("\n".join(lines[:begin]).strip(), negative if begin < end else None, tuple(settings))


SYNTAX = {
    "(red:1.4)": r"[(\[][^()\[\]]*(?<!\d):\s*[+-]?\d*\.?\d+\s*[)\]]",
    "((red))": r"\(\([^()]+\)\)|\[\[[^\[\]]+\]\]",
    "[a|b], {a|b}": r"\[[^\[\]]*\|[^\[\]]*\]|\{[^{}]*\|[^{}]*\}",
    "AND": r"(?<=\S\s)AND(?=\s\S)",
    "BREAK": r"\bBREAK\b",
    "__wildcard__": r"(?<!\w)__[\w/*-]+?__(?!\w)",
    "<lora:name:1>": r"<[a-z]+:[^<>]+>",
    "red++": r"(?<=[\w)])(\+\+|--)(?=[\s,.)]|$)",
    "red::2": r"::\s*[+-]?\d",
    "--option": r"(?<!\S)--[a-z]\w*",
}
"""What web UIs and services take for more than letters: an example of it, and its pattern."""

_SYNTAX = {example: re.compile(pattern) for example, pattern in SYNTAX.items()}
_ANY = re.compile(r"[(\[{<]|__|::|--|\+\+|AND|BREAK")
"""What every text with syntax has: the others are not looked at twice."""


def syntax_notes(texts: Iterable[str], what: str) -> list[str]:
    """One line that says in how many texts there is syntax of web UIs, or none.

    Args:
        texts: prompts, or captions.
        what: they are, such as ``prompts``.
    """
    counts: Counter[str] = Counter()
    total = having = 0
    for text in texts:
        total += 1
        if _ANY.search(text) and (found := [example for example, pattern in _SYNTAX.items() if pattern.search(text)]):
            counts.update(found)
            having += 1
    if not having:
        return []
    kinds = ", ".join(f"{example} in {counts[example]}" for example in _SYNTAX if counts[example])
    return [f"{having} of {total} {what} have syntax of web UIs, which is read as letters: {kinds}"]


def settings_notes(written: Iterable[Written], where: str) -> list[str]:
    """One line that says which settings were read and are not taken, or none."""
    names = list(dict.fromkeys(name for one in written for name in one.settings))
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return [f"{where}: of the prompts' own settings none is taken ({shown})"] if names else []
