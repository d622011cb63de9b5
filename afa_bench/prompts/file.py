"""Anyone's own prompts: a text file (one a line), or a table with a column of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.images.stored import Picture
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.rows import TABLES, read_rows


class TablePrompts(PromptSet):
    """Prompts in the rows of tables.

    Attributes:
        column, id_column, category_column, image_column: without an id column the row's number is the id; an image is encoded
            bytes, alone or as ``{bytes: ...}``, which is how a Parquet file of the hub has it.
    """

    column: str = "prompt"
    id_column: str | None = None
    category_column: str | None = None
    image_column: str | None = None

    def of_tables(self, paths: list[Path]) -> list[Prompt]:
        """The prompts of all tables, one after the other.

        Raises:
            UserError: unreadable, another type, a missing column, a prompt that is no text, an id twice, or no prompt at all.
        """
        columns = [c for c in (self.column, self.id_column, self.category_column, self.image_column) if c]
        rows = (row for path in paths for row in self._texts(path, columns))
        prompts = [self._prompt(index, row) for index, row in enumerate(rows)]
        return checked(prompts, paths[0] if paths else Path(), self.id_column)

    def _texts(self, path: Path, columns: list[str]) -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(read_rows(path, columns), start=1):
            for column in columns:
                if column != self.image_column and not isinstance(row[column], str | int):
                    raise UserError(f"{path}: row {number}: {column}: expected a text")
            yield row

    def _prompt(self, index: int, row: Mapping[str, Any]) -> Prompt:
        identity = str(row[self.id_column]) if self.id_column else f"{index:06d}"
        category = str(row[self.category_column]) if self.category_column else ""
        return Prompt(identity, str(row[self.column]), category, _image(row[self.image_column]) if self.image_column else None)


class FilePrompts(TablePrompts):
    """Prompts of a .txt, .csv, .tsv, .jsonl or .parquet file.

    Attributes:
        path: relative to the suite.
    """

    source: ClassVar[str] = "a file of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path

    def prompts(self, folder: Path) -> list[Prompt]:
        """The file's prompts; blank lines of a text file are skipped.

        Raises:
            UserError: as :meth:`of_tables`.
        """
        path = folder / self.path.expanduser()
        if path.suffix != ".txt":
            if path.suffix not in TABLES:
                raise UserError(f"{path}: expected a .txt, {', '.join(TABLES)} file")
            return self.of_tables([path])
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: cannot be read as .txt: {error}") from error
        return checked([Prompt(f"{index:06d}", line) for index, line in enumerate(filter(None, lines))], path)


def checked(prompts: list[Prompt], path: Path, id_column: str | None = None) -> list[Prompt]:
    """The prompts, if there are any and each id is there once.

    Raises:
        UserError: otherwise.
    """
    if not prompts:
        raise NothingToDoError(f"{path}: no prompt in it")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise UserError(f"{path}: {id_column or 'prompts'}: expected unique ids")
    return prompts


def _image(value: Any) -> Picture | None:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return data if isinstance(data, bytes) else None
