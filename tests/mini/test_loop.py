"""The training loop: exact resume, and the optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from afa_bench.mini.recipe.loop import Losses, fit, generator, warm_cosine
from afa_bench.mini.recipe.muon import Muon, orthogonalise


class KilledError(Exception):
    """Stands for the end of a process."""


def train(folder: Path, killed_after: int | None = None) -> tuple[nn.Module, Losses]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 4))
    goal = torch.randn(8, 4)

    def loss(rng: torch.Generator) -> torch.Tensor:
        x = torch.randn(32, 8, generator=rng)
        return (model(x) - x @ goal).square().mean()

    def report(step: int, steps: int, value: float) -> None:
        if step == killed_after:
            raise KilledError

    log = fit(
        [model],
        Muon([model], lr=0.1, adam_lr=3e-3),
        loss,
        steps=40,
        seed=3,
        checkpoint=folder / "state.ckpt",
        warmup=5,
        ema=0.9,
        report=report,
        save_seconds=0.0,
        log_every=10,
    )
    return model, log


def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, log = train(tmp_path / "a")
    for step in (7, 23, 31):
        with pytest.raises(KilledError):
            train(tmp_path / "b", killed_after=step)
    resumed, log_again = train(tmp_path / "b")
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert log.losses == log_again.losses


def test_it_learns(tmp_path: Path) -> None:
    _, log = train(tmp_path)
    assert log.losses[-1][1] < 0.7 * log.losses[0][1]


def test_randomness_follows_from_seed_step_and_rank() -> None:
    draws = {torch.rand(1, generator=generator(*key)).item() for key in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 0, 0))}
    assert len(draws) == 4


def test_learning_rate_rises_and_falls() -> None:
    rates = [warm_cosine(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) > 0.95
    assert rates[-1] < 0.01


@pytest.mark.parametrize("shape", [(3, 16, 64), (2, 64, 16), (1, 8, 8)])
def test_orthogonalise(shape: tuple[int, int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.max() < 1.3
    assert values.median() > 0.6
