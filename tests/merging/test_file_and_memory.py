"""A merge is one model, whether it is written to a file or made in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from afa_bench.architectures import layout, ldm
from afa_bench.architectures.text import encoders_of
from afa_bench.merging.checkpoint import open_checkpoint, split
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
from afa_bench.models.group import Group, ModelRef
from afa_bench.models.load import load_group
from baselines.merge import Merge


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def group(request: pytest.FixtureRequest, small: Path) -> Group:
    models = [ModelRef(name=name, path=small / request.param / name) for name in "AB"]
    return Group(name="g", pipeline=models[0].path, models=tuple(models), architecture=request.param)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "dare", "density": 0.4, "seed": 7},
        {"method": "ties", "density": 0.3},
        {"method": "weight-sum", "alpha": "GRAD_V"},
        {"method": "mbw", "chain": ["COSINE"], "time_embedding": "BASE"},
    ],
)
def test_a_file_has_the_weights_of_the_model_in_memory(group: Group, tmp_path: Path, given: dict[str, Any]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"models": {ref.name: str(ref.path) for ref in group.models}, **given}, sort_keys=False))
    write_merge(prepare(read_recipe(recipe), tmp_path), tmp_path / "out.safetensors")
    file = open_checkpoint(tmp_path / "out.safetensors")
    merge = Merge()
    built = merge.build(group, load_group(group, "cpu", torch.float32).models, merge.read_options(given, "test", tmp_path))
    parts: dict[layout.Part, Any] = {"unet": built.unet}
    parts |= dict(zip(("text_encoder", "text_encoder_2"), encoders_of(built.text_encoders[0]), strict=False))  # type: ignore[arg-type]
    seen = set()
    for part, module in parts.items():
        for key, value in module.state_dict().items():
            link = file.layout.of_diffusers(part, key)
            assert link is not None
            piece = split(link.change, file.read(link.ldm))[link.diffusers.index(layout.modern(part, key))]
            assert torch.equal(value, piece), key
            seen.add(link.ldm)
    assert seen == {key for key in file.specs if not ldm.carried(key)}
