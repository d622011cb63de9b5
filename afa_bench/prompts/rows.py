"""Rows of tables: .csv, .tsv, .jsonl, .json and .parquet files, read strictly, row after row.

What would be cut, joined or guessed is refused: rows that are longer or shorter than the head, quotation marks that do not close,
a column or a key that is there twice. One reader for all tables of prompts and captions.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TextIO, TypeAlias

from afa_bench.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
"""In any case; all but the last also compressed, with ``.gz`` after it."""

Column: TypeAlias = str | tuple[str, ...]
"""A column's name; or several, in any case, of which a table has exactly one: its values come under the first."""

PROMPT = ("prompt", "text", "caption")
FILE = ("file", "file_name", "filename")
NEGATIVE = "negative_prompt"

NO_TEXT = re.compile("[\0\ufeff\ud800-\udfff]")
"""What no text has: U+0000, a byte order mark, half of a surrogate pair."""

PACK = ".gz"
PACKED = (EOFError, zlib.error)
"""What reading a damaged one raises beside ``OSError``."""

DELIMITERS = (",", ";", "\t")


def read_rows(path: Path, columns: Sequence[Column], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Args:
        path: its suffix says which kind it is; what is between the fields of a .csv or .tsv is seen in its head.
        columns: those of interest; a row has these, and nothing else but the optional ones.
        optional: columns that need not be there.

    Raises:
        UserError: unreadable, another kind, a column that is missing or there twice, or a row that is not as the head says.
    """
    kind = kind_of(path)
    if kind not in TABLES:
        raise UserError(f"{path}: expected a {', '.join(TABLES)} file")
    read = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}.get(kind, _delimited)
    try:
        yield from read(path, lambda names, where: _chosen(names, columns, optional, where))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as {kind}: expected UTF-8: {error}") from error
    except (ValueError, RecursionError, OverflowError, NotImplementedError, KeyError, MemoryError, csv.Error, *PACKED) as error:
        raise UserError(f"{path}: cannot be read as {kind}: {error}") from error


def kind_of(path: Path) -> str:
    """The suffix that says what a table is, in small letters; that before ``.gz`` where there is one."""
    packed = path.suffix.lower() == PACK and Path(path.stem).suffix.lower() != ".parquet"
    return Path(path.stem).suffix.lower() if packed else path.suffix.lower()


def _opened(path: Path, newline: str | None = None) -> TextIO:
    """A table's text, without a byte order mark."""
    if path.suffix.lower() == PACK:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def has_column(path: Path, columns: Sequence[Column], column: str) -> bool:
    """Whether a table's first row has another column beside ``columns``.

    Raises:
        UserError: as :func:`read_rows`.
    """
    return column in next(read_rows(path, columns, [column]), {})


def text(value: Any, where: str) -> str:
    """A text of a table or a file, if that is what it is.

    Args:
        value: of a row.
        where: names it in an error.

    Raises:
        UserError: a number, a truth value, nothing; or it has a character of :data:`NO_TEXT`.
    """
    if not isinstance(value, str):
        raise UserError(f"{where}: expected a text, found {json.dumps(value, default=lambda other: type(other).__name__)[:40]}")
    if found := NO_TEXT.search(value):
        raise UserError(f"{where}: expected a text without the character U+{ord(found[0]):04X}")
    return value


Choose: TypeAlias = Callable[[Sequence[str], str], Mapping[str, str]]
"""Which column of a table's names stands for each that is asked for, or an error that begins with where that is."""


def _chosen(names: Sequence[str], columns: Sequence[Column], optional: Sequence[str], where: str) -> dict[str, str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{where}: {twice}: is there twice: expected one column of a name")
    chosen = {column: column for column in optional if column in names}
    for column in columns:
        if isinstance(column, tuple):
            found = [name for name in names if name.strip().casefold() in column]
            if len(found) != 1:
                there = " and ".join(found) or f"none of them in {', '.join(names)}"
                raise UserError(f"{where}: {column[0]}: expected one of the columns {', '.join(column)}, found {there}")
            chosen[column[0]] = found[0]
        elif column not in names:
            raise UserError(f"{where}: {column}: expected this column, found {', '.join(names)}")
        else:
            chosen[column] = column
    return chosen


def _delimited(path: Path, choose: Choose) -> Iterator[dict[str, Any]]:
    """A row's fields are as many as the head's. Blank lines are passed over."""
    with _opened(path, newline="") as lines:
        delimiter = _delimiter(path, lines, choose)
        lines.seek(0)
        rows = _tabbed(path, lines) if delimiter == "\t" else _quoted(path, lines, delimiter)
        _, head = next(rows, (1, []))
        names = [name.strip() for name in head]
        while names and not names[-1]:  # what a spreadsheet leaves on the right
            names.pop()
        chosen = choose(names, str(path))
        places = {key: names.index(name) for key, name in chosen.items()}
        for number, (line, row) in enumerate(rows, start=1):
            if len(row) != len(head) or any(row[len(names) :]):
                many = f"{len(row)} fields, the head has {len(names)}"
                mend = "" if delimiter == "\t" else f": a field with {delimiter!r} in it stands in quotation marks"
                raise UserError(f"{path}: row {number} (line {line}): {many}{mend}")
            yield {key: row[place] for key, place in places.items()}


def _delimiter(path: Path, lines: TextIO, choose: Choose) -> str:
    """What is between the fields: by the suffix, or another where only that one finds the columns in the head."""
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    head = next((line for line in lines if line.strip()), "")
    for delimiter in (own, *(other for other in DELIMITERS if other != own)):
        try:
            choose([name.strip() for name in next(csv.reader([head], delimiter=delimiter))], "")
            return delimiter
        except (UserError, csv.Error, StopIteration):
            continue
    return own


def _quoted(path: Path, lines: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line that they end in: a field with a delimiter, a line break or a quotation mark in it is quoted."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        mend = "expected a field with quotation marks in it to stand in quotation marks, and those in it to be doubled"
        raise UserError(f"{path}: line {reader.line_num}: {error}: {mend}") from error


def _tabbed(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their lines. Nothing goes on over a line or a tab; quotation marks around a whole field are no part of it."""
    for number, line in enumerate(lines, start=1):
        if line := line.rstrip("\r\n"):
            yield number, [_unquoted(field, f"{path}: line {number}") for field in line.split("\t")]


def _unquoted(field: str, where: str) -> str:
    if not field.startswith('"'):
        return field
    if field.count('"') % 2:
        raise UserError(f"{where}: {field[:40]}: a field begins with a quotation mark that does not close")
    inside = field[1:-1].replace('""', "")
    return field if '"' in inside or not field.endswith('"') else field[1:-1].replace('""', '"')


def _json_lines(path: Path, choose: Choose) -> Iterator[dict[str, Any]]:
    with _opened(path) as lines:
        rows = (parsed(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1) if line.strip())
        yield from _objects(path, rows, choose)


def _json(path: Path, choose: Choose) -> Iterator[dict[str, Any]]:
    """A list of objects, or of texts, which are prompts."""
    with _opened(path) as file:
        content = parsed(file.read(), str(path))
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of objects, or of texts")
    yield from _objects(path, ({PROMPT[0]: row} if isinstance(row, str) else row for row in content), choose)


def parsed(content: str, where: str) -> Any:
    """A JSON document in which no object has a key twice.

    Raises:
        UserError: none.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise UserError(f"{where}: {next(key for key in keys if keys.count(key) > 1)}: is there twice")
        return found

    def none(name: str) -> NoReturn:
        raise UserError(f"{where}: expected JSON, which has no {name}")

    try:
        return json.loads(content, object_pairs_hook=unique, parse_constant=none)
    except json.JSONDecodeError as error:
        kind = kind_of(Path(where.rpartition(": line")[0] or where))
        raise UserError(f"{where}: cannot be read as {kind}: {error}") from error


def _objects(path: Path, rows: Iterable[Any], choose: Choose) -> Iterator[dict[str, Any]]:
    names: list[str] | None = None
    chosen: Mapping[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number}: expected an object")
        if list(row) != names:
            names = list(row)
            chosen = choose(names, f"{path}: row {number}")
        yield {key: row[name] for key, name in chosen.items()}


def _parquet(path: Path, choose: Choose) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            chosen = choose(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=8192, columns=list(dict.fromkeys(chosen.values()))):
                columns = {key: batch.column(name).to_pylist() for key, name in chosen.items()}
                yield from ({key: values[row] for key, values in columns.items()} for row in range(batch.num_rows))
    except pa.ArrowException as error:
        raise UserError(f"{path}: cannot be read as .parquet: {error}") from error


def file_of(value: Any, where: str, files: Container[str], folder: str = "") -> str:
    """A file's name in a folder, as a table has it: relative, with ``/``, without ``.`` and ``..`` on the way.

    Args:
        value: of a row.
        where: names it in an error.
        files: those that there are, whose names are taken as they are.
        folder: the table's own, below that of the files, which it names them from.

    Raises:
        UserError: no text, or a way out of the folder.
    """
    name = text(value, where)
    whole = f"{folder}/{name}" if folder not in ("", ".") else name
    if whole in files:
        return whole
    path = PurePosixPath(name.strip().replace("\\", "/"))
    parts: list[str] = []
    for part in PurePosixPath(folder, path).parts:
        if part == ".." and not parts:
            path = PurePosixPath()
        parts = parts[:-1] if part == ".." else [*parts, part]
    if path.is_absolute() or not path.name or not parts:
        raise UserError(f"{where}: {name}: expected a name relative to the folder, and no way out of it")
    return "/".join(parts)
