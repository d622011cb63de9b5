"""What a single file or a folder is, and what it lacks, is said before any work; what it leaves out is the pipeline's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import checkpoints
import pytest
import tiny_models
import torch
import yaml
from safetensors.torch import load_file, save_file

from afa_bench.architectures.contents import described
from afa_bench.architectures.names import ldm_names
from afa_bench.errors import UserError
from afa_bench.merging.checkpoint import open_checkpoint
from afa_bench.models.group import GroupFile, read_group_file
from afa_bench.models.load import Model, load_group

State: TypeAlias = dict[str, torch.Tensor]
UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines of SD 1.5's depth: a folder, and a single file with its configurations."""
    folder = tmp_path_factory.mktemp("contents")
    for number, name in enumerate(("base", "other"), start=1):
        tiny_models.sd15(folder / name, number)
    tiny_models.merged_file(folder, {"A": "other"}, "whole.safetensors")
    tiny_models.configs_of(folder / "base", folder / "configs")
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> State:
    return load_file(folder / "whole.safetensors")


def group(folder: Path, **content: Any) -> GroupFile:
    path = folder / "g.yaml"
    path.write_text(yaml.safe_dump({"pipeline": "base", "models": {"it": "it.safetensors"}, "configs": "configs", **content}))
    return read_group_file(str(path), Path(), "test")


def of(state: State, *begins: str) -> State:
    return {key: tensor for key, tensor in state.items() if key.startswith(begins)}


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(key): tensor for key, tensor in state.items()}


def diffusers_unet(state: State, folder: Path) -> State:
    return load_file(folder / "other/unet/diffusion_pytorch_model.safetensors")


LEFT_OUT: Mapping[str, tuple[bool, Callable[[State, Path], State]]] = {
    "everything": (True, lambda state, _: state),
    "no VAE": (True, lambda state, _: of(state, UNET, TEXT)),
    "no text encoder": (False, lambda state, _: of(state, UNET, VAE)),
    "a U-Net alone": (False, lambda state, _: of(state, UNET)),
    "a U-Net without its prefix": (False, lambda state, _: renamed(of(state, UNET), lambda key: key.removeprefix(UNET))),
    "a U-Net with a shorter prefix": (False, lambda state, _: renamed(of(state, UNET), lambda key: key.removeprefix("model."))),
    "a U-Net of diffusers": (False, diffusers_unet),
    "texts without text_model": (True, lambda state, _: renamed(state, lambda key: key.replace(f"{TEXT}text_model.", TEXT))),
    "averaged weights beside": (True, lambda state, _: {**state, "model_ema.decay": torch.zeros(())}),
    "position ids": (True, lambda state, _: {**state, f"{TEXT}text_model.embeddings.position_ids": torch.arange(12)[None]}),
}


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Model, Model]:
    """The whole file, and the pipeline as a model of its own."""
    models = {"a": "whole.safetensors", "b": "base"}
    one, base = load_group(group(folder, models=models).resolved(), "cpu", torch.float32).models
    return one, base


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_a_model_leaves_out_is_the_pipelines(folder: Path, whole: State, loaded: tuple[Model, Model], name: str) -> None:
    texts, change = LEFT_OUT[name]
    save_file({key: tensor.contiguous() for key, tensor in change(whole, folder).items()}, folder / "it.safetensors")
    file = group(folder)
    assert file.without_files() == file.resolved()
    (found,) = load_group(file.resolved(), "cpu", torch.float32).models
    expected, base = loaded
    for module, other in ((found.unet, expected.unet), (found.text_encoder, (expected if texts else base).text_encoder)):
        weights = other.state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize("name", [name for name in LEFT_OUT if "diffusers" not in name])
def test_merges_read_the_same_names(folder: Path, whole: State, name: str) -> None:
    save_file({key: tensor.contiguous() for key, tensor in LEFT_OUT[name][1](whole, folder).items()}, folder / "m.safetensors")
    names = open_checkpoint(folder / "m.safetensors").specs
    assert {key for key in names if key.startswith(UNET)} == {key for key in whole if key.startswith(UNET)}


def small(*names: str, shape: tuple[int, ...] = (2, 2)) -> State:
    return {name: torch.zeros(shape) for name in names}


def without(state: State, *names: str) -> State:
    assert set(names) <= set(state)
    return {key: tensor for key, tensor in state.items() if key not in names}


