"""The log of a search: a line of JSON for each candidate. It is all that a killed search needs to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from afa_bench.errors import UserError
from afa_bench.identity import canonical


class Line(BaseModel):
    """What a search needs of a candidate's line."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    id: str
    scores: list[float]
    verdict: str
    seconds: float


class Log:
    """A file whose first line says what is searched, and every other what one candidate was worth.

    Args:
        path: made if it is not there; a last line which a kill has torn is cut off.
        about: what is searched; a log of another search is refused.

    Raises:
        UserError: a log of another search, one that another process is writing, a damaged one; a folder that cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
        try:
            self._require_alone()
            self.entries = self._read(about)
        except BaseException:
            self._file.close()
            raise

    def _require_alone(self) -> None:
        """Take the file for this process alone, until it ends."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{self.path}: another search is writing it; expected one search a folder") from error

    def _read(self, about: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        self._file.seek(0)
        whole = self._file.read()
        kept = whole[: whole.rfind(b"\n") + 1]
        found: dict[str, Mapping[str, Any]] = {}
        for number, text in enumerate(kept.splitlines(), start=1):
            try:
                line = json.loads(text)
                if number > 1:
                    found[Line.model_validate(line).id] = line
                    continue
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "line"
                raise UserError(f"{self.path}:{number}: damaged: {place}: {first['msg']}") from error
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.path}:{number}: damaged: {error}; expected a line of JSON for each candidate") from error
            if not isinstance(line, Mapping):
                raise UserError(f"{self.path}:{number}: damaged: expected what is searched, found {text[:40]!r}")
            if isinstance(line.get("rules"), dict):
                line["rules"].pop("sweeps", None)  # which an earlier version had there
            if canonical(line) != canonical(about):
                keys = ", ".join(key for key in dict.fromkeys([*line, *about]) if line.get(key) != about.get(key))
                raise UserError(f"{self.path}: {keys}: is the log of another search; expected the same one, or another folder")
        self._file.truncate(len(kept))
        if not kept:
            self.write(about)
        return found

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
