"""A third party's architecture is one file: its models are drawn, merged, trained on and measured as any others are."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from runs import rows, run
from safetensors.torch import load
from tiny import tiny_pipeline
from trainings import Silent

from afa_bench.afa.sabw import SABW
from afa_bench.afa.wins import denoising_wins
from afa_bench.architectures.find import all_architectures, architecture_of
from afa_bench.errors import UserError
from afa_bench.fetch import HubModel
from afa_bench.identity import fingerprint
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
from afa_bench.models.group import read_group, read_group_file
from afa_bench.models.identity import group_identity
from afa_bench.models.load import load_group
from afa_bench.prompts.base import Prompt
from afa_bench.training.config import read_config
from afa_bench.training.run import train

SIZE = 16
ORIGIN = {"origin": {"qualname": "stranger.Stranger", "distribution": "stranger", "version": "1.0"}}
IS = {"name": "is", "features": "lite0", "splits": 1}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python searches, in which the architecture is installed."""
    folder = tmp_path / "site"
    (folder / "stranger-1.0.dist-info").mkdir(parents=True)
    (folder / "stranger-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (folder / "stranger-1.0.dist-info" / "entry_points.txt").write_text(
        "[afa_bench.architectures]\nstranger = stranger:Stranger\n"
    )
    shutil.copy(Path(__file__).parent / "stranger.py", folder)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def group(site: Path, tmp_path: Path) -> Path:
    """A group's file of two models, beside their folders."""
    from stranger import StrangerPipeline

    stock = StableDiffusionPipeline.from_pretrained(tiny_pipeline(tmp_path), local_files_only=True, safety_checker=None)
    parts = {name: getattr(stock, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=4, in_channels=16, out_channels=16, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16, attention_head_dim=2, class_embed_type="timestep",
        )  # fmt: skip
        StrangerPipeline(unet=unet, **parts).save_pretrained(tmp_path / name)
    (tmp_path / "strangers.yaml").write_text("pipeline: one\nmodels: {one: one, two: two}\n")
    return tmp_path / "strangers.yaml"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four images with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (4, 20, 18, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"picture {index}")
    return folder


def suite(group: Path, pictures: Path, **content: Any) -> Path:
    settings = {
        "name": "strangers", "groups": [str(group)], "prompts": {"name": "folder", "path": str(pictures)},
        "methods": ["base", "merge", "mbw", "block-average"],
        "metrics": ["denoising-loss", IS],
        "sampler": {"guidance": 2.0}, "steps": [2], "size": SIZE, "images_per_prompt": 1, **content,
    }  # fmt: skip
    file = group.parent / "suite.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def merged(group: Path, out: str, **recipe: Any) -> Path:
    file = group.parent / "recipe.yaml"
    file.write_text(yaml.safe_dump({"models": {"one": "one", "two": "two"}, **recipe}))
    write_merge(prepare(read_recipe(file), group.parent), group.parent / out)
    return group.parent / out


def states(group: Path) -> list[dict[str, torch.Tensor]]:
    loaded = load_group(read_group(str(group), Path(), "test"), "cpu", torch.float32)
    return [model.unet.state_dict() for model in loaded.models]


def test_it_is_found_by_its_pipeline_its_name_and_its_tensors(group: Path) -> None:
    assert [architecture.name for architecture in all_architectures()] == ["flux", "sd15", "sdxl", "stranger"]
    found = read_group(str(group), Path(), "test")
    assert found.architecture == "stranger"
    assert found.family.title == "Stranger"
    assert group_identity(found)["architecture"] == {"name": "stranger", "version": 1, **ORIGIN}
    named = group.with_name("named.yaml")
    named.write_text(f"architecture: stranger\n{group.read_text()}")
    same = read_group(str(named), Path(), "test").model_copy(update={"name": found.name})
    assert fingerprint(group_identity(same)) == fingerprint(group_identity(found))
    assert architecture_of(merged(group, "one.safetensors", method="weighted")).name == "stranger"
    named.write_text("pipeline: {hub: a/b}\nmodels: {one: {hub: a/c}}\narchitecture: stranger\n")
    _, own = read_group_file(str(named), Path(), "test").sources()
    assert isinstance(own, HubModel)
    assert [(part.folder, part.required) for part in own.parts] == [("unet", True), ("text_encoder", False), ("scheduler", False)]


def test_a_suite_draws_it_and_measures_its_denoising_loss(group: Path, pictures: Path, tmp_path: Path) -> None:
    outcome = run(suite(group, pictures), tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (2 * 5 * 4, 0)
    found = rows(tmp_path / "out")
    losses = [row["denoising_loss"] for row in found if row.get("denoising_loss") is not None]
    assert len(losses) == 5 * 4
    assert all(0.1 < loss < 10 for loss in losses)
    images = [row["sha256"] for row in found if row["sha256"] is not None]
    assert len(images) == 5 * 4
    assert len(set(images)) == 4 * 4, "uniform block weights are the weighted merge; all others differ"
    odd = suite(group, pictures, size=SIZE + 2, name="odd")
    with pytest.raises(UserError, match="size: 18; expected a multiple of 4 pixels for Stranger"):
        run(odd, tmp_path / "out")


@pytest.mark.slow
def test_it_is_merged_as_a_folder_and_as_a_file(group: Path, pictures: Path, tmp_path: Path) -> None:
    one, two = states(group)
    blocks = [[1.0, 0.0]] * 3 + [[0.25, 0.75]] * 4
    merged(group, "both", method="mbw", simplex=blocks, base=[0.5, 0.5], like="one")
    merged(group, "both.safetensors", method="mbw", simplex=blocks, base=[0.5, 0.5])
    shutil.copytree(tmp_path / "one", tmp_path / "configs", ignore=shutil.ignore_patterns("*.safetensors"))
    file = tmp_path / "merged.yaml"
    file.write_text("pipeline: both.safetensors\nmodels: {folder: both, file: both.safetensors}\nconfigs: configs\n")
    of_folder, of_file = states(file)
    for key, value in of_folder.items():
        assert torch.equal(value, of_file[key]), key
        share = 1.0 if key.startswith(("conv_in", "time_embedding", "class_embedding", "down_blocks")) else 0.25
        torch.testing.assert_close(value, share * one[key] + (1 - share) * two[key])
    outcome = run(suite(file, pictures, methods=["base"], metrics=[IS]), tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (2 * 4, 0)
    images = {(row["sample_id"], row["sha256"]) for row in rows(tmp_path / "out")}
    assert len(images) == 4, "the folder's images are the file's"


def test_it_may_be_a_file_that_groups_and_recipes_name(
    group: Path, site: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = merged(group, "installed.safetensors", method="weighted").read_bytes()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(site)])
    with pytest.raises(UserError, match="_class_name: 'StrangerPipeline' is not supported"):
        read_group(str(group), Path(), "test")
    group.write_text(f"architecture: site/stranger.py:Stranger\n{group.read_text()}")
    digest = hashlib.sha256((site / "stranger.py").read_bytes()).hexdigest()
    found = group_identity(read_group(str(group), Path(), "test"))["architecture"]
    assert found == {"name": "stranger", "version": 1, "origin": {"qualname": "Stranger", "sha256": digest}}
    outcome = run(suite(group, pictures, methods=["base"]), tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (2 * 2 * 4, 0)
    file = merged(group, "named.safetensors", method="weighted", architecture="site/stranger.py:Stranger")
    assert load(file.read_bytes()).keys() == load(expected).keys()
    with pytest.raises(UserError, match=r"vae: expected a vae of as many levels as SD 1\.5's"):
        merged(group, "other.safetensors", method="weighted")


@pytest.mark.parametrize("trainable", ["afa", "moe-block"])
def test_it_is_trained_on(trainable: str, group: Path, pictures: Path, tmp_path: Path) -> None:
    settings = {
        "group": str(group), "data": {"name": "folder", "path": str(pictures)}, "trainable": {"name": trainable, "hidden": 8},
        "size": SIZE, "steps": 3, "batch": 2, "text_dropout": 0.5, "lr": 0.01, "log_every": 1, "validation": 0,
    }  # fmt: skip
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings))
    outcome = train(read_config(tmp_path / "train.yaml"), tmp_path / "trained", Silent())
    assert np.isfinite(outcome.values["loss"])
    facts = json.loads((tmp_path / "trained" / "training.json").read_text())
    assert facts["models"]["two"].keys() == {"unet", "text_encoder"}
    if trainable == "afa":
        sabw = SABW.read(outcome.weights)
        assert min(block.conv_out.weight.abs().max() for block in sabw.blocks) > 0, "all blocks have learned"
    key = "sabw" if trainable == "afa" else "router"
    drawn = run(suite(group, pictures, methods=[{"name": trainable, key: str(outcome.weights)}]), tmp_path / "out")
    assert (drawn.generated, drawn.failed) == (2 * 4, 0)


def test_its_models_win_where_they_denoise_best(group: Path, pictures: Path) -> None:
    loaded = load_group(read_group(str(group), Path(), "test"), "cpu", torch.float32)
    prompts = [Prompt("0", "picture 0", image=(pictures / "0.png").read_bytes())]
    wins = denoising_wins(loaded, prompts, SIZE, timesteps=[500], noises=2)
    assert wins.winners.shape == (1, 1, 2, 8, 8)
    assert 0 < wins.shares()[0] < 1
