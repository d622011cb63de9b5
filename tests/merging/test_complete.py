"""What is written is complete and loads, or is refused: folders by diffusers, files by the stock single-file loader."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from merges import merge, two
from safetensors.torch import load_file, save_file
from tiny_models import configs_of

from afa_bench.errors import UserError

PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def loaded(folder: Path, family: str) -> Any:
    import diffusers

    return getattr(diffusers, PIPELINES[family]).from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("family", PIPELINES)
def test_a_folder_and_a_file_load_in_diffusers_with_the_same_weights(small: Path, tmp_path: Path, family: str) -> None:
    import diffusers

    folder, _ = merge(tmp_path, two(small, family), "folder")
    file, _ = merge(tmp_path, two(small, family), "file.safetensors")
    pipeline = loaded(folder, family)
    stock = getattr(diffusers, PIPELINES[family]).from_single_file(
        str(file),
        config=str(small / family / "A"),
        local_files_only=True,
        **({"safety_checker": None} if family == "sd15" else {}),
    )
    for part in ("unet", "vae", "text_encoder", *(("text_encoder_2",) if family == "sdxl" else ())):
        expected, found = (getattr(one, part).state_dict() for one in (pipeline, stock))
        for key, value in expected.items():
            assert torch.equal(value, found[key]), f"{part} {key}"


def test_parts_that_the_models_do_not_have_are_the_folders_own(small: Path, tmp_path: Path) -> None:
    """A search's recipe: U-Nets alone, and ``like`` a whole pipeline."""
    for name in "AB":
        shutil.copytree(small / "sd15" / name / "unet", tmp_path / name / "unet")
    models = {name: tmp_path / name for name in "AB"}
    folder, notes = merge(tmp_path, models, "out", like=str(small / "sd15" / "A"))
    assert f"text_encoder, vae: copied from {small / 'sd15' / 'A'}" in notes
    pipeline = loaded(folder, "sd15")
    theirs = load_file(small / "sd15" / "A" / "text_encoder" / "model.safetensors")
    found = load_file(folder / "text_encoder" / "model.safetensors")
    assert all(torch.equal(value, found[key]) for key, value in theirs.items())
    a, b = (load_file(path / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"] for path in models.values())
    torch.testing.assert_close(pipeline.unet.conv_in.weight, (a + b) / 2)


def test_a_safety_checker_without_weights_is_refused_and_one_with_them_copied(small: Path, tmp_path: Path) -> None:
    like = shutil.copytree(small / "sd15" / "A", tmp_path / "like")
    index = json.loads((like / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (like / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model_index\.json: safety_checker: no such folder"):
        merge(tmp_path, two(small, "sd15"), "out", like="like")
    (like / "safety_checker").mkdir()
    (like / "safety_checker" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="safety_checker: a configuration without weights"):
        merge(tmp_path, two(small, "sd15"), "out", like="like")
    save_file({"x": torch.zeros(1)}, like / "safety_checker" / "model.safetensors")
    out, notes = merge(tmp_path, two(small, "sd15"), "out", like="like")
    assert (out / "safety_checker" / "model.safetensors").read_bytes() == (
        like / "safety_checker" / "model.safetensors"
    ).read_bytes()
    assert "safety_checker: copied from" in " ".join(notes)


def test_configurations_of_another_model_are_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"like: no|lacks|no tensor of the text_encoder_2|no unet/config"):
        merge(tmp_path, two(small, "sd15"), "out", like=str(small / "sdxl" / "A"))
    like = configs_of(small / "sd15" / "A", tmp_path / "like")
    config = json.loads((like / "unet" / "config.json").read_text())
    (like / "unet" / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 32}))
    with pytest.raises(UserError, match=r"the unet has 32 tensors of another shape: .*attn2\.to_k\.weight"):
        merge(tmp_path, two(small, "sd15"), "out", like="like")
    (like / "unet" / "config.json").unlink()
    with pytest.raises(UserError, match=r"no unet/config\.json"):
        merge(tmp_path, two(small, "sd15"), "out", like="like")
    assert not (tmp_path / "out").exists()


def edited(small: Path, tmp_path: Path, change: Any, name: str = "A") -> Path:
    """A whole SD 1.5 checkpoint as a single file, with its tensors changed."""
    file, _ = merge(tmp_path, {"X": small / "sd15" / name}, f"whole-{name}.safetensors")
    tensors = change(load_file(file))
    target = tmp_path / f"{name}.safetensors"
    save_file(tensors, target)
    file.unlink()
    return target


UNET, VAE = "model.diffusion_model.", "first_stage_model."
QUERY = VAE + "encoder.mid.attn_1.q.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {}, r"no tensor of the unet"),
        (lambda t: {k: v for k, v in t.items() if k.startswith(VAE)}, "no tensor of the unet"),
        (lambda t: {"model_ema." + k.replace(".", ""): v for k, v in t.items() if k.startswith(UNET)}, "no tensor of the unet"),
        (lambda t: {k: v for k, v in t.items() if "middle_block" not in k}, "the unet lacks mid_block"),
        (lambda t: {k: v for k, v in t.items() if k != QUERY}, r"the vae lacks encoder\.mid_block\.attentions\.0\.to_q\.weight"),
        (lambda t: {k.replace("attn_1.q.", "attn_1.to_q."): v for k, v in t.items()}, r"attn_1\.to_q\.bias.*: no tensors of SD"),
        (lambda t: {**t, UNET + "out.2.more": torch.zeros(1)}, "the unet has conv_out.more"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused(small: Path, tmp_path: Path, change: Any, message: str) -> None:
    file = edited(small, tmp_path, change)
    with pytest.raises(UserError, match=message):
        merge(tmp_path, {"A": file, "B": file}, "out.safetensors", like=str(small / "sd15" / "A"))
    assert not (tmp_path / "out.safetensors").exists()


def test_what_no_pipeline_uses_is_said(small: Path, tmp_path: Path) -> None:
    def more(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**tensors, "global_step": torch.tensor(7), "embedding_manager.x": torch.ones(2), "model_ema.decay": torch.ones(1)}

    a, b = edited(small, tmp_path, more), small / "sd15" / "B"
    like = str(small / "sd15" / "A")
    out, notes = merge(tmp_path, {"A": a, "B": b}, "one.safetensors", like=like)
    assert load_file(out)["global_step"] == 7
    assert "A: embedding_manager.x, global_step: used by no pipeline, kept" in notes
    assert "A: 1 averaged weights of its training (model_ema....) are left out" in notes
    out, notes = merge(tmp_path, {"B": b, "A": a}, "two.safetensors", like=like)
    assert "global_step" not in load_file(out)
    assert "A: embedding_manager.x, global_step: used by no pipeline, left out" in notes


LAST = "conditioner.embedders.0.transformer.text_model.encoder.layers.11."


def test_sdxl_without_what_it_does_not_use(small: Path, tmp_path: Path) -> None:
    file, _ = merge(tmp_path, {"X": small / "sdxl" / "B"}, "whole.safetensors")
    tensors = load_file(file)
    bare = {key: value for key, value in tensors.items() if not key.startswith(LAST) and "text_projection" not in key}
    save_file(bare, tmp_path / "bare.safetensors")
    like = str(small / "sdxl" / "A")
    for order in ("AB", "BA"):
        models = {name: {"A": small / "sdxl" / "A", "B": tmp_path / "bare.safetensors"}[name] for name in order}
        out, notes = merge(tmp_path, models, f"{order}.safetensors", like=like)
        assert load_file(out).keys() == tensors.keys()
        assert any(note.startswith("copied from A, since other models lack them: conditioner") for note in notes)
    with pytest.raises(UserError, match="the text_encoder_2 lacks text_projection"):
        merge(tmp_path, {"A": tmp_path / "bare.safetensors"}, "bare-again.safetensors", like=like)
    unlast = {key: value for key, value in tensors.items() if not key.startswith(LAST)}
    save_file(unlast, tmp_path / "unlast.safetensors")
    _, notes = merge(tmp_path, {"A": tmp_path / "unlast.safetensors"}, "unlast-again.safetensors", like=like)
    assert any("nothing uses it, but diffusers does not load" in note for note in notes)
    with pytest.raises(UserError, match="the text_encoder lacks"):
        merge(tmp_path, {"A": tmp_path / "unlast.safetensors"}, "folder", like=like)


def test_inpainting_with_models_of_four_channels(small: Path, tmp_path: Path) -> None:
    key = UNET + "input_blocks.0.0.weight"

    def wide(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**tensors, key: torch.cat([tensors[key], torch.full_like(tensors[key], 3.0), tensors[key][:, :1]], 1)}

    a, b = edited(small, tmp_path, wide), small / "sd15" / "B"
    like = str(small / "sd15" / "A")
    out, notes = merge(tmp_path, {"A": a, "B": b}, "out.safetensors", like=like)
    found, ours = load_file(out)[key], load_file(a)[key]
    plain, _ = merge(tmp_path, two(small, "sd15"), "plain.safetensors")
    assert torch.equal(found[:, :4], load_file(plain)[key])
    assert torch.equal(found[:, 4:], ours[:, 4:])
    assert "the first 4 of 9 input channels are merged, the others are A's" in notes
    with pytest.raises(UserError, match="B sees 4, A sees 9 channels; expected the inpainting model first"):
        merge(tmp_path, {"B": b, "A": a}, "other.safetensors", like=like)


def test_stable_diffusion_2_is_not_1_5(tmp_path: Path) -> None:
    (tmp_path / "two" / "unet").mkdir(parents=True)
    key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    save_file({key: torch.zeros(2, 1024)}, tmp_path / "two" / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=r"two: is a model of Stable Diffusion 2; expected SD 1\.5"):
        merge(tmp_path, {"A": tmp_path / "two"}, "out.safetensors")
