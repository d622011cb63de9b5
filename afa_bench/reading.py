"""What users write, read and checked: YAML files and options, with errors of one line that name the file and the key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, ValidationInfo

from afa_bench import registry
from afa_bench.errors import UserError, suggest, unreadable

Place: TypeAlias = tuple[str | int, ...]
"""The way to a key in a document."""

M = TypeVar("M", bound=BaseModel)


class Choice(BaseModel):
    """A method, prompt set or metric with its options: ``name`` alone, or a mapping which holds the name and the options.

    Attributes:
        name: registered, or ``FILE.py:NAME``.
        label: what it is called in tables, in place of its own name.
        groups: of a method, to which it is restricted.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    label: str | None = None
    groups: tuple[str, ...] | None = None
    _folder: Path = PrivateAttr(Path())

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the harness' own."""
        return dict(self.model_extra or {})

    @property
    def folder(self) -> Path:
        """Of the file that it is written in, which a ``FILE.py`` is relative to; the working directory where it is in none."""
        return self._folder

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
    """YAML's safe subset, in which no mapping may have a key twice: PyYAML would take the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = "<<" if key.tag == "tag:yaml.org,2002:merge" else self.construct_object(key)
                if not isinstance(name, Hashable):
                    continue
                if name in seen:
                    raise DuplicateKey(problem=f"{key.value}: is specified twice", problem_mark=key.start_mark)
                seen.add(name)
        return node


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
) -> M:
    """A document as a model.

    Args:
        kind: the pydantic model.
        document: what the user wrote.
        where: the error's first words, or a function that has them for a place.
        known: the keys there are at a place, for "did you mean"; those of ``kind`` by default.
        noun: what an unknown key is called.
        folder: which the paths of plug-ins in the document are relative to; the working directory by default.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """
    try:
        return kind.model_validate(document, context={"folder": folder})
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")  # a typing error explains a missing key
        place, message = first["loc"], first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"unknown {noun}: {suggest(str(place[-1]), known(place) if known else kind.model_fields)}"
        prefix = where if isinstance(where, str) else where(place)
        raise UserError(f"{prefix}: {'.'.join(map(str, place)) or kind.__name__}: {message}") from error


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
