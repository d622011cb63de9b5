"""The log of a training: ``log.jsonl``, a line every few steps, which goes on where a resumed training does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError, unreadable
from afa_bench.store.atomic import write_bytes

Values = Mapping[str, float]


class TrainingLog:
    """Lines of ``{"step": ..., name: value, ...}``.

    Args:
        file: where; None keeps nothing.
        done: steps whose lines are kept; what an interrupted training wrote after its last checkpoint comes again.
    """

    def __init__(self, file: Path | None, done: int) -> None:
        self.file = file
        if file is not None:
            kept = [line for line in read_log(file) if line["step"] <= done]
            write_bytes(file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, step: int, values: Values) -> None:
        """Append a line."""
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")


def read_log(file: Path) -> list[dict[str, float]]:
    """The lines of a log; none where there is no file. A last line which was cut off is left out.

    Raises:
        UserError: something else than a log.
    """
    lines: list[dict[str, float]] = []
    try:
        texts = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for number, text in enumerate(texts, start=1):
            try:
                lines.append(_checked(json.loads(text)))
            except (ValueError, RecursionError) as error:
                if number < len(texts):
                    raise UserError(f"{file}:{number}: damaged: {error}; expected a line of a training's log") from error
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a training's log: {error}; expected UTF-8") from error
    return lines


def _checked(line: Any) -> dict[str, float]:
    """A line of a log, which has its step and numbers beside it; a ValueError for anything else."""
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        raise ValueError(f"found {str(line)[:40]!r}")
    for name, value in line.items():
        if not isinstance(value, int | float):
            raise ValueError(f"{name}: found {str(value)[:40]!r}")
    return line
