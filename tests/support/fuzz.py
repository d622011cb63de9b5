"""Throws damaged files of every kind that users write at their readers: all but a value or a UserError is a finding.

``python tests/support/fuzz.py SECONDS [SEED]`` prints the findings, with what produced them.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_archives import archives, layouts
from fuzz_texts import captions, images, prompts
from fuzz_training import TRAININGS
from fuzz_weights import WEIGHTS
from fuzzing import WORDS, Finding, mutated, tried
from results_factory import write_cell

from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.report.rows import read_rows
from afa_bench.store.garbage import find_garbage
from afa_bench.store.layout import PlannedCell, Store
from afa_bench.store.rows import encode_rows
from afa_bench.store.status import read_status
from afa_bench.suite import packaged_suites, read_suite
from afa_bench.tables import build_table, load_results, render
from afa_bench.tables.pairs import read_samples

KEYS = (
    "name", "revision", "groups", "prompts", "methods", "metrics", "sampler", "steps", "size", "images_per_prompt", "repeats",
    "seed", "dtype", "extends", "description", "file", "scheduler", "guidance", "sigmas", "timestep_spacing", "eta", "clip_skip",
    "guidance_rescale", "force_zeros_for_empty_prompt", "long_prompts", "height", "width",
)  # fmt: skip


def reworded(data: bytes, chance: random.Random) -> bytes:
    """A line's value replaced, or a key added: what stays YAML, mostly."""
    lines = data.decode("utf-8", "replace").splitlines()
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(lines)) if lines else 0
        if chance.random() < 0.5 and lines and ":" in lines[place]:
            lines[place] = lines[place].split(":")[0] + ": " + chance.choice(WORDS)
        else:
            lines.insert(place, f"{chance.choice(KEYS)}: {chance.choice(WORDS)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def suites(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Suites that were changed."""
    known = [path.read_bytes() for path in packaged_suites().values()]
    file = folder / "suite.yaml"
    while True:
        data = chance.choice((mutated, reworded, reworded))(chance.choice(known), chance)
        file.write_bytes(data)
        read = read_whole if chance.random() < 0.2 else read_suite
        yield tried(partial(read, file), repr(data))


def read_whole(file: Path) -> None:
    """Its methods, metrics and groups too."""
    estimate(read_suite(file))


def results(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Results of which one file was changed."""
    root = folder / "results"
    for order, method in enumerate(("base", "afa")):
        for steps in (None, 10):
            cell = write_cell(root, method=method, order=order, steps=steps, failed=(2,))
            rows = pq.read_table(cell.samples).to_pylist()
            cell.samples.write_bytes(encode_rows(rows))
            cell.write_shard(0, [{**row, "file": None, "seconds": 1.0} for row in rows])
    Store(root).write_planned("tiny", 3, [PlannedCell(name, "g", name, 10, 48) for name in Store(root).cells()[:2]])
    files = sorted(path for path in root.rglob("*") if path.is_file())
    plain = {path: unsealed(path) for path in files}
    while True:
        file = chance.choice(files)
        before = file.read_bytes()
        data = mutated(chance.choice([before, plain[file]]), chance)
        if file.suffix == ".parquet" and chance.random() < 0.5:
            data = strange_rows(chance)
        file.write_bytes(data)
        yield tried(lambda: read_all(root), f"{file.name} {data!r}")
        file.write_bytes(before)


def unsealed(path: Path) -> bytes:
    """A file as an earlier version wrote it: its damage is not seen by a checksum."""
    if path.suffix != ".parquet":
        return b"{" + path.read_bytes().partition(b'",')[2]
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), sink)
    return bytes(sink.getvalue())


def strange_rows(chance: random.Random) -> bytes:
    """A valid file of columns of any types."""
    pool: tuple[Any, ...] = (
        [None, None], ["a", "b"], ["a", "a"], [1, 2], [1.5, float("nan")], [True, None], [b"x", b"\xff"], [[1], []],
        [{"a": 1}, None], pa.array([2, 2**63], pa.uint64()), pa.array([1, 2], pa.decimal128(5, 1)),
        pa.array([1, 2], pa.duration("s")), pa.array(np.array([1, 2], np.float16)), pa.array(["a", None]).dictionary_encode(),
    )  # fmt: skip
    names = ("sample_id", "prompt_id", "seed", "error", "category", "clip_t_mini", "denoising_loss", "file", "seconds")
    columns = {name: chance.choice(pool) for name in names if chance.random() < 0.85}
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.table(columns), sink)
    except pa.ArrowException:
        return b""
    return bytes(sink.getvalue())


def read_all(root: Path) -> None:
    """Everything that reads results."""
    errors = []
    for read in (
        lambda: read_status(root).as_json(),
        lambda: find_garbage(root),
        lambda: [read_samples(file, ["category"]) for file in root.glob("*/samples.parquet")],
        lambda: read_rows(load_results(root).cells),
        lambda: render(build_table(load_results(root), versus="afa", by="category"), "markdown"),
    ):
        try:
            read()
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]


TEXTS = {"prompts": prompts, "captions": captions, "images": images, "archives": archives, "layouts": layouts}
KINDS = {"suites": suites, "results": results, **TEXTS, **WEIGHTS, **TRAININGS}


def fuzz(
    seconds: float = math.inf, trials: float = math.inf, seed: int = 0, chosen: Sequence[str] = tuple(KINDS)
) -> tuple[Counter[str], list[str]]:
    """An equal part of the time, and so many trials, for each reader. Returns how often what came out, and the findings."""
    counts: Counter[str] = Counter()
    found: dict[str, str] = {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            end = time.monotonic() + seconds / len(chosen)
            for number, (outcome, what) in enumerate(KINDS[name](Path(folder), random.Random(seed)), start=1):
                counts[f"{name}: {outcome}"] += 1
                if what:
                    found.setdefault("".join(what.splitlines()[-3:]), what)
                if number >= trials or time.monotonic() > end:
                    break
    return counts, list(found.values())


if __name__ == "__main__":
    counted, findings = fuzz(float(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print("\n\n".join(findings))
    print(dict(counted))
    sys.exit(bool(findings))
