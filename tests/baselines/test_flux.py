"""The averages are methods for FLUX too, by the same objects as for U-Nets."""

from __future__ import annotations

from pathlib import Path

import tiny_models
import yaml

from afa_bench.generation.generator import Generator
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite


def test_the_averages_draw_with_flux(tiny_suite: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        tiny_models.flux(tmp_path / name, seed)
    (tmp_path / "flux.yaml").write_text("pipeline: one\nmodels: {one: one, two: two}\n")
    suite = yaml.safe_load(tiny_suite.read_text()) | {
        "groups": [str(tmp_path / "flux.yaml")],
        "methods": ["base", "noise-average", "block-average"],
        "sampler": {"scheduler": "FlowMatchEulerDiscreteScheduler", "guidance": 2.0},
        "size": 32,
    }
    tiny_suite.write_text(yaml.safe_dump(suite))
    plan = make_plan(read_suite(tiny_suite), limit=1)
    generator = Generator(plan, "cpu", 2)
    images = {cell.label: generator.sample(cell, plan.cell_samples(cell)[:2]) for cell in plan.cells}
    assert images.keys() == {"one", "two", "noise-average", "block-average"}
    assert all(image.shape == (2, 3, 32, 32) and image.isfinite().all() for image in images.values())
    assert len({image.mean().item() for image in images.values()}) == 4
