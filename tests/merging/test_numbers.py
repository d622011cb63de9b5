"""Values that are no finite numbers are never written unasked; fp8 is computed from the values that it stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from merges import merge
from safetensors.torch import load_file, save_file

from afa_bench.errors import UserError
from afa_bench.merging import methods
from afa_bench.merging.place import Place
from afa_bench.merging.tensors import cast, merge_tensor

KEY = "model.diffusion_model.out.2.weight"
LINEAR = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"


def files(small: Path, folder: Path, *changes: Any) -> dict[str, Path]:
    """Single files of the small SD 1.5 models in half precision, changed."""
    found = {}
    for name, change in zip("AB", changes, strict=True):
        whole, _ = merge(folder, {"X": small / "sd15" / name}, f"whole-{name}.safetensors", dtype="float16")
        found[name] = folder / f"{name}.safetensors"
        save_file({**load_file(whole), **change(load_file(whole))}, found[name])
    return found


def like(small: Path) -> dict[str, str]:
    return {"like": str(small / "sd15" / "A")}


def nothing(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {}


def test_an_overflow_is_refused_or_clamped(small: Path, tmp_path: Path) -> None:
    def large(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {KEY: torch.full_like(tensors[KEY], 60000.0)}

    models = files(small, tmp_path, large, nothing)
    keys = {**like(small), "method": "weight-sum", "alpha": -0.5}
    with pytest.raises(UserError, match=rf"{KEY}: \d+ values that are no finite numbers in float16; .*overflow: clamp"):
        merge(tmp_path, models, "out.safetensors", **keys)
    assert not (tmp_path / "out.safetensors").exists()
    out, _ = merge(tmp_path, models, "clamped.safetensors", **keys, overflow="clamp")
    assert load_file(out)[KEY].max() == 65504
    out, _ = merge(tmp_path, models, "wide.safetensors", **keys, dtype="float32")
    assert load_file(out)[KEY].max() > 89000


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_source_s_infinities(small: Path, tmp_path: Path, value: float) -> None:
    def broken(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {KEY: torch.full_like(tensors[KEY], value)}

    models = files(small, tmp_path, nothing, broken)
    with pytest.raises(UserError, match=f"{KEY}: .* no finite numbers"):
        merge(tmp_path, models, "out.safetensors", **like(small))
    for keys in ({"method": "weight-sum", "alpha": 0.0}, {"weights": [1, 0]}):  # it does not take part
        out, _ = merge(tmp_path, models, f"{len(keys)}.safetensors", **like(small), **keys)
        assert torch.equal(load_file(out)[KEY], load_file(models["A"])[KEY])
    with pytest.raises(UserError, match=f"{KEY}: .* no finite numbers"):  # copied, since all are alike
        merge(tmp_path, {"A": models["B"], "B": models["B"]}, "copy.safetensors", **like(small))


def test_in_memory_too() -> None:
    tensors = [torch.full((3,), 60000.0).half(), torch.full((3,), -60000.0).half()]
    with pytest.raises(UserError, match="x: 3 values"):
        merge_tensor(tensors, methods.weight_sum, {"alpha": -0.5}, Place("x"))
    a, b, c = tensors[0], tensors[1], torch.full((3,), float("inf")).half()
    assert torch.equal(merge_tensor([a, b, c], methods.add_difference, {"alpha": 0.0}, Place("x")), a)
    with pytest.raises(UserError, match="x: 1 values"):
        cast(torch.tensor([float("nan")]), torch.float16, "x", clamp=True)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_beside_half_precision(small: Path, tmp_path: Path, kind: torch.dtype) -> None:
    def coarse(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: value.to(kind) for key, value in tensors.items() if value.is_floating_point()}

    models = files(small, tmp_path, nothing, coarse)
    out, _ = merge(tmp_path, models, "out.safetensors", **like(small))
    a, b, found = (load_file(path)[LINEAR] for path in (*models.values(), out))
    assert found.dtype == torch.float16
    assert torch.equal(found, ((a.float() + b.float()) / 2).half())
    back = {"B": models["B"], "A": models["A"]}
    out, _ = merge(tmp_path, back, "coarse.safetensors", **like(small))
    assert load_file(out)[LINEAR].dtype == kind
    out, _ = merge(tmp_path, {"A": models["B"], "B": models["B"]}, "same.safetensors", **like(small))
    assert torch.equal(load_file(out)[LINEAR].view(torch.uint8), b.view(torch.uint8))


@pytest.mark.parametrize("names", [("weight_scale", "comfy_quant"), ("scale_weight", "scale_input")])
@pytest.mark.parametrize("rows", [False, True])
def test_quantised_weights_are_what_they_stand_for(small: Path, tmp_path: Path, names: tuple[str, str], rows: bool) -> None:
    scale_name, other = names
    base = LINEAR.removesuffix("weight")

    def quantised(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values = tensors[LINEAR].float() * 1000
        scale = (values.abs().amax(1, keepdim=True) if rows else values.abs().max()) / 448
        about = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
        more = {base + other: about if other == "comfy_quant" else torch.tensor(1.0)}
        more |= {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)} if other == "scale_input" else {}
        return {LINEAR: (values / scale).to(torch.float8_e4m3fn), base + scale_name: scale, **more}

    models = files(small, tmp_path, nothing, quantised)
    b = load_file(models["B"])
    values = b[LINEAR].float() * b[base + scale_name]
    assert values.abs().max() > 10  # the bare fp8 numbers are far from it
    out, notes = merge(tmp_path, models, "out.safetensors", **like(small))
    found = load_file(out)
    assert torch.equal(found[LINEAR], ((load_file(models["A"])[LINEAR].float() + values) / 2).half())
    assert found.keys() == load_file(models["A"]).keys()
    assert "B: 1 quantised tensors are merged as the values that they stand for" in notes
    out, notes = merge(tmp_path, {"B": models["B"], "A": models["A"]}, "back.safetensors", **like(small))
    assert load_file(out)[LINEAR].dtype == torch.float16
    assert any(note.endswith("which are written in half precision") for note in notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({LINEAR: torch.zeros(16, 16, dtype=torch.int8)}, r"whole numbers \(quantised\?\); expected floating point or fp8"),
        ({LINEAR.replace("weight", "weight_scale"): torch.ones(1)}, "scales no fp8 weight"),
        ({LINEAR.replace("weight", "comfy_quant"): torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)}, "'nvfp4'"),
        ({LINEAR.replace("weight", "comfy_quant"): torch.zeros(3, dtype=torch.uint8)}, "quantised as None"),
        (
            {LINEAR: torch.zeros(16, 16).to(torch.float8_e4m3fn), LINEAR.replace("weight", "weight_scale"): torch.ones(4, 4)},
            r"shape \[4, 4\]; expected one number",
        ),
        ({LINEAR.replace("weight", "absmax"): torch.ones(4)}, "the unet has .*absmax"),
    ],
)
def test_other_quantisations_are_refused(small: Path, tmp_path: Path, change: dict[str, torch.Tensor], message: str) -> None:
    models = files(small, tmp_path, nothing, lambda tensors: change)
    with pytest.raises(UserError, match=message):
        merge(tmp_path, {"B": models["B"]}, "out.safetensors", **like(small))


def test_broken_position_ids(small: Path, tmp_path: Path) -> None:
    key = "cond_stage_model.transformer.text_model.embeddings.position_ids"

    def broken(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: torch.tensor([[0.0, 1.0, 1.9990, 3.0]]).half()}

    models = files(small, tmp_path, broken, nothing)
    out, notes = merge(tmp_path, {"A": models["A"]}, "out.safetensors", **like(small))
    assert f"{key} of A is broken; position_ids: reset in the recipe puts it right" in notes
    assert torch.equal(load_file(out)[key], load_file(models["A"])[key])
    out, notes = merge(tmp_path, {"A": models["A"]}, "reset.safetensors", **like(small), position_ids="reset")
    assert load_file(out)[key].tolist() == [[0, 1, 2, 3]]
    assert load_file(out)[key].dtype == torch.int64
    assert not any("broken" in note for note in notes)
