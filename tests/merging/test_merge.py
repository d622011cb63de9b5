"""Recipes to checkpoints: single files and folders, what is copied, what is refused, and that nothing half done is left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from checkpoints import SD15, SDXL, checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny_unet
from typer.testing import CliRunner

from afa_bench.architectures import sd15
from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.merging.checkpoint import open_checkpoint
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
from afa_bench.method import Model
from baselines.merge import Merge, MergeOptions

POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def recipe(folder: Path, **keys: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"models": {"A": "a.safetensors", "B": "b.safetensors"}, **keys}, sort_keys=False))
    return path


def merge(path: Path, out: Path) -> Path:
    write_merge(prepare(read_recipe(path), path.parent), out)
    return out


def pair(folder: Path, config: str = SD15, dtype: torch.dtype = torch.float16) -> list[dict[str, torch.Tensor]]:
    return [checkpoint(folder / f"{name}.safetensors", config, seed, dtype) for seed, name in enumerate("ab")]


@pytest.mark.parametrize("config", [SD15, SDXL])
def test_a_merged_file_has_the_sources_names_and_number_formats(tmp_path: Path, config: str) -> None:
    a, b = pair(tmp_path, config)
    found = load_file(merge(recipe(tmp_path, method="weight-sum", alpha=0.3), tmp_path / "out.safetensors"))
    assert found.keys() == a.keys()
    for key, value in found.items():
        assert value.dtype == a[key].dtype
        copied = not value.is_floating_point() or key.startswith(("first_stage_model.", "alphas")) or "logit_scale" in key
        expected = a[key] if copied else (0.7 * a[key].float() + 0.3 * b[key].float()).half()
        assert torch.equal(value, expected), key


def test_the_vae_of_another_model_and_another_number_format(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    found = load_file(merge(recipe(tmp_path, vae="B", dtype="bfloat16"), tmp_path / "out.safetensors"))
    assert torch.equal(found["first_stage_model.quant_conv.weight"], b["first_stage_model.quant_conv.weight"])
    assert found["model.diffusion_model.out.2.weight"].dtype == torch.bfloat16
    assert torch.equal(found[POSITIONS], a[POSITIONS])


def test_all_the_weight_on_one_model_is_its_file(tmp_path: Path) -> None:
    a, _ = pair(tmp_path)
    found = load_file(merge(recipe(tmp_path, weights=[1.0, 0.0]), tmp_path / "out.safetensors"))
    assert all(torch.equal(value, a[key]) for key, value in found.items())


def test_the_recipe_and_the_sources_are_kept_and_give_the_same_bytes_again(tmp_path: Path) -> None:

    pair(tmp_path)
    path = recipe(tmp_path, method="dare", seed=5, density=0.5)
    one, two = (merge(path, tmp_path / f"{n}.safetensors") for n in (1, 2))
    assert one.read_bytes() == two.read_bytes()
    with safe_open(one, "pt") as file:
        metadata = file.metadata()
    hashes = {name: hashlib.sha256((tmp_path / f"{name.lower()}.safetensors").read_bytes()).hexdigest() for name in "AB"}
    assert json.loads(metadata["afa_bench.sources"]) == hashes
    again = tmp_path / "again.yaml"
    again.write_text(metadata["afa_bench.recipe"])
    assert merge(again, tmp_path / "3.safetensors").read_bytes() == one.read_bytes()


def test_averaged_weights_of_the_training_are_left_out(tmp_path: Path) -> None:
    a, _ = pair(tmp_path)
    save_file({**a, "model_ema.out2weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    assert "model_ema.out2weight" not in load_file(merge(recipe(tmp_path), tmp_path / "out.safetensors"))


def test_names_without_text_model(tmp_path: Path) -> None:
    """Some single files leave it out: the same tensors."""
    a, b = pair(tmp_path)
    expected = merge(recipe(tmp_path), tmp_path / "one.safetensors")
    save_file({key.replace(".text_model.", "."): value for key, value in b.items()}, tmp_path / "b.safetensors")
    found = load_file(merge(recipe(tmp_path), tmp_path / "two.safetensors"))
    assert all(torch.equal(found[key], value) for key, value in load_file(expected).items())
    assert found.keys() == a.keys()


def test_what_differs_is_listed_at_once_and_no_file_is_left(tmp_path: Path) -> None:
    _, b = pair(tmp_path)
    unet = "model.diffusion_model."
    del b[unet + "out.0.bias"]
    b[unet + "input_blocks.0.0.more"] = torch.zeros(3)
    b[unet + "out.2.weight"] = torch.zeros(7)
    save_file(b, tmp_path / "b.safetensors")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        merge(recipe(tmp_path), tmp_path / "out.safetensors")
    message = str(caught.value)
    assert f"B lacks {unet}out.0.bias" in message
    assert f"A lacks {unet}input_blocks.0.0.more" in message
    assert f"B has another shape of {unet}out.2.weight" in message
    assert sorted({*before, tmp_path / "recipe.yaml"}) == sorted(tmp_path.iterdir())


def test_a_tensor_of_no_known_name_and_another_architecture(tmp_path: Path) -> None:
    a, _ = pair(tmp_path)
    save_file({**a, "lora_unet.up": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: lora_unet.up: no tensors of SD 1.5"):
        merge(recipe(tmp_path), tmp_path / "out.safetensors")
    checkpoint(tmp_path / "a.safetensors", SDXL, 0)
    with pytest.raises(UserError, match=r"merge: B is SD 1\.5; expected SDXL as A"):
        merge(recipe(tmp_path), tmp_path / "out.safetensors")


@pytest.mark.parametrize("out", ["out.safetensors", "out"])
def test_an_interrupted_merge_leaves_nothing(tmp_path: Path, small: Path, out: str) -> None:
    path = recipe(tmp_path, models={name: str(small / "sd15" / name) for name in "AB"})
    before = sorted(tmp_path.iterdir())
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_merge(prepare(read_recipe(path), tmp_path), tmp_path / out, interrupt)
    assert done == 100
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_to_a_folder_and_back(tmp_path: Path, small: Path, family: str) -> None:
    """A merge written as a folder, read as a source and written as a file again: the bits of the direct merge."""
    path = recipe(tmp_path, models={name: str(small / family / name) for name in "AB"})
    direct = load_file(merge(path, tmp_path / "direct.safetensors"))
    folder = merge(path, tmp_path / "folder")
    assert (folder / "unet" / "config.json").read_bytes() == (small / family / "A" / "unet" / "config.json").read_bytes()
    source = open_checkpoint(folder)
    assert direct.keys() == source.specs.keys()
    for key in source.specs:
        assert torch.equal(source.read(key), direct[key]), key
        assert source.specs[key].shape == tuple(direct[key].shape)
    (tmp_path / "copy.yaml").write_text("models: {X: folder}")
    copy = load_file(merge(tmp_path / "copy.yaml", tmp_path / "copy.safetensors"))
    assert all(torch.equal(value, direct[key]) for key, value in copy.items())
    (tmp_path / "from-file.yaml").write_text("models: {X: copy.safetensors}\nlike: folder\n")
    back = open_checkpoint(merge(tmp_path / "from-file.yaml", tmp_path / "back"))
    assert all(torch.equal(back.read(key), value) for key, value in direct.items())
    with pytest.raises(UserError, match="exists already; expected the name of a new folder"):
        merge(path, folder)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_killed_merge_leaves_no_file(tmp_path: Path) -> None:
    pair(tmp_path)
    job = prepare(read_recipe(recipe(tmp_path)), tmp_path)
    before = sorted(tmp_path.iterdir())
    child = os.fork()
    if child == 0:
        write_merge(job, tmp_path / "out.safetensors", lambda count: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_real_models_through_a_single_file(tmp_path: Path) -> None:
    """Folders merged to one file under LDM's names, which diffusers loads: the very weights of the merge in memory."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextConfig(vocab_size=9, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    models = []
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        models.append(Model(name, tiny_unet(seed), CLIPTextModel(text)))
        models[-1].unet.save_pretrained(tmp_path / name / "unet")  # type: ignore[operator]
        models[-1].text_encoder.save_pretrained(tmp_path / name / "text_encoder")  # type: ignore[operator]
    path = recipe(tmp_path, models={"one": "one", "two": "two"}, method="weight-sum", alpha=0.3)
    group: Any = SimpleNamespace(name="tiny", models=models, family=sd15.SD15())
    expected = Merge().build(group, models, MergeOptions(method="weight-sum", settings={"alpha": 0.3}))

    file = merge(path, tmp_path / "out.safetensors")
    loaded = UNet2DConditionModel.from_single_file(
        str(file), config=str(tmp_path / "one"), subfolder="unet", local_files_only=True
    )
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in expected.unet.state_dict().items())
    folder = merge(path, tmp_path / "out")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    for found, wanted in ((unet, expected.unet), (encoder, expected.text_encoders[0])):
        assert all(torch.equal(value, found.state_dict()[key]) for key, value in wanted.state_dict().items())


