"""How far a run is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol


class Progress(Protocol):
    """What a run tells whoever watches it: one stage after the other, and the steps of each."""

    def stage(self, title: str, total: int) -> AbstractContextManager[None]:
        """A part of the run with so many steps."""

    def begin(self, total: int) -> None:
        """The current stage begins anew, with so many steps."""

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[None]:
        yield

    def begin(self, total: int) -> None:
        pass

    def advance(self, label: str, steps: int) -> None:
        pass


SILENT: Final = Silent()
