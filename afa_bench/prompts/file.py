"""Anyone's own prompts: a text file, or a table with a column of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.images.stored import HeldImage, Picture
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.captions import read_lines
from afa_bench.prompts.rows import NEGATIVE, PROMPT, TABLES, Column, has_column, kind_of, read_rows, text
from afa_bench.prompts.webui import settings_notes


class TablePrompts(PromptSet):
    """Prompts in the rows of tables.

    Attributes:
        column: of the prompts; by default the one of ``prompt``, ``text`` and ``caption`` that there is.
        id_column, category_column, image_column: without an id column the row's number is the id; an image is encoded bytes,
            alone or as ``{bytes: ...}``, which is how a Parquet file of the hub has it; none for a row without.
        negative_column: of negative prompts; an empty one stands for the suite's.
    """

    column: str | None = None
    id_column: str | None = None
    category_column: str | None = None
    image_column: str | None = None
    negative_column: str | None = None

    def of_tables(self, paths: list[Path]) -> list[Prompt]:
        """The prompts of all tables, one after the other.

        Raises:
            UserError: unreadable, another type, a missing column, a prompt that is no text, an id twice, or no prompt at all.
        """
        rows = (row for path in paths for row in self._rows(path))
        return checked(
            [self._prompt(index, row) for index, row in enumerate(rows)], paths[0] if paths else Path(), self.id_column
        )

    def table_notes(self, paths: list[Path]) -> list[str]:
        """What is to be said of the tables: columns of negative prompts or of categories that no option names."""
        passed = {NEGATIVE: ("negative_column", self.negative_column), "category": ("category_column", self.category_column)}
        return [
            f"{path}: the column {column} is not read: {option}: {column} takes it"
            for path in paths[:1]
            for column, (option, named) in passed.items()
            if not named and column not in self._columns and has_column(path, self._columns, column)
        ]

    @property
    def _columns(self) -> list[Column]:
        named = (self.id_column, self.category_column, self.image_column, self.negative_column)
        return [self.column or PROMPT, *(column for column in named if column)]

    def _rows(self, path: Path) -> Iterator[Mapping[str, Any]]:
        """Rows with the options' names for columns, all but the image a text."""
        named = {"id": self.id_column, "category": self.category_column}
        for number, row in enumerate(read_rows(path, self._columns), start=1):
            where, column = f"{path}: row {number}", self.column or PROMPT[0]
            found: dict[str, Any] = {"prompt": text(row[column], f"{where}: {column}")}
            for key, name in named.items():
                if name:
                    found[key] = _name(row[name], f"{where}: {name}")
            if self.negative_column and row[self.negative_column] is not None:
                found["negative"] = text(row[self.negative_column], f"{where}: {self.negative_column}")
            if self.image_column:
                found["image"] = _image(row[self.image_column], f"{where}: {self.image_column}")
            yield found

    def _prompt(self, index: int, row: Mapping[str, Any]) -> Prompt:
        identity, category = row.get("id", f"{index:06d}"), row.get("category", "")
        return Prompt(identity, row["prompt"], category, row.get("image"), row.get("negative") or None)


class FilePrompts(TablePrompts):
    """Prompts of a .txt, .csv, .tsv, .jsonl, .json or .parquet file.

    Attributes:
        path: relative to the suite.
    """

    source: ClassVar[str] = "a file of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path

    def prompts(self, folder: Path) -> list[Prompt]:
        """The file's prompts; blank lines of a text file are skipped.

        Raises:
            UserError: as :meth:`of_tables`, or an option of tables for a text file.
        """
        path = self._file(folder)
        if kind_of(path) in TABLES:
            return self.of_tables([path])
        if named := [name for name in TablePrompts.model_fields if name.endswith("column") and getattr(self, name) is not None]:
            raise UserError(f"{path}: {named[0]}: expected a table, a text file has no columns")
        lines = [line for line in read_lines(path) if line.text]
        return checked([Prompt(f"{i:06d}", line.text, negative=line.negative or None) for i, line in enumerate(lines)], path)

    def notes(self, folder: Path) -> Sequence[str]:
        """Settings of a web UI's lines, or a column of negative prompts, that are not taken."""
        path = self._file(folder)
        return self.table_notes([path]) if kind_of(path) in TABLES else settings_notes(read_lines(path), str(path))

    def _file(self, folder: Path) -> Path:
        path = folder / expanded(self.path)
        if path.suffix.lower() != ".txt" and kind_of(path) not in TABLES:
            raise UserError(f"{path}: expected a .txt, {', '.join(TABLES)} file")
        return path


def checked(prompts: list[Prompt], path: Path, id_column: str | None = None) -> list[Prompt]:
    """The prompts, if there are any and each id is there once.

    Raises:
        UserError: otherwise.
    """
    if not prompts:
        raise NothingToDoError(f"{path}: no prompt in it")
    if twice := [identity for identity, count in Counter(prompt.id for prompt in prompts).items() if count > 1]:
        raise UserError(f"{path}: {id_column or 'prompts'}: expected unique ids, {twice[0]} is specified twice")
    return prompts


def _name(value: Any, where: str) -> str:
    """An id or a category: a text, or a whole number as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value, where)


def _image(value: Any, where: str) -> Picture | None:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if data is None and (not isinstance(value, Mapping) or not any(value.values())):
        return None
    if not isinstance(data, bytes):
        if isinstance(value, Mapping) and isinstance(value.get("path"), str):
            raise UserError(f"{where}: {value['path']}: expected the bytes of an image beside its path")
        raise UserError(f"{where}: expected the bytes of an image, found {type(value if data is None else data).__name__}")
    return HeldImage.of(data, where)
