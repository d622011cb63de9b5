"""``afa-bench bench methods`` from its options to its table and its file."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from afa_bench.bench.architecture import find_architecture
from afa_bench.bench.methods import BASE, Measured, Workshop, cases_of, count, measure
from afa_bench.errors import UserError, suggest
from afa_bench.store.atomic import write_json
from afa_bench.store.layout import SCHEMA
from afa_bench.tables.formats.rich import text_console
from afa_bench.tables.text import MISSING
from afa_bench.terminal import Bars

DTYPES = ("float32", "float16", "bfloat16")


def run_methods(
    architecture: str,
    methods: Sequence[str],
    models: Sequence[int],
    images: Sequence[int],
    steps: Sequence[int],
    *,
    rounds: int,
    device: str = "",
    dtype: str = "",
    out: Path | None = None,
) -> str:
    """Measure, write ``out``, and return the table as text.

    Raises:
        UserError: an unknown name, or numbers that make no sense.
    """
    for option, values in (("--models", models), ("--images", images), ("--steps", steps)):
        if not values or min(values) < 1:
            raise UserError(f"{option}: expected whole numbers from 1, separated by commas")
    if rounds < 0:
        raise UserError(f"--rounds: {rounds}: expected 0 or more")
    device = "meta" if rounds == 0 else device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("float16" if device.startswith("cuda") else "float32")
    if dtype not in DTYPES:
        raise UserError(f"--dtype: unknown number format {dtype!r}: {suggest(dtype, DTYPES)}")
    what = find_architecture(architecture)
    cases = cases_of(methods, models, images, steps)
    workshop = Workshop(what, max(case.n_models for case in cases), device, getattr(torch, dtype))
    found = count(workshop, cases)
    if rounds:
        bars = Bars()
        with bars.stage("bench", len(found) * (rounds + 1)):
            for one in measure(workshop, found, rounds):
                bars.advance(f"{one.case.method}, {one.case.n_models} models", 1)
    where = "no device (counted, not run)" if device == "meta" else _device(device)
    if out:
        about = {"device": where, "architecture": f"{what.name}, random weights", "dtype": dtype, "size": what.size}
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        runs = [one.row() for one in found]
        write_json(out, {"schema": SCHEMA, **about, "rounds": rounds, "versions": versions, "runs": runs})
    return _text(f"{what.name}, random weights, {what.size} px, {dtype}; {where}", found, max(steps))


def _device(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def _text(title: str, found: Sequence[Measured], most: int) -> str:
    table = Table(box=box.SIMPLE_HEAD, header_style="")
    for head in ("", "models", "images", "steps", "parameters", "TFLOPs", "training", "seconds", "× base", "peak MB"):
        table.add_column(head, justify="left" if not head else "right")
    for one in found:
        row, case = one.row(), one.case
        table.add_row(
            "base model" if case.method == BASE else case.method,
            *map(str, (case.n_models, case.images, case.steps)),
            _number(row["parameters"], 1e6, 2, "M"),
            _number(one.tflops, 1, 4),
            _number(one.train_tflops, 1, 4),
            _number(row["seconds"], 1, 3),
            _number(one.ratio, 1, 2),
            _number(one.peak_bytes, 1e6, 0),
        )
    console = text_console(None, styled=False)
    with console.capture() as capture:
        console.print(title)
        console.print(table)
        console.print(
            f"TFLOPs: of one generation, and of training on one image. × base: seconds beside the base model's at {most} steps."
        )
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _number(value: Any, unit: float, digits: int, end: str = "") -> str:
    return MISSING if value is None else f"{value / unit:,.{digits}f}{end}"
