"""What people see: standard output and standard error, with text as it is, and bars of progress where they are wanted.

Only here are texts made into what a terminal shows: none of them is markup, and none has a control character.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from afa_bench.words import line, seen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID
    from rich.text import Text

UNLIMITED = 10_000
"""Columns where nobody looks."""


@cache
def output() -> Console:
    """Standard output. No part of a text is taken for markup: paths and prompts have brackets and colons of their own."""
    fitted = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return console(soft_wrap=True, width=None if fitted else UNLIMITED)


@cache
def messages() -> Console:
    """Standard error, for progress and for what is said beside the results."""
    return console(soft_wrap=True, stderr=True)


def console(file: IO[str] | None = None, **settings: Any) -> Console:
    """A console of rich's which shows text as it is."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(seen(text), **settings)

        def on_broken_pipe(self) -> None:
            raise  # the error, of which rich would make an exit code of 1

    return Plain(file=file, markup=False, emoji=False, highlight=False, **settings)


def text(*parts: str | tuple[str, str], style: str = "") -> Text:
    """Words one after the other, in a style; of a pair, the second is the style of its own words."""
    from rich.text import Text

    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((seen(words), own) for words, own in pairs), style=style)


def column(form: str) -> ProgressColumn:
    """A column of text in bars of progress, such as ``{task.description}``."""
    from rich.progress import TextColumn

    class Words(TextColumn):
        def render(self, task: Any) -> Text:
            return text(self.text_format.format(task=task).replace("\n", " "))

    return Words(form, markup=False)


def write(document: str) -> None:
    """A document for others to read, such as CSV, on standard output: as it is, but for what would do something on a terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    if document.encode(encoding, "ignore").decode(encoding) != document:
        warn(f"standard output is {encoding}: other letters are written as \\u and a number; set PYTHONIOENCODING=utf-8")
    sys.stdout.write(seen(document) if sys.stdout.isatty() else document)
    sys.stdout.flush()


def warn(message: str) -> None:
    """A line on standard error, in yellow where there are colours."""
    messages().print(line(f"warning: {message}"), style="yellow")


class Warnings(logging.Handler):
    """Shows what the package's logger is told."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


QUIET = 60.0
"""Seconds between two lines of progress where there is no terminal that could draw a bar."""


def progress(*columns: ProgressColumn, shown: bool = True, **settings: Any) -> Progress:
    """Bars on standard error; where no terminal can draw them, a line a minute about the task that moved."""
    from rich.progress import Progress

    drawn = messages().is_terminal and not messages().is_dumb_terminal

    class Lines(Progress):
        begun = written = time.monotonic()

        def update(self, task_id: TaskID, **changes: Any) -> None:
            super().update(task_id, **changes)
            self.tell(task_id)

        def advance(self, task_id: TaskID, advance: float = 1) -> None:
            super().advance(task_id, advance)
            self.tell(task_id)

        def tell(self, task_id: TaskID) -> None:
            now = time.monotonic()
            if shown and not drawn and now - self.written >= QUIET:
                self.written, task = now, self._tasks[task_id]
                done = f"{task.completed:,.0f} of {task.total:,.0f} in " if task.total else ""
                fields = "".join(f"; {words}" for words in task.fields.values() if words)
                messages().print(f"{task.description}: {done}{(now - self.begun) / 60:.0f} min{fields}")

    return Lines(*columns, console=messages(), disable=not (shown and drawn), **settings)


class Bars:
    """Progress: a bar a stage, with the time left and what is under way; see :func:`progress`.

    Args:
        shown: whether anything is drawn.
    """

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[None]:
        """A part of the work with so many steps."""
        from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

        name, now = column("{task.description:8}"), column("{task.fields[now]}")
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), now)
        with progress(*columns, shown=self.shown) as self.bars:
            self.task = self.bars.add_task(title, total=total, now="loading")
            yield

    def begin(self, total: int) -> None:
        """The current stage begins anew, with so many steps."""
        self.bars.reset(self.task, total=total)

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""
        self.bars.update(self.task, advance=steps, now=label)
