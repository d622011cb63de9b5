"""Anyone's own prompts: a text file (one a line), or a table with a column of prompts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from afa_bench.errors import NOTHING_TO_DO, UserError
from afa_bench.prompts.base import Prompt, PromptSet


class FilePrompts(PromptSet):
    """Prompts of a .txt, .csv, .tsv or .jsonl file.

    Attributes:
        path: relative to the suite.
        column, id_column, category_column: of a table; without an id column the row's number is the id.
    """

    source: ClassVar[str] = "a file of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    column: str = "prompt"
    id_column: str | None = None
    category_column: str | None = None

    def prompts(self, folder: Path) -> list[Prompt]:
        """The file's prompts; blank lines of a text file are skipped.

        Raises:
            UserError: unreadable, another type, a missing column, a prompt that is no text, an id twice, or no prompt at all.
        """
        path = folder / self.path.expanduser()
        try:
            rows = list(self._rows(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, ValueError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read as {path.suffix or 'text'}: {error}") from error
        if not rows:
            raise UserError(f"{path}: no prompt in it", NOTHING_TO_DO)
        if len({prompt.id for prompt in rows}) < len(rows):
            raise UserError(f"{path}: {self.id_column}: expected unique ids")
        return rows

    def _rows(self, path: Path) -> Iterator[Prompt]:
        if path.suffix == ".txt":
            lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            yield from (Prompt(f"{index:06d}", line) for index, line in enumerate(line for line in lines if line))
        elif path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
                yield from (self._prompt(path, index, row) for index, row in enumerate(reader))
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                rows = (json.loads(line) for line in file if line.strip())
                yield from (self._prompt(path, index, row) for index, row in enumerate(rows))
        else:
            raise UserError(f"{path}: expected a .txt, .csv, .tsv or .jsonl file")

    def _prompt(self, path: Path, index: int, row: Any) -> Prompt:
        for column in filter(None, (self.column, self.id_column, self.category_column)):
            if not isinstance(row, dict) or not isinstance(row.get(column), str | int):
                raise UserError(f"{path}: row {index + 1}: {column}: expected a text")
        identity = str(row[self.id_column]) if self.id_column else f"{index:06d}"
        return Prompt(identity, str(row[self.column]), str(row[self.category_column]) if self.category_column else "")
