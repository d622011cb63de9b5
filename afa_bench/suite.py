"""The YAML file of a suite: its schema, its reader, its packaged files.

Every mistake is one line which names the file, the line and the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os.path import isfile  # unlike Path's, no error for a name that no file can have
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from afa_bench.errors import NotFoundError, UserError, suggest
from afa_bench.models.sampler import Sampler
from afa_bench.paths import expanded, shipped
from afa_bench.reading import Choice, Place, Unique, line_of, read_mapping, validated

LARGEST = 10**9
Positive = Annotated[int, Field(ge=1, le=LARGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Size(_Strict):
    """Of images that are no squares, in pixels."""

    height: Positive
    width: Positive


def _size(value: Any) -> Any:
    if isinstance(value, Mapping):
        size = validated(Size, value, "size")
        return size.height if size.height == size.width else (size.height, size.width)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST:
        return value
    raise ValueError(f"expected a number of pixels, or {{height: NUMBER, width: NUMBER}}, found {value!r}")


class Suite(_Strict):
    """A validated suite.

    Attributes:
        name, revision: what the results are filed under; raise the revision when a change makes old results incomparable.
        groups: names of packaged groups, or paths of group files relative to the suite.
        prompts: the prompt set and its options; ``limit`` takes the first so many.
        methods: in the order of the table's rows; ``groups`` restricts one to some groups, ``label`` names its row.
        metrics: in the order of the table's columns.
        steps: numbers of sampling steps.
        size: of the images in pixels: the side of squares, or height and width.
        images_per_prompt, repeats: samples of each prompt; a repeat is another seed for everything.
        dtype: of the denoiser.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    revision: Positive = 1
    description: str = ""
    groups: Annotated[tuple[str, ...], Field(min_length=1), Unique]
    prompts: Choice
    methods: Annotated[tuple[Choice, ...], Field(min_length=1)]
    metrics: Annotated[tuple[Choice, ...], Field(min_length=1)]
    sampler: Sampler = Sampler()
    steps: Annotated[tuple[Positive, ...], Field(min_length=1), Unique] = (50,)
    size: Annotated[int | tuple[int, int], BeforeValidator(_size)] = 512
    images_per_prompt: Positive = 4
    repeats: Positive = 1
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    file: Path = Field(default=Path(), exclude=True)

    @property
    def height(self) -> int:
        """Of the images in pixels."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """Of the images in pixels."""
        return self.size if isinstance(self.size, int) else self.size[1]

    @property
    def pixels(self) -> str:
        """The size in words."""
        return str(self.size) if isinstance(self.size, int) else f"{self.width} x {self.height}"

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, document: Any) -> Any:
        def choice(value: Any) -> Any:
            return {"name": value} if isinstance(value, str) else value

        if isinstance(document, Mapping):
            document = dict(document)
            if "prompts" in document:
                document["prompts"] = choice(document["prompts"])
            for key in ("methods", "metrics"):
                if isinstance(document.get(key), list):
                    document[key] = [choice(value) for value in document[key]]
        return document


def packaged_suites() -> dict[str, Path]:
    """The suites that ship with the package: name -> file."""
    return {path.stem: path for path in sorted(shipped("suites").glob("*.yaml"))}


def find_suite(name: str) -> Path:
    """A suite's file: a path, or the name of a packaged suite (``mini``, ``suites/mini.yaml``) from any folder.

    Raises:
        UserError: neither.
    """
    path = expanded(name)
    if isfile(path):
        return path
    known = packaged_suites()
    if (path.suffix in ("", ".yaml")) and path.parent.name in ("", "suites") and path.stem in known:
        return known[path.stem]
    raise NotFoundError(f"{name}: no such suite: {suggest(path.stem, known)}")


def read_suite(path: Path) -> Suite:
    """Read and validate a suite; ``extends: NAME`` (a packaged suite, or a file beside it) stands in for keys that it leaves out.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, origins = _read(path, ())

    def where(place: Place) -> str:
        file, nodes = origins.get(place[0] if place else "", origins[""])
        return f"{file}:{line_of(nodes, place)}"

    return _checked(document, where, path, origins)


def as_suite(document: Mapping[str, Any], file: Path = Path("suite")) -> Suite:
    """A suite from its keys, as :func:`read_suite` reads them from a file.

    Args:
        document: the keys; ``extends`` names a packaged suite, or a file.
        file: that paths in it are relative to, and that errors name.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """
    own = dict(document)
    extended = own.pop("extends", None)
    inherited, origins = ({}, {}) if extended is None else _inherited(file, own, str(extended), ())
    theirs = {key: origin for key, origin in origins.items() if key not in own}
    return _checked({**inherited, **own}, lambda place: str(file), file, theirs)


def _checked(
    document: Mapping[str, Any], where: Callable[[Place], str], file: Path, origins: Mapping[str | int, Origin]
) -> Suite:
    if "file" in document:
        raise UserError(f"{where(('file',))}: file: unknown key")

    def known(place: Place) -> Iterable[str]:
        return Sampler.model_fields if place[0] == "sampler" else Suite.model_fields

    suite = validated(Suite, document, where, known)

    def written(key: str) -> Path:
        return origins[key][0] if key in origins else file

    choices = {
        "prompts": suite.prompts.written_in(written("prompts")),
        "methods": tuple(choice.written_in(written("methods")) for choice in suite.methods),
        "metrics": tuple(choice.written_in(written("metrics")) for choice in suite.metrics),
    }
    return suite.model_copy(update={"file": file, **choices})


Origin: TypeAlias = tuple[Path, yaml.Node | None]
"""The file that a key was read from, and its nodes."""


def _read(path: Path, readers: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str | int, Origin]]:
    """A suite's keys, and for each the file it is from; those of the suite that it extends stand in for those it does not have.

    Raises:
        UserError: unreadable, a suite that extends itself, or one without a name of its own.
    """
    if path in readers:
        raise UserError(f"{path}: extends: this suite extends itself")
    document, nodes = read_mapping(path, "of keys such as name, groups, prompts, methods, metrics")
    keys: tuple[str | int, ...] = ("", *document)
    origins: dict[str | int, Origin] = dict.fromkeys(keys, (path, nodes))
    extended = document.pop("extends", None)
    if extended is None:
        return document, origins
    inherited, theirs = _inherited(path, document, str(extended), (*readers, path))
    return {**inherited, **document}, {**theirs, **origins}


def _inherited(
    path: Path, document: Mapping[str, Any], extended: str, readers: tuple[Path, ...]
) -> tuple[dict[str, Any], dict[str | int, Origin]]:
    if "name" not in document:
        raise UserError(f"{path}: name: a suite that extends another needs a name of its own")
    beside = path.parent / extended
    return _read(beside if isfile(beside) else find_suite(extended), readers)
