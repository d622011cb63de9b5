"""``afa-bench train``: what a method learns, on a group's frozen models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.options import folder_to_write, path

if TYPE_CHECKING:
    from rich.progress import TaskID


def train(
    config: Annotated[
        Path, typer.Argument(help="A YAML file: group, data, and settings; docs/training.md has all keys.", parser=path)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The training's folder; by default trainings/ and the file's name.", metavar="DIR", callback=folder_to_write
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of encoded images and captions, to share among trainings.", metavar="DIR", callback=folder_to_write
        ),
    ] = None,
) -> None:
    """Train SABW, or another trainable, on frozen models. Run again to resume.

    On several GPUs: accelerate launch -m afa_bench train CONFIG
    """
    from afa_bench.terminal import messages
    from afa_bench.training.config import read_config

    chosen = read_config(config)
    from afa_bench.training import run

    bars = Bars()
    try:
        outcome = run.train(chosen, out or Path("trainings") / config.stem, bars, cache)
    finally:
        bars.stop()
    losses = [f"{name.replace('_', ' ')} {outcome.values[name]:.4f}" for name in LOSSES if name in outcome.values]
    messages().print(f"{', '.join(losses)}{': ' if losses else ''}{outcome.weights}")


LOSSES = ("loss", "validation_loss")


class Bars:
    """Progress on the terminal: pairs encoded, then steps with the losses and the rate."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

        from afa_bench.terminal import column, progress

        times, now = (TimeElapsedColumn(), TimeRemainingColumn()), column("{task.fields[now]}")
        self.bars = progress(column("{task.description:8}"), BarColumn(), MofNCompleteColumn(), *times, now)
        self.stop = self.bars.stop
        self.tasks: dict[str, TaskID] = {}
        self.first = (0, 0.0)

    def _task(self, name: str, total: int) -> TaskID:
        """A stage's bar, which is drawn from its first news on: the other processes of a training have none."""
        if name not in self.tasks:
            self.bars.start()
            self.tasks[name] = self.bars.add_task(name, total=total, now="")
        return self.tasks[name]

    def encoded(self, count: int, total: int) -> None:
        """So many more pairs are in the cache."""
        self.bars.advance(self._task("encoding", total), count)

    def trained(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """Steps done, and the last logged values."""
        now = time.monotonic()
        if "training" not in self.tasks:
            self.first = done, now
        steps, seconds = done - self.first[0], now - self.first[1]
        losses = [f"{name.replace('_', ' ')} {values[name]:.4f}" for name in LOSSES if name in values]
        rate = [f"{steps / seconds:.2f} steps/s"] if steps else []
        self.bars.update(self._task("training", total), completed=done, now="  ".join(losses + rate))
