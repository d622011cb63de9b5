"""The measurement of time and memory."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from afa_bench.bench.ensembles import measure
from afa_bench.bench.live import LiveBytes
from afa_bench.cli import app
from afa_bench.errors import UserError


def test_live_bytes() -> None:
    with LiveBytes() as live:
        one = torch.zeros(1000)
        view = one[10:]
        two = one + 1
        assert (live.now, live.peak) == (8000, 8000)
        del two
        three = torch.ones(100)
        assert (live.now, live.peak) == (4400, 8000)
        del one, view, three
        assert live.now == 0


def test_what_cannot_be_measured() -> None:
    with pytest.raises(UserError, match="--dtype: int8; expected float32"):
        measure("mini", 2, 32, 1, "int8", 1, "cpu")
    with pytest.raises(UserError, match="--size: 16; expected at least 32"):
        measure("mini", 2, 16, 1, "float32", 1, "cpu")


@pytest.mark.slow
def test_checkpointing_takes_memory_off_and_models_add_to_it() -> None:
    two, three = (measure("mini", models, 64, 2, "float32", 1, "cpu", count=True) for models in (2, 3))
    for one in (two, three):
        assert one.sampling.peak < one.checkpointed.peak < one.training.peak
        assert one.training.seconds is None
    assert two.training.peak < three.training.peak
    plain, saving = (three.training.peak - two.training.peak), (three.checkpointed.peak - two.checkpointed.peak)
    assert saving < 0.7 * plain, "another model adds its weights and features, not its activations"


@pytest.mark.slow
def test_the_command_line_measures() -> None:
    found = CliRunner().invoke(
        app(), ["bench", "afa", "--models", "2", "--architecture", "mini", "--size", "32", "--repeats", "1"]
    )
    assert found.exit_code == 0, found.output
    assert "| 2 " in found.output
