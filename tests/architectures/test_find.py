"""Which architecture a checkpoint is of, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import save_file
from strangers import FILES, install

from afa_bench import registry
from afa_bench.architectures.find import all_architectures, architecture_of, architecture_with, find_architecture, view_of
from afa_bench.architectures.flux import FLUX
from afa_bench.errors import UserError
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.search.auto_mbw import Budget, Rules
from afa_bench.search.job import make_job
from afa_bench.suite import Choice, find_suite, read_suite
from baselines.mbw import MBW


def folder(path: Path, kind: str) -> Path:
    path.mkdir()
    (path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    return path


def file(path: Path, *names: str) -> Path:
    save_file({name: torch.zeros(1) for name in names}, path)
    return path


def test_every_registered_architecture_is_itself() -> None:
    assert [architecture.name for architecture in all_architectures()] == list(registry.available("architectures"))
    with pytest.raises(UserError, match="here: unknown architecture 'sd14': did you mean 'sd15'"):
        find_architecture("sd14", "here")


@pytest.mark.parametrize(
    ("name", "kind", "marks"),
    [
        ("sd15", "StableDiffusionPipeline", ["model.diffusion_model.out.2.weight", "cond_stage_model.transformer.x"]),
        ("sd15", "StableDiffusionPipeline", ["model.diffusion_model.out.2.weight"]),
        ("sdxl", "StableDiffusionXLPipeline", ["model.diffusion_model.label_emb.0.0.weight"]),
        ("sdxl", "StableDiffusionXLPipeline", ["conditioner.embedders.0.transformer.x"]),
        ("flux", "FluxPipeline", ["double_blocks.0.img_mod.lin.weight"]),
        ("flux", "FluxPipeline", ["model.diffusion_model.double_blocks.0.img_mod.lin.weight"]),
    ],
)
def test_a_checkpoint_is_recognised(name: str, kind: str, marks: list[str], tmp_path: Path) -> None:
    assert architecture_of(folder(tmp_path / "folder", kind)).name == name
    assert architecture_of(file(tmp_path / "file.safetensors", *marks)).name == name
    assert architecture_with(["conv_in.weight"], tmp_path / "folder").name == name, "a pipeline's folder says it itself"


def test_what_is_not_recognised(tmp_path: Path) -> None:
    assert architecture_of(tmp_path).name == "sd15"
    known = "FluxPipeline or StableDiffusionPipeline or StableDiffusionXLPipeline"
    with pytest.raises(
        UserError, match=rf"model_index\.json: _class_name: 'KandinskyPipeline' is not supported; expected {known}"
    ):
        architecture_of(folder(tmp_path / "k", "KandinskyPipeline"))
    both = file(tmp_path / "both.safetensors", "double_blocks.0.x", "cond_stage_model.x")
    with pytest.raises(UserError, match=r"both\.safetensors: may be flux or sd15; expected one architecture"):
        architecture_of(both)
    with pytest.raises(
        UserError, match="denoiser: Linear is not supported; expected FluxTransformer2DModel or UNet2DConditionModel"
    ):
        view_of(torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match="architecture flux: Fluxx: no such class in diffusers"):
        FLUX().class_of("Fluxx")


def test_what_does_not_load_or_wants_to_be_named_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path / "broken", monkeypatch, "broken", "import nothing_at_all", architectures="broken = broken:Broken")
    install(tmp_path / "variant", monkeypatch, "variant", FILES["clip_skip.py"], architectures="variant = variant:ClipSkip")
    assert architecture_of(folder(tmp_path / "a", "StableDiffusionPipeline")).name == "sd15"
    assert architecture_with(["cond_stage_model.x"], tmp_path / "a.safetensors").name == "sd15"
    assert find_architecture("variant").title == "SD 1.5 with clip skip 2"
    (record,) = [record for record in caplog.records if "broken" in record.getMessage()]
    assert "does not load: ModuleNotFoundError" in record.getMessage()
    with pytest.raises(UserError, match=r"here: architecture 'broken': .* does not load"):
        find_architecture("broken", "here")


def test_flux_models_are_merged_in_memory_alone(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        tiny_models.flux(tmp_path / name, seed)
    file(tmp_path / "file.safetensors", "double_blocks.0.img_mod.lin.weight")
    message = "models of FLUX cannot be merged: this architecture has no merge layout"
    for name in ("one", "file.safetensors"):
        (tmp_path / "recipe.yaml").write_text(f"models: {{a: {name}, b: {name}}}\n")
        with pytest.raises(UserError, match=f"^{tmp_path / name}: {message}$"):
            prepare(read_recipe(tmp_path / "recipe.yaml"), tmp_path)
    (tmp_path / "g.yaml").write_text("pipeline: one\nmodels: {one: one, two: two}\n")
    group = read_group(str(tmp_path / "g.yaml"), Path(), "test")
    with pytest.raises(UserError, match=r"^mbw: blocks: expected models with numbered blocks"):
        MBW().build(group, load_group(group, "cpu", torch.float32).models, MBW.Options())
    suite = read_suite(find_suite("mini"))
    with pytest.raises(UserError, match=f"^search: group g: {message}$"):
        make_job(suite, Choice(name="clip-t"), str(tmp_path / "g.yaml"), rules=Rules(images=(1,)), budget=Budget())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, False, True),
        (768, [768] * 4, True),
        ((8, 8), [8, 8], True),
        ([1, 1, 1], 1, True),
        ([False, False], None, True),
        (None, True, False),
        (None, 0.5, False),
        (8, [8, 8, 4], False),
        ([8, 8], [8, 8, 8], False),
        (["DownBlock2D"] * 2, ["DownBlock2D"] * 4, False),
        (8, [], False),
        ("a", "b", False),
    ],
)
def test_settings_that_compute_the_same_are_the_same(one, other, same):
    from afa_bench.architectures.alike import first_difference

    for pair in ((one, other), (other, one)):
        assert (first_difference({"key": pair[0]}, {"key": pair[1]}) is None) == same


def test_a_setting_in_whose_place_another_counts_is_that_one():
    from afa_bench.architectures.alike import first_difference

    unset = {"only_cross_attention": True, "mid_block_only_cross_attention": None}
    assert first_difference(unset, {**unset, "mid_block_only_cross_attention": True}) is None
    assert first_difference(unset, {**unset, "mid_block_only_cross_attention": False}) == "mid_block_only_cross_attention"