OUT = f"{UNET}out.2.weight"
CROSS = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
REFUSED: Mapping[str, tuple[str, str, Callable[[State], State]]] = {
    "kohya's LoRA": ("models.it", "is a LoRA", lambda _: small("lora_unet_down_blocks_0.lora_down.weight", "lora_unet_x.alpha")),
    "peft's LoRA": ("models.it", "is a LoRA", lambda _: small("unet.down_blocks.0.attentions.0.to_q.lora_A.weight")),
    "ComfyUI's LoRA": ("models.it", "is a LoRA", lambda _: small("diffusion_model.middle_block.1.proj_in.lora_A.weight")),
    "LoHa": ("models.it", "is a LoRA", lambda _: small("lycoris_x.hada_w1_a")),
    "a VAE as LDM's": ("models.it", "is a VAE alone", lambda state: of(state, VAE)),
    "a VAE without a prefix": ("models.it", "is a VAE alone", lambda s: renamed(of(s, VAE), lambda key: key.removeprefix(VAE))),
    "a text encoder": ("models.it", "is a text encoder alone", lambda state: of(state, TEXT)),
    "T5": ("models.it", "is a text encoder alone", lambda _: small("shared.weight", "encoder.block.0.layer.0.x.weight")),
    "a ControlNet": (
        "models.it",
        "is a ControlNet",
        lambda _: small("controlnet_cond_embedding.conv_in.weight", "conv_in.weight"),
    ),
    "an embedding": ("models.it", "is a textual inversion", lambda _: small("emb_params")),
    "an embedding of SDXL": ("models.it", "is a textual inversion", lambda _: small("clip_g", "clip_l")),
    "an IP-Adapter": ("models.it", "is an IP-Adapter", lambda _: small("image_proj.norm.bias", "ip_adapter.1.to_k_ip.weight")),
    "Stable Diffusion 3": ("models.it", "Stable Diffusion 3", lambda _: small("model.diffusion_model.joint_blocks.0.x.weight")),
    "Stable Diffusion 2": ("models.it", "is a model of Stable Diffusion 2", lambda s: {**s, **small("cond_stage_model.model.x")}),
    "its width": ("models.it", "Stable Diffusion 2", lambda s: {**of(s, UNET), CROSS: torch.zeros(16, 1024)}),
    "for inpainting": (
        *("models.it", "is a model for inpainting"),
        lambda state: {**state, f"{UNET}input_blocks.0.0.weight": torch.zeros(4, 9, 3, 3)},
    ),
    "that edits": (
        *("models.it", "edits images"),
        lambda state: {**state, f"{UNET}input_blocks.0.0.weight": torch.zeros(4, 8, 3, 3)},
    ),
    "of another width": ("models.it", "is another model: unet: ", lambda s: {**s, OUT: torch.zeros(4, 5, 3, 3)}),
    "another network": ("models.it", "has no tensor of it, but 1 others, such as layer.weight", lambda _: small("layer.weight")),
    "nothing": ("models.it", "has no tensor of it, but 0 others", lambda _: {}),
    "a U-Net with a hole": ("models.it", "lacks 1 of the ", lambda state: without(state, OUT)),
    "texts with a hole": (
        *("models.it", "tensors of the text_encoder, such as text_model.final_layer_norm.bias"),
        lambda state: without(state, f"{TEXT}text_model.final_layer_norm.bias"),
    ),
    "a pipeline without a VAE": ("pipeline", "has text_encoder and unet, and no vae; expected", lambda s: of(s, UNET, TEXT)),
    "a pipeline without texts": ("pipeline", "has unet and vae, and no text_encoder; expected", lambda s: of(s, UNET, VAE)),
    "a pipeline of a U-Net": ("pipeline", "has unet, and no vae and no text_encoder; expected", lambda s: of(s, UNET)),
    "a VAE with a hole": (
        *("pipeline", "lacks 1 of the 248 tensors of the vae, such as encoder.conv_in.bias"),
        lambda state: without(state, f"{VAE}encoder.conv_in.bias"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_said_before_any_work(folder: Path, whole: State, name: str) -> None:
    key, message, change = REFUSED[name]
    save_file({name: tensor.contiguous() for name, tensor in change(whole).items()}, folder / "it.safetensors")
    content = {"pipeline": "it.safetensors", "models": {"a": "whole.safetensors"}} if key == "pipeline" else {}
    file = group(folder, architecture="sd15", **content)
    for read in (file.resolved, file.without_files):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).startswith(f"{folder}/g.yaml: {key}: {folder}/it.safetensors: ")
        assert message in str(caught.value)


def test_a_merge_says_it_too(folder: Path) -> None:
    save_file(small("lora_unet_x.lora_down.weight"), folder / "lora.safetensors")
    with pytest.raises(UserError, match=r"lora\.safetensors: is a LoRA"):
        open_checkpoint(folder / "lora.safetensors")


@pytest.mark.parametrize("config", [checkpoints.SD15, checkpoints.SDXL])
def test_true_checkpoints_are_none_of_these(config: str) -> None:
    names = checkpoints.names(config)
    assert described(names) == ""
    assert ldm_names(names) == {name: name for name in names}


def test_sdxls_refiner_is_named() -> None:
    names = [name.replace("embedders.1.", "embedders.0.") for name in checkpoints.names(checkpoints.SDXL, "clip_g")]
    assert described([*names, f"{UNET}input_blocks.0.0.weight"]) == "is the refiner of SDXL"


def test_one_of_two_text_encoders_is_not_enough(tmp_path: Path) -> None:
    from afa_bench.architectures.contents import require_contents
    from afa_bench.architectures.sdxl import SDXL

    state = {key: torch.zeros(1) for key in checkpoints.names(checkpoints.SDXL) if "embedders.0." not in key}
    save_file(state, tmp_path / "one.safetensors")
    with pytest.raises(
        UserError, match="has text_encoder_2 and unet and vae, and no text_encoder; expected a checkpoint of SDXL"
    ):
        require_contents(tmp_path / "one.safetensors", SDXL(), tmp_path, pipeline=False)


@pytest.mark.parametrize(
    ("key", "left_out", "message"),
    [
        ("pipeline", "vae", "vae/: not there"),
        ("pipeline", "text_encoder", "text_encoder/: not there"),
        ("pipeline", "tokenizer", "tokenizer/: not there"),
        ("pipeline", "scheduler", "scheduler/: not there"),
        ("pipeline", "vae/diffusion_pytorch_model.safetensors", "expected a .safetensors file of weights"),
        ("pipeline", "vae/config.json", "vae: expected config.json"),
        ("models.it", "unet", "unet/: not there"),
        ("models.it", "unet/diffusion_pytorch_model.safetensors", "expected a .safetensors file of weights"),
    ],
)
def test_what_a_folder_lacks_is_said_before_any_work(folder: Path, tmp_path: Path, key: str, left_out: str, message: str) -> None:
    shutil.copytree(folder / "base", tmp_path / "base")
    shutil.copytree(folder / "base", tmp_path / "it")
    place = tmp_path / ("base" if key == "pipeline" else "it") / left_out
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    shutil.copytree(folder / "configs", tmp_path / "configs")
    file = group(tmp_path, models={"it": "it"})
    for read in (file.resolved, file.without_files):
        with pytest.raises(UserError, match=message) as caught:
            read()
        assert f"g.yaml: {key}: " in str(caught.value)


def test_a_denoiser_in_a_folder_of_its_own_is_a_model(folder: Path, tmp_path: Path) -> None:
    """As ``unet.save_pretrained`` writes it, and some repositories have it."""
    from afa_bench.afa.experts import Expert
    from afa_bench.models.identity import group_identity

    shutil.copytree(folder / "base", tmp_path / "base")
    shutil.copytree(folder / "other/unet", tmp_path / "it")
    shutil.copytree(folder / "other", tmp_path / "other")
    found = group(tmp_path, models={"it": "it", "other": "other"}, configs=None).resolved()
    one, other = load_group(found, "cpu", torch.float32).models
    assert all(torch.equal(tensor, other.unet.state_dict()[key]) for key, tensor in one.unet.state_dict().items())
    identity = group_identity(found)["models"]
    assert identity["it"]["unet"] == identity["other"]["unet"]
    assert Expert.of(tmp_path / "it").sha256 == Expert.of(tmp_path / "other").sha256
    assert open_checkpoint(tmp_path / "it").specs.keys() < open_checkpoint(tmp_path / "other").specs.keys()
