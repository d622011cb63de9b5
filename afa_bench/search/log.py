"""The log of a search: a line of JSON for each candidate. It is all that a killed search needs to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.identity import canonical


class Log:
    """A file whose first line says what is searched, and every other what one candidate was worth.

    Args:
        path: made if it is not there; a last line which a kill has torn is cut off.
        about: what is searched; a log of another search is refused.

    Raises:
        UserError: a log of another search, a damaged one, or a folder that cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.read_bytes() if path.exists() else b""
            kept = whole[: whole.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in kept.splitlines()]
            self._file = path.open("ab")
            self._file.truncate(len(kept))
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
        except ValueError as error:
            raise UserError(f"{path}: damaged: {error}; expected a line of JSON for each candidate") from error
        if not lines:
            self.write(about)
        elif canonical(lines[0]) != canonical(about):
            keys = [key for key in dict.fromkeys([*lines[0], *about]) if lines[0].get(key) != about.get(key)]
            raise UserError(f"{path}: {', '.join(keys)}: is the log of another search; expected the same one, or another folder")
        self.entries: dict[str, Mapping[str, Any]] = {line["id"]: line for line in lines[1:]}

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is on the disk when this returns."""
        try:
            self._file.write(canonical(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
