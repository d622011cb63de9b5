"""What works on FLUX works by the same objects as on U-Nets; what cannot is refused before any weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import yaml

from afa_bench import registry
from afa_bench.cells import Plan
from afa_bench.errors import UserError
from afa_bench.generation.generator import Generator
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite
from afa_bench.training.config import read_config
from afa_bench.training.run import train

UNETS = "group flux: FLUX's FluxTransformer2DModel is not supported; expected U-Nets"
BLOCKS = "group flux: blocks: expected models with numbered blocks"
BY_BLOCK = {"name": "merge", "method": "weight-sum", "alpha": {"blocks": "GRAD_V"}}


class Silent:
    def encoded(self, count: int, total: int) -> None: ...

    def trained(self, done: int, total: int, values: Mapping[str, float]) -> None: ...


@pytest.fixture
def flux(tiny_suite: Path, tmp_path: Path) -> Path:
    """A suite, beside a group of two."""
    for seed, name in enumerate(("one", "two")):
        tiny_models.flux(tmp_path / name, seed)
    (tmp_path / "flux.yaml").write_text("pipeline: one\nmodels: {one: one, two: two}\n")
    return tiny_suite


def planned(suite: Path, group: Path, *methods: Any, **changes: Any) -> Plan:
    document = yaml.safe_load(suite.read_text()) | {
        "groups": [str(group)],
        "methods": list(methods),
        "sampler": {"scheduler": "FlowMatchEulerDiscreteScheduler", "guidance": 2.0},
        "size": 32,
        **changes,
    }
    suite.write_text(yaml.safe_dump(document))
    return make_plan(read_suite(suite), limit=1)


def test_the_averages_and_a_merge_draw_with_flux(flux: Path, tmp_path: Path) -> None:
    plan = planned(flux, tmp_path / "flux.yaml", "base", "noise-average", "block-average", "merge")
    generator = Generator(plan, "cpu", 2)
    images = {cell.label: generator.sample(cell, plan.cell_samples(cell)[:2]) for cell in plan.cells}
    assert images.keys() == {"one", "two", "noise-average", "block-average", "weighted"}
    assert all(image.shape == (2, 3, 32, 32) and image.isfinite().all() for image in images.values())
    assert len({image.mean().item() for image in images.values()}) == 5


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("magicfusion", UNETS),
        ("moe-block", UNETS),
        ("moe-denoiser", UNETS),
        ("mbw", BLOCKS),
        ({"name": "merge", "method": "mbw"}, BLOCKS),
        (BY_BLOCK, BLOCKS),
        ({**BY_BLOCK, "alpha": {"blocks": [0.5] * 3}}, BLOCKS),
    ],
)
def test_what_cannot_work_on_flux_is_refused_before_the_work(method: Any, reason: str, flux: Path, tmp_path: Path) -> None:
    name = method["name"] if isinstance(method, Mapping) else method
    with pytest.raises(UserError, match=f"^{name}: {reason}"):
        planned(flux, tmp_path / "flux.yaml", method)


def test_every_method_is_planned_for_flux_or_refused_in_a_line(flux: Path, tmp_path: Path) -> None:
    def refusal(method: str) -> str:
        try:
            planned(flux, tmp_path / "flux.yaml", method)
        except UserError as error:
            return str(error)
        return ""

    refusals = {method: refusal(method) for method in registry.available("methods")}
    assert [method for method, line in refusals.items() if not line] == [
        "base",
        "block-average",
        "merge",
        "noise-average",
        "weighted",
    ]
    assert not any("\n" in line for line in refusals.values())


@pytest.mark.parametrize("size", [8, 24, 33, 36, 40])
def test_a_size_is_a_multiple_of_the_familys_own(size: int, flux: Path, tmp_path: Path) -> None:
    said = rf"size: {size}; expected a multiple of 16 pixels for FLUX \(group flux\)"
    with pytest.raises(UserError, match=said):
        planned(flux, tmp_path / "flux.yaml", "base", size=size)
    settings = {"group": "flux.yaml", "data": {"name": "folder", "path": "nowhere"}, "size": size, "steps": 1}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=rf"train\.yaml: {said}"):
        train(read_config(tmp_path / "train.yaml"), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()
