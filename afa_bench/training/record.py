"""``training.json``: what was done in a training's folder, and with which settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.store.atomic import json_text, read_json, write_json

FACTS = "training.json"


class Record:
    """Settings, versions and models of a training, with the steps that are ``done``.

    Where a training goes on with other settings (more steps, a lower rate), the file has the latest; ``earlier`` has what was
    otherwise ``until`` which step. It is written with each checkpoint: a training that does nothing changes nothing.

    Args:
        folder: of the training.
        facts: what it is done with, in plain values.
        done: steps that its checkpoint has; None where there is none.

    Raises:
        UserError: there is a checkpoint, and a damaged file.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], done: int | None) -> None:
        self.file = folder / FACTS
        self.facts: dict[str, Any] = json.loads(json.dumps(facts))
        self.earlier: list[Any] = []
        known = read_json(self.file) if done is not None else None
        if isinstance(known, Mapping):
            before = {key: value for key, value in known.items() if key not in ("done", "earlier")}
            changed = {key: value for key, value in before.items() if value != self.facts.get(key)}
            found = known.get("earlier")
            self.earlier = [*(found if isinstance(found, list) else []), *([{"until": done, **changed}] if changed else [])]
            try:
                json_text(self._with(done or 0)).encode()
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.file}: damaged: {error}; expected a training's record, or no such file") from error
        else:
            self.write(done or 0)

    def write(self, done: int) -> None:
        """Say that so many steps are done."""
        write_json(self.file, self._with(done))

    def _with(self, done: int) -> dict[str, Any]:
        return {**self.facts, "done": done, **({"earlier": self.earlier} if self.earlier else {})}
