"""``bench merge`` in small: every way is measured, in memory that does not grow with the checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from afa_bench.bench.merge import MIB, measure, stable_diffusion


def test_the_checkpoints_are_of_true_size() -> None:
    specs = stable_diffusion()
    assert len([key for key in specs if key.startswith("model.diffusion_model.")]) == 686
    assert 2.1e9 < sum(spec.size for spec in specs.values()) < 2.2e9


@pytest.mark.slow
def test_two_checkpoints_merge_in_little_memory(tmp_path: Path) -> None:
    found = measure(tmp_path, 0.2)
    assert set(found) == {"size", "copy", "afa-bench", "sd-mecha"}
    assert all(found[way]["seconds"] > 0 for way in ("copy", "afa-bench", "sd-mecha"))
    assert 4e8 < found["size"] < 4.5e8
    assert found["afa-bench"]["memory"] < 200 * MIB
