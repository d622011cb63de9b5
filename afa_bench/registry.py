"""The extension points, and what is plugged into them: registered by entry point, or a class in a file that the user names.

A third party's package registers as this one does: an entry point in the group ``afa_bench.<kind>``. A file needs no package:
``./mine.py:Mine`` stands wherever a registered name may. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal, get_args, get_origin

from afa_bench import extensions
from afa_bench.errors import UserError, suggest
from afa_bench.log import LOG
from afa_bench.paths import located

Kind = Literal["methods", "merge_methods", "trainables", "prompts", "metrics", "extractors", "architectures"]


@dataclass(frozen=True)
class Point:
    """An extension point.

    Attributes:
        noun: what one of its plug-ins is called.
        base: the class which they derive from; class variables that it declares without a value are theirs to set.
        implements: methods of the base which they have to override.
        decorator: of a function, which makes it an instance of ``base``: then that is what they are.
        former: an older name of the entry-point group.
    """

    noun: str
    base: str
    implements: tuple[str, ...] = ()
    decorator: str | None = None
    former: str | None = None


POINTS: Mapping[Kind, Point] = {
    "methods": Point("method", "afa_bench.method:Method", ("build",)),
    "merge_methods": Point("merge method", "afa_bench.merging.method:MergeMethod", decorator="merge_method"),
    "trainables": Point("trainable", "afa_bench.training.trainable:Trainable", ("build",)),
    "prompts": Point("prompt set", "afa_bench.prompts.base:PromptSet", ("prompts",)),
    "metrics": Point("metric", "afa_bench.metrics.base:Metric", ()),
    "extractors": Point(
        "extractor", "afa_bench.extractors.base:Extractor", ("weights", "load", "prepare", "encode"), former="features"
    ),
    "architectures": Point("architecture", "afa_bench.architectures.base:Architecture"),
}

FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)", re.DOTALL)
"""A class in a file, as users write it."""


def load(kind: Kind, name: str, where: str = "", folder: Path | None = None) -> Any:
    """The plug-in of that name.

    Args:
        kind: the extension point.
        name: a registered name, or ``FILE.py:NAME``.
        where: file and key, for the error's first words.
        folder: that a file's path is relative to: the folder of whatever names it; the working directory by default.

    Raises:
        UserError: an unknown name (with the nearest known ones), one that two packages register, a plug-in that does not load, or
            something that is no such plug-in.
    """
    noun, registered = POINTS[kind].noun, _registered(kind, tuple(sys.path))
    title = f"{where}{': ' if where else ''}{noun} {name!r}"
    if found := FILE.fullmatch(name):
        thing = _of_file(found["file"], found["name"], folder or Path(), title)
    elif name in registered:
        thing = _of_package(kind, registered[name], title)
    elif "/" in name or ".py" in name:
        raise UserError(f"{title}: expected a registered name, or FILE.py:NAME such as ./mine.py:Mine")
    else:
        raise UserError(f"{where}{': ' if where else ''}unknown {noun} {name!r}: {suggest(name, registered)} (or FILE.py:NAME)")
    if fault := _fault(kind, thing):
        raise UserError(f"{title}: {fault}")
    return thing


def available(kind: Kind) -> list[str]:
    """The names of all registered plug-ins of a kind, in alphabetical order."""
    return list(_registered(kind, tuple(sys.path)))


def anchored(name: str, folder: Path) -> str:
    """A name that means the same in any folder: the path in ``FILE.py:NAME`` made absolute, a registered name as it is."""
    found = FILE.fullmatch(name)
    return f"{_place(found['file'], folder)}:{found['name']}" if found else name


def relative(name: str, folder: Path) -> str:
    """An anchored name as it is written in a file of that folder."""
    found = FILE.fullmatch(name)
    return f"{Path(os.path.relpath(found['file'], folder.resolve())).as_posix()}:{found['name']}" if found else name


def origin(kind: type | Callable[..., Any]) -> dict[str, dict[str, str]]:
    """What tells a plug-in's class or function from every other of its name, as an entry of the identity of what it computes.

    Empty for this package's own, whose names and versions are one register. Otherwise ``origin``: the class' qualified name, and
    the sha256 of the file that it is from, or the name and version of its distribution.
    """
    module, name = kind.__module__, kind.__qualname__
    package = module.partition(".")[0]
    if digest := extensions.digest_of(module):
        return {"origin": {"qualname": name, "sha256": digest}}
    if package in ("afa_bench", "baselines"):
        return {}
    points = [point for key in POINTS for several in _registered(key, tuple(sys.path)).values() for point in several]
    theirs = [point for point in points if point.module.partition(".")[0] == package]
    own = [point for point in theirs if point.value == f"{module}:{name}"]
    installed = {point.dist.name: point.dist.version for point in own or theirs if point.dist}
    found = {"qualname": f"{module}.{name}"}
    for distribution, version in sorted(installed.items()):
        return {"origin": {**found, "distribution": distribution, "version": version}}
    return {"origin": found}


def folder_of(kind: type | Callable[..., Any]) -> Path:
    """The folder of the file that a class or function is from; the working directory for one from none."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file).parent if file else Path()


