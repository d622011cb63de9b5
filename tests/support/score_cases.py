"""``afa-bench score`` on small folders."""

import json

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError


def verb(*words):
    """A command; its error is raised."""
    result = CliRunner().invoke(app(), list(map(str, words)))
    if isinstance(result.exception, UserError):
        raise result.exception
    return result


def score(*options):
    return verb("score", *options)


def images_in(folder, count, seed=0):
    """Noise, under the names ``00.png`` and so on."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def rows(out):
    return {row["sample_id"]: row for row in pq.read_table(out / "samples.parquet").to_pylist()}


def summary(out):
    return json.loads((out / "summary.json").read_text())["metrics"]
