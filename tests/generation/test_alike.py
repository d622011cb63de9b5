"""What is no sample's fault stops the run, and nothing of it is kept: the machine's, the suite's, one reason for all samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from runs import planned, run

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.generation.generator import Generator
from afa_bench.plan import make_plan
from afa_bench.progress import Silent
from afa_bench.run import run_plan
from afa_bench.suite import read_suite

SUITES = {
    "size": ({"size": 33}, r"tiny\.yaml: size: 33; expected a multiple of 2 pixels for .* \(group tiny\)"),
    "too many steps": ({"steps": [2, 5000]}, r"tiny\.yaml: steps: 5000: DDIMScheduler cannot: .*5000"),
    "a misspelt scheduler": (
        {"sampler": {"scheduler": "DDIMSchedular"}},
        r"sampler\.scheduler: 'DDIMSchedular' .*did you mean 'DDIM",
    ),
    "a scheduler of flows": ({"sampler": {"scheduler": "FlowMatchEulerDiscreteScheduler"}}, "does not fit"),
    "a class that is no scheduler": ({"sampler": {"scheduler": "AutoencoderKL"}}, "is not a scheduler"),
    "nothing to denoise": ({"metrics": ["denoising-loss"]}, "Denoising loss: none of the prompts has an image to denoise"),
}


def changed(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return path


@pytest.mark.parametrize("case", SUITES)
def test_what_a_suite_cannot_have_is_found_before_any_work_by_run_and_validate(tiny_suite, tmp_path, case):
    changes, words = SUITES[case]
    suite = read_suite(changed(tiny_suite, **changes))
    with pytest.raises(UserError, match=words):
        make_plan(suite)
    if case != "nothing to denoise":  # known once the prompts are read
        with pytest.raises(UserError, match=words):
            estimate(suite)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:7x"])
def test_a_device_that_is_not_there_is_found_before_any_work(tiny_suite, tmp_path, device):
    with pytest.raises(UserError, match="--device"):
        app()(["run", str(tiny_suite), "--out", str(tmp_path / "out"), "--device", device], standalone_mode=False)
    assert not (tmp_path / "out").exists()


ERRORS = {
    "one reason": RuntimeError("Expected all tensors to be on the same device"),
    "one reason in other numbers": ValueError,
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "memory of the processor": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    "the driver": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "a library of the driver": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("case", ERRORS)
def test_a_run_whose_every_sample_fails_for_one_reason_stops_and_keeps_nothing(tiny_suite, tmp_path, monkeypatch, case, batch):
    calls: list[int] = []

    def fail(self, cell, samples):
        calls.append(len(samples))
        raise ERRORS[case](f"tensor at 0x{len(calls):x} is {len(calls)}") if case.endswith("numbers") else ERRORS[case]

    changed(tiny_suite, methods=[{"name": "base", "model": "one"}])
    monkeypatch.setattr(Generator, "_drawn", fail)
    with pytest.raises(UserError, match="tiny one 2 steps: ") as caught:
        run(tiny_suite, tmp_path / "out", batch_size=batch)
    assert "\n" not in str(caught.value)
    assert not [*(tmp_path / "out").rglob("shard-*"), *(tmp_path / "out").rglob("*.png"), *(tmp_path / "out").rglob("*.claim.*")]
    monkeypatch.undo()
    assert run(tiny_suite, tmp_path / "out", batch_size=batch).generated == 10


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: unspecified launch failure"), MemoryError("no more")])
def test_a_device_that_fails_in_the_middle_of_a_shard_spoils_nothing(tiny_suite, tmp_path, monkeypatch, error):
    """From one sample on: those before it are good, and are made again with their shard."""
    drawn = Generator._drawn

    def fail(self, cell, samples):
        if any(sample.prompt.id == "000003" for sample in samples):
            raise error
        return drawn(self, cell, samples)

    changed(tiny_suite, methods=[{"name": "base", "model": "one"}])
    monkeypatch.setattr(Generator, "_drawn", fail)
    with pytest.raises(UserError, match="tiny one 2 steps: cpu: "):
        run(tiny_suite, tmp_path / "out", batch_size=2)
    assert not list((tmp_path / "out").rglob("shard-*.json"))


def test_a_sample_at_fault_is_a_row_and_so_is_a_last_shard_of_one(tiny_suite, tmp_path, monkeypatch):
    drawn = Generator._drawn

    def fail(self, cell, samples):
        if any(sample.prompt.id == "000004" and sample.image_index for sample in samples):
            raise ValueError("this text")
        return drawn(self, cell, samples)

    changed(tiny_suite, methods=[{"name": "base", "model": "one"}])
    monkeypatch.setattr(Generator, "_drawn", fail)
    for size in (32, 3):  # ten samples: the fourth shard has the last one alone
        outcome = run(tiny_suite, tmp_path / str(size), shard_size=size)
        assert (outcome.generated, outcome.failed) == (10, 1)


def test_a_cell_of_one_sample_that_fails_stops_the_run(tiny_suite, tmp_path, monkeypatch):
    def fail(self, cell, samples):
        raise ValueError("this machine")

    monkeypatch.setattr(Generator, "_drawn", fail)
    plan = planned(changed(tiny_suite, images_per_prompt=1), limit=1)
    with pytest.raises(UserError, match="all 1 samples of a shard fail alike: ValueError: this machine"):
        run_plan(plan, tmp_path / "out", "cpu", 1, Silent())


def test_numbers_that_are_not_finite_are_the_methods_own_and_are_kept(tiny_suite, tmp_path, monkeypatch):
    drawn = Generator._drawn

    def spoilt(self, cell, samples):
        images, _ = drawn(self, cell, samples)
        return images, ["not finite from step 1 of 2"] * len(samples)

    changed(tiny_suite, methods=[{"name": "base", "model": "one"}])
    monkeypatch.setattr(Generator, "_drawn", spoilt)
    outcome = run(tiny_suite, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (10, 10)
