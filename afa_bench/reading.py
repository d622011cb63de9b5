"""What users write, read and checked: YAML files and options, with errors of one line that name the file and the key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo

from afa_bench import registry
from afa_bench.errors import UserError, suggest, unreadable

Place: TypeAlias = tuple[str | int, ...]
"""The way to a key in a document."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def _unique(values: tuple[T, ...]) -> tuple[T, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{value} is specified twice")
    return values


Unique = AfterValidator(_unique)
"""Of a list in which nothing may stand twice."""


class Choice(BaseModel):
    """A method, prompt set or metric with its options: ``name`` alone, or a mapping which holds the name and the options.

    Attributes:
        name: registered, or ``FILE.py:NAME``.
        label: what it is called in tables, in place of its own name.
        groups: of a method, to which it is restricted.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    label: Annotated[str, Field(min_length=1)] | None = None
    groups: Annotated[tuple[str, ...], Field(min_length=1), Unique] | None = None
    _folder: Path = PrivateAttr(Path())

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the harness' own."""
        return dict(self.model_extra or {})

    @property
    def folder(self) -> Path:
        """Of the file that it is written in, which a ``FILE.py`` is relative to; the working directory where it is in none."""
        return self._folder

    def refuse(self, where: str, *keys: str) -> None:
        """Raise a UserError for keys of the harness that do nothing here."""
        for key in keys:
            if getattr(self, key) is not None:
                raise UserError(f"{where}: {self.name}: {key}: unknown option")

    def written_in(self, file: Path) -> Choice:
        """The same, of that file."""
        choice = self.model_copy()
        choice._folder = file.parent
        return choice


def anchored(name: str, info: ValidationInfo) -> str:
    """A validator of an option that names a plug-in: makes the path of a ``FILE.py:NAME`` absolute; see :func:`validated`."""
    return registry.anchored(name, (info.context or {}).get("folder") or Path())


class DuplicateKey(yaml.MarkedYAMLError):
    """A mapping has a key twice."""


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, as it looks: a plain word is a number only in decimal digits, a truth value only as true or false.

    ``yes``, ``010``, ``1:30``, ``0x1F``, ``.nan`` and dates, of which YAML 1.1 makes something else, are texts, which whoever
    expects a number refuses. Keys are texts, too. No mapping may have a key twice: PyYAML would take the last without a word.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 # PyYAML's own name, of a class

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                merge = key.tag == "tag:yaml.org,2002:merge"
                key.tag = key.tag if merge else "tag:yaml.org,2002:str"
                name = "<<" if merge else str(key.value)
                if name in seen:
                    raise DuplicateKey(problem=f"{key.value}: is specified twice", problem_mark=key.start_mark)
                seen.add(name)
        return node


_WORDS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "merge": (r"<<", "<"),
}
for _kind, (_pattern, _first) in _WORDS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


def read_yaml(text: str) -> Any:
    """A YAML document.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: not YAML; :class:`DuplicateKey` for a key that is specified twice.
    """
    return yaml.load(text, Loader=_Loader)


def read_mapping(path: Path, expected: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """A YAML file's content and its nodes, which know their lines.

    Args:
        path: of the file.
        expected: ends the sentence "expected a mapping ...".

    Raises:
        UserError: unreadable, not YAML, a key that is specified twice, or something else than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        nodes = yaml.compose(text, Loader=_Loader)
        document = read_yaml(text)
    except OSError as error:
        raise unreadable(path, error) from error
    except DuplicateKey as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: {error.problem}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: expected a mapping {expected}")
    return dict(document), nodes


def validated(
    kind: type[M],
    document: Mapping[str, Any],
    where: str | Callable[[Place], str],
    known: Callable[[Place], Iterable[str]] | None = None,
    noun: str = "key",
    folder: Path | None = None,
    words: bool = False,
) -> M:
    """A document as a model, which has what is written and nothing that was made of it: no number of a text or a truth value.

    Args:
        kind: the pydantic model.
        document: what the user wrote.
        where: the error's first words, or a function that has them for a place.
        known: the keys there are at a place, for "did you mean"; those of ``kind`` by default.
        noun: what an unknown key is called.
        folder: which the paths of plug-ins in the document are relative to; the working directory by default.
        words: whether the values are words of a command line, of which numbers are made.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """

    def error_at(place: Place, message: str) -> UserError:
        prefix = where if isinstance(where, str) else where(place)
        return UserError(f"{prefix}: {'.'.join(map(str, place)) or kind.__name__}: {message}")

    try:
        model = kind.model_validate(document, context={"folder": folder})
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")  # a typing error explains a missing key
        place, message = first["loc"], first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"unknown {noun}: {suggest(str(place[-1]), known(place) if known else kind.model_fields)}"
        elif first["type"] not in ("missing", "value_error") and isinstance(first["input"], _SCALARS):
            message = f"{message}, found {_short(first['input'])}"
        raise error_at(place, message) from error
    for place, written, read in _pairs(document, model, ()):
        if isinstance(read, float) and not math.isfinite(read):
            raise error_at(place, f"expected a finite number, found {_short(written)}")
        if isinstance(read, _SCALARS) and not words and (expected := _misread(written, read)):
            raise error_at(place, f"expected {expected}, found {_short(written)}")
    return model


_SCALARS = (bool, int, float, str)


def _misread(written: Any, read: Any) -> str:
    """What was expected where something else was written, of which it was made; empty where nothing was made."""
    if isinstance(read, bool):
        return "" if isinstance(written, bool) else "true or false"
    if isinstance(read, str):
        return "" if isinstance(written, str | Path) else "a text"
    if isinstance(written, int if isinstance(read, int) else int | float) and not isinstance(written, bool):
        return ""
    return "a whole number" if isinstance(read, int) else "a number"


def _pairs(written: Any, read: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
    """What was written beside what was read of it, wherever they have the same shape."""
    if isinstance(read, BaseModel):
        read = {**dict(read), **(read.model_extra or {})}
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for key, value in written.items():
            if key in read:
                yield from _pairs(value, read[key], (*place, key))
    elif isinstance(written, list | tuple) and isinstance(read, list | tuple) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from _pairs(one, other, (*place, index))
    elif isinstance(written, _SCALARS):
        yield place, written, read


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def line_of(node: yaml.Node | None, place: Place) -> int:
    """The line (from 1) of the deepest YAML node on the way to a place."""
    line = node.start_mark.line if node else 0
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == step]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1
