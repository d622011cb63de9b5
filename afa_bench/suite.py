"""The YAML file of a suite: its schema, its reader, its packaged files.

Every mistake is one line which names the file, the line and the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os.path import isfile  # unlike Path's, no error for a name that no file can have
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from afa_bench.errors import UserError
from afa_bench.paths import shipped
from afa_bench.reading import Place, line_of, read_mapping, validated
from afa_bench.registry import suggest

Positive = Annotated[int, Field(ge=1, le=10**9)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampler(_Strict):
    """How images are sampled.

    Attributes:
        scheduler: the class name of a diffusers scheduler; its other settings are the pipeline folder's.
        guidance: classifier-free guidance scale; 1 or less samples without guidance.
        negative_prompt: the text of the unconditional half.
    """

    scheduler: str = "DDIMScheduler"
    guidance: float = 7.5
    negative_prompt: str = ""


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


class Suite(_Strict):
    """A validated suite.

    Attributes:
        name, revision: what the results are filed under; raise the revision when a change makes old results incomparable.
        groups: names of packaged groups, or paths of group files relative to the suite.
        prompts: the prompt set and its options; ``limit`` takes the first so many.
        methods: in the order of the table's rows; ``groups`` restricts one to some groups, ``label`` names its row.
        metrics: in the order of the table's columns.
        steps: numbers of sampling steps.
        size: height and width of the images in pixels.
        images_per_prompt, repeats: samples of each prompt; a repeat is another seed for everything.
        dtype: of the denoiser.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    revision: Positive = 1
    description: str = ""
    groups: Annotated[tuple[str, ...], Field(min_length=1)]
    prompts: Choice
    methods: Annotated[tuple[Choice, ...], Field(min_length=1)]
    metrics: Annotated[tuple[Choice, ...], Field(min_length=1)]
    sampler: Sampler = Sampler()
    steps: Annotated[tuple[Positive, ...], Field(min_length=1)] = (50,)
    size: Positive = 512
    images_per_prompt: Positive = 4
    repeats: Positive = 1
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    file: Path = Field(default=Path(), exclude=True)

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
    path = Path(name)
    if isfile(path):
        return path
    known = packaged_suites()
    if (path.suffix in ("", ".yaml")) and path.parent.name in ("", "suites") and path.stem in known:
        return known[path.stem]
    raise UserError(f"{name}: no such suite: {suggest(path.stem, known)}")


def read_suite(path: Path) -> Suite:
    """Read and validate a suite; ``extends: NAME`` (a packaged suite, or a file beside it) stands in for keys that it leaves out.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, origins = _read(path, ())

    def where(place: Place) -> str:
        file, nodes = origins.get(place[0] if place else "", origins[""])
        return f"{file}:{line_of(nodes, place)}"

    if "file" in document:
        raise UserError(f"{where(('file',))}: file: unknown key")

    def known(place: Place) -> Iterable[str]:
        return Sampler.model_fields if place[0] == "sampler" else Suite.model_fields

    suite = validated(Suite, document, where, known)
    choices = {
        "prompts": suite.prompts.written_in(origins["prompts"][0]),
        "methods": tuple(choice.written_in(origins["methods"][0]) for choice in suite.methods),
        "metrics": tuple(choice.written_in(origins["metrics"][0]) for choice in suite.metrics),
    }
    return suite.model_copy(update={"file": path, **choices})


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
    if "name" not in document:
        raise UserError(f"{path}: name: a suite that extends another needs a name of its own")
    beside = path.parent / str(extended)
    inherited, theirs = _read(beside if isfile(beside) else find_suite(str(extended)), (*readers, path))
    return {**inherited, **document}, {**theirs, **origins}
