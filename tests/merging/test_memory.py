"""What a streamed merge holds in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import SD15, names
from safetensors.torch import save_file

from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge

MIB = 2**20


def peak() -> int:
    """The largest resident memory since the last reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def large(path: Path, seed: int) -> int:
    """A checkpoint of 300 MB in half precision: one tensor of 60 MB, as a text encoder's embedding, and many of 0.3 MB."""
    values = torch.randn(160_000, generator=torch.Generator().manual_seed(seed)).half()
    tensors = {key: values.roll(n) for n, key in enumerate(names(SD15)) if not key.startswith("first_stage_model.")}
    embedding = next(key for key in tensors if key.endswith("token_embedding.weight"))
    tensors[embedding] = values.repeat(200)
    save_file(tensors, path)
    return path.stat().st_size


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' /proc")
def test_a_merge_holds_a_few_tensors(tmp_path: Path) -> None:
    size = sum(large(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("AB")) // 2
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"models": {name: f"{name}.safetensors" for name in "AB"}}))
    reset_peak()
    before = peak()
    write_merge(prepare(read_recipe(path), tmp_path), tmp_path / "out.safetensors")
    more = peak() - before
    assert size > 300 * MIB
    assert more < 4 * 61 * MIB  # the largest tensor of both models, of the result, and a margin
