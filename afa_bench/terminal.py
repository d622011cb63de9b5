"""What people see: standard output and standard error, with text as it is, and bars of progress where they are wanted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def output() -> Console:
    """Standard output. No part of a text is taken for markup: paths and prompts have brackets and colons of their own."""
    return _console(stderr=False)


@cache
def messages() -> Console:
    """Standard error, for progress and for what is said beside the results."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """A line on standard error, in yellow where there are colours."""
    messages().print(f"warning: {message}", style="yellow")


class Warnings(logging.Handler):
    """Shows what the package's logger is told."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


QUIET = 60.0
"""Seconds between two lines of progress where there is no terminal that could draw a bar."""


class Bars:
    """Progress: a bar a stage, with the time left and what is under way; without a terminal, a line a minute.

    Args:
        shown: whether anything is drawn.
    """

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[None]:
        """A part of the work with so many steps."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        name, now = TextColumn(f"{title:8}", markup=False), TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), now)
        self.drawn = messages().is_terminal and not messages().is_dumb_terminal
        self.title, self.begun = title, time.monotonic()
        self.said = self.begun
        with Progress(*columns, console=messages(), disable=not (self.shown and self.drawn)) as self.bars:
            self.task = self.bars.add_task("loading", total=total)
            yield

    def begin(self, total: int) -> None:
        """The current stage begins anew, with so many steps."""
        self.bars.reset(self.task, total=total)

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""
        self.bars.update(self.task, advance=steps, description=label)
        if self.shown and not self.drawn and time.monotonic() - self.said >= QUIET:
            self.said = time.monotonic()
            task, minutes = self.bars.tasks[self.task], (self.said - self.begun) / 60
            messages().print(f"{self.title}: {task.completed:,.0f} of {task.total or 0:,.0f} in {minutes:.0f} min; {label}")