def test_places_that_are_refused(tmp_path: Path) -> None:
    pair(tmp_path)
    with pytest.raises(UserError, match="is one of the models to merge"):
        merge(recipe(tmp_path), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="merge: like: expected a diffusers folder"):
        merge(recipe(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match=r"c\.safetensors: expected a \.safetensors file"):
        merge(recipe(tmp_path, models={"A": "c.safetensors"}), tmp_path / "out.safetensors")
    whole = (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"b\.safetensors: truncated or damaged"):
        merge(recipe(tmp_path), tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "weihgted"}, "method: unknown merge method 'weihgted': did you mean 'weighted'"),
        ({"method": "weight-sum", "alfa": 0.5}, "alfa: unknown key: did you mean 'alpha'"),
        ({"method": "weight-sum", "alpha": "half"}, "alpha: .*blocks: unknown preset 'half'"),
        ({"method": "weight-sum", "alpha": True}, "alpha: Input should be a valid number"),
        ({"weights": [0.5, 0.6]}, r"weights: expected numbers with the sum 1, found \[0.5, 0.6\]"),
        ({"weights": 1}, "weights: Input should be a valid tuple"),
        ({"method": "ties", "density": "all"}, "density: Input should be a valid number"),
        ({"method": "add-difference"}, "models: add-difference takes 3; 2 given"),
        ({"method": "mbw", "chian": []}, "chian: unknown key: did you mean 'chain'"),
        ({"vae": "C"}, "vae: unknown model 'C'"),
        ({"models": {}}, "models: "),
    ],
)
def test_recipes_that_are_refused(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"recipe\.yaml: {message}"):
        read_recipe(recipe(tmp_path, **keys))


def test_the_command(tmp_path: Path) -> None:
    pair(tmp_path)
    path = recipe(tmp_path, method="mbw", chain=[{"blocks": "WRAP08", "base": 0.25}])
    runner = CliRunner()
    shown = runner.invoke(app(), ["merge", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert "BASE 196 0.75 A + 0.25 B" in lines
    assert "IN00 2 1 B" in lines
    assert "IN05 36 1 A" in lines
    assert "VAE 248 copied from A" in lines
    assert not (tmp_path / "out.safetensors").exists()
    written = runner.invoke(app(), ["merge", str(path), "-o", str(tmp_path / "out.safetensors")])
    assert written.exit_code == 0, written.output
    found, b = load_file(tmp_path / "out.safetensors"), load_file(tmp_path / "b.safetensors")
    assert torch.equal(found["model.diffusion_model.out.2.weight"], b["model.diffusion_model.out.2.weight"])
