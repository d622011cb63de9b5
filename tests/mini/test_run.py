"""The shipped zoo through the code that Stable Diffusion runs through."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from runs import run

from afa_bench.cells import Plan
from afa_bench.generation.generator import Generator
from afa_bench.plan import make_plan
from afa_bench.store.atomic import read_json
from afa_bench.suite import read_suite


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    document = {
        "name": "small",
        "groups": ["mini-1", "mini-2"],
        "prompts": {"name": "mini", "limit": 6},
        "methods": ["base", "weighted", "block-average", "noise-average", "afa"],
        "metrics": ["denoising-loss", *({"name": name, "features": "mini-clip"} for name in ("clip-t", "clip-i"))],
        "sampler": {"guidance": 3.0},
        "steps": [2],
        "size": 32,
        "images_per_prompt": 1,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def plan(suite: Path, **options: object) -> Plan:
    return make_plan(read_suite(suite), **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_both_groups_end_in_a_table_of_finite_numbers(suite, tmp_path):
    outcome = run(suite, tmp_path / "out", batch_size=6)
    assert (outcome.generated, outcome.failed) == (2 * 7 * 2 * 6, 0)
    for cell in plan(suite).cells:
        folder = tmp_path / "out" / "small" / cell.name
        metrics = read_json(folder / "summary.json")["metrics"]
        assert list(metrics) == (["clip_i_mini", "clip_t_mini"] if cell.steps else ["denoising_loss"])
        assert all(entry["low"] <= entry["value"] <= entry["high"] and entry["n"] == 6 for entry in metrics.values())
        assert pq.read_table(folder / "samples.parquet").num_rows == 6


@pytest.mark.slow
def test_a_loss_does_not_depend_on_the_batch(suite, tmp_path):
    values = []
    for batch in (1, 6):
        run(suite, tmp_path / str(batch), batch_size=batch, only=["afa"], groups=["mini-1"])
        (file,) = (tmp_path / str(batch)).rglob("mini-1-afa.denoise.*/samples.parquet")
        values.append(torch.tensor(pq.read_table(file).column("denoising_loss").to_pylist()))
    assert torch.allclose(values[0], values[1], rtol=1e-4)


@pytest.mark.slow
def test_images_do_not_depend_on_the_batch(suite):
    small = plan(suite, groups=["mini-1"], only=["people", "weighted", "afa"], steps=[10])
    generator = Generator(small, "cpu", batch_size=16)
    for cell in small.cells:
        if cell.steps:
            together = generator.sample(cell, small.samples)
            alone = torch.cat([generator.sample(cell, [sample]) for sample in small.samples])
            assert (together - alone).abs().max() < 1e-4