def _of_file(file: str, name: str, folder: Path, title: str) -> Any:
    path = _imported(lambda: _place(file, folder), title, file)
    module = _imported(lambda: extensions.load(path), title, path)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise UserError(f"{title}: {path} has no {name!r}: {suggest(name, own)}")
    return getattr(module, name)


def _of_package(kind: Kind, registered: Sequence[EntryPoint], title: str) -> Any:
    point, *others = registered
    if others:
        several = " and ".join(f"{point.value} ({_package(point)})" for point in registered)
        raise UserError(f"{title}: is registered more than once: {several}")
    if point.group != f"afa_bench.{kind}":
        _say_former(_package(point), point.group, f"afa_bench.{kind}")
    return _imported(point.load, title, f"{point.value} ({_package(point)})")


def _imported(run: Callable[[], Any], title: str, source: Path | str) -> Any:
    """What ``run`` imports; whatever that raises becomes one line, with the number of the line in a user's file."""
    try:
        return run()
    except UserError as error:
        raise type(error)(f"{title}: {error}") from error
    except (Exception, SystemExit) as error:
        lines = [f":{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(source)]
        raise UserError(f"{title}: {source}{''.join(lines[-1:])} does not load: {type(error).__name__}: {error}") from error


def _place(text: str, folder: Path) -> Path:
    try:
        return located(text, folder).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # no home of that name, a loop of links
        raise UserError(f"{text}: cannot be read: {error}") from error


@cache
def _registered(kind: Kind, path: tuple[str, ...]) -> Mapping[str, Sequence[EntryPoint]]:
    """Entry points by name: several where packages register different objects under one.

    A search path is looked through once: a metric's name is asked for with every sample.
    """
    former = POINTS[kind].former
    points = [point for group in (kind, former) if group for point in entry_points(group=f"afa_bench.{group}")]
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(points, key=lambda point: (point.name, _package(point))):
        several = found.setdefault(point.name, [])
        if point.value not in [other.value for other in several]:
            several.append(point)
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


@cache  # once a process
def _say_former(package: str, group: str, now: str) -> None:
    text = "%s registers a plug-in in the entry-point group %s, which is now called %s"
    LOG.warning(text, package, group, now)


def _fault(kind: Kind, thing: Any) -> str:
    """Why something is no plug-in of a kind; empty if it is one."""
    base = resolve_name(POINTS[kind].base)
    if decorator := POINTS[kind].decorator:
        return "" if isinstance(thing, base) else f"expected a function decorated with @{decorator}, found {thing!r}"
    if not (isinstance(thing, type) and issubclass(thing, base) and thing is not base):
        return f"expected a class derived from {base.__module__}.{base.__qualname__}, found {thing!r}"
    return _fault_of_class(thing, base, POINTS[kind].implements)


@cache
def _fault_of_class(thing: type, base: type, implements: Sequence[str]) -> str:
    from pydantic import BaseModel

    for name, hint in inspect.get_annotations(base, eval_str=True).items():
        declared: Any = get_origin(hint)
        if declared is ClassVar:
            if not hasattr(thing, name):
                return f"has no class variable {name!r}"
            if fault := _fault_of_value(get_args(hint)[0], getattr(thing, name)):
                return f"{name}: {fault}"
    for name in implements:
        if getattr(thing, name) is getattr(base, name):
            return f"does not implement {name!r}"
    if not issubclass(thing, BaseModel):  # whose fields are options
        settings = [field.name for field in fields(base)] if is_dataclass(base) else []
        try:
            inspect.signature(thing).bind(**dict.fromkeys(settings))
        except TypeError as error:
            return f"is made with {', '.join(settings) or 'no arguments'}: {error}"
    return ""


def _fault_of_value(hint: Any, value: Any) -> str:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        TypeAdapter(hint, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        return f"{error.errors()[0]['msg']}, found {value!r}"
    return ""
