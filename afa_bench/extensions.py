"""Python files that users name (``./mine.py:Mine``), as modules below this one.

The name of a file's module says where the file is and what its bytes are. So another process that unpickles something from it
(a spawned one, a Ray worker) imports those very bytes, or learns that they have changed; and a changed file is another module.
A file stands alone: it imports what is installed, not what lies beside it, since nobody would know the neighbour's bytes.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from os import fsdecode, fsencode
from pathlib import Path
from types import ModuleType

from afa_bench.errors import UserError, unreadable

__path__: list[str] = []  # makes this module a package, whose modules are found by _Finder


def load(path: Path) -> ModuleType:
    """A file as a module; the same one as long as its bytes are the same.

    Raises:
        UserError: it cannot be read, or imports a file beside it.
        Exception: whatever its code raises.
    """
    digest = hashlib.sha256(_read(path)).hexdigest()
    return import_module(f"{__name__}.{digest}_{urlsafe_b64encode(fsencode(path)).decode().rstrip('=')}")


def digest_of(module: str) -> str | None:
    """sha256 of the file that a module (by its name) is from; None for a module of any other kind."""
    return module.removeprefix(f"{__name__}.").partition("_")[0] if module.startswith(f"{__name__}.") else None


def loaded() -> Iterator[ModuleType]:
    """The modules of all files that were loaded."""
    return (module for name, module in list(sys.modules.items()) if digest_of(name))


class _Finder(MetaPathFinder):
    """Finds a file by its module's name."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        digest, _, place = fullname.removeprefix(f"{__name__}.").partition("_")
        if not digest_of(fullname) or not place:
            return None
        file = Path(fsdecode(urlsafe_b64decode(place + "=" * (-len(place) % 4))))
        source = _read(file)
        if hashlib.sha256(source).hexdigest() != digest:
            raise UserError(f"{file}: has changed since it was loaded; run again")
        return spec_from_file_location(fullname, file, loader=_Loader(source, file))


class _Loader(Loader):
    """Runs the bytes that were hashed: no compiled file stands in for them."""

    def __init__(self, source: bytes, file: Path) -> None:
        self.source, self.file = source, file

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.parse(self.source, str(self.file))
        _refuse_neighbours(tree, self.file)
        exec(compile(tree, str(self.file), "exec", dont_inherit=True), module.__dict__)


sys.meta_path.append(_Finder())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _refuse_neighbours(tree: ast.Module, file: Path) -> None:
    """Refuse an import of ``name.py`` in the file's own folder."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["" if node.level else str(node.module).partition(".")[0]]
        else:
            continue
        for name in names:
            beside = file.parent / f"{name}.py"
            if not name or (beside.is_file() and ((found := find_spec(name)) is None or found.origin == str(beside))):
                what = beside.name if name else "a file beside it"
                raise UserError(
                    f"{file}:{node.lineno}: imports {what}, whose bytes would be no part of any result's identity; "
                    "put it into this file, or install it as a package"
                )
