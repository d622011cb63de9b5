"""What models predict is kept from file to folder and back, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from merges import merge, two
from safetensors.torch import load_file, save_file

from afa_bench.errors import UserError

SCHEDULER = Path("scheduler", "scheduler_config.json")


def velocity(small: Path, target: Path, name: str, **settings: Any) -> Path:
    """A copy of a small SD 1.5 pipeline whose scheduler says that it predicts velocity."""
    shutil.copytree(small / "sd15" / name, target)
    config = json.loads((target / SCHEDULER).read_text())
    (target / SCHEDULER).write_text(json.dumps({**config, "prediction_type": "v_prediction", **settings}))
    return target


def marked(file: Path, target: Path, marks: dict[str, torch.Tensor]) -> Path:
    save_file({**load_file(file), **marks}, target)
    return target


def test_velocity_and_zero_snr_from_folders_to_a_file_and_back(small: Path, tmp_path: Path) -> None:
    models = {name: velocity(small, tmp_path / name, name, rescale_betas_zero_snr=True) for name in "AB"}
    file, _ = merge(tmp_path, models, "out.safetensors")
    assert {"v_pred", "ztsnr"} <= load_file(file).keys()
    plain = small / "sd15" / "A"
    folder, notes = merge(tmp_path, {"X": file}, "folder", like=str(plain))
    found = json.loads((folder / SCHEDULER).read_text())
    assert (found["prediction_type"], found["rescale_betas_zero_snr"]) == ("v_prediction", True)
    assert "scheduler/scheduler_config.json: set to v_prediction with zero SNR" in notes
    zero = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    expected = {**json.loads((plain / SCHEDULER).read_text()), **zero}
    assert found == expected
    epsilon, _ = merge(tmp_path, two(small, "sd15"), "epsilon.safetensors")
    assert not {"v_pred", "ztsnr"} & load_file(epsilon).keys()
    folder, notes = merge(tmp_path, {"X": epsilon}, "epsilon", like=str(tmp_path / "A"))
    found = json.loads((folder / SCHEDULER).read_text())
    assert (found["prediction_type"], found["rescale_betas_zero_snr"]) == ("epsilon", False)


def test_two_kinds_are_refused_unless_the_recipe_says_what_they_are(small: Path, tmp_path: Path) -> None:
    models = {"A": small / "sd15" / "A", "B": velocity(small, tmp_path / "V", "B")}
    with pytest.raises(UserError, match="A is of the kind epsilon, B v_prediction; expected models of one kind"):
        merge(tmp_path, models, "out.safetensors")
    out, _ = merge(tmp_path, models, "out.safetensors", prediction_type="v_prediction")
    assert "v_pred" in load_file(out)
    out, _ = merge(tmp_path, models, "epsilon.safetensors", prediction_type="epsilon")
    assert "v_pred" not in load_file(out)
    zero = {"A": tmp_path / "V", "B": velocity(small, tmp_path / "Z", "B", rescale_betas_zero_snr=True)}
    with pytest.raises(UserError, match="A is of the kind v_prediction, B v_prediction with zero SNR"):
        merge(tmp_path, zero, "zero.safetensors")
    shutil.rmtree(tmp_path / "Z" / "scheduler")  # a folder that does not say it
    out, _ = merge(tmp_path, zero, "zero.safetensors", zero_snr=True)
    assert {"v_pred", "ztsnr"} <= load_file(out).keys()


def test_a_folder_without_a_scheduler_cannot_say_it(small: Path, tmp_path: Path) -> None:
    like = velocity(small, tmp_path / "V", "A")
    file, _ = merge(tmp_path, {"X": like}, "v.safetensors")
    shutil.rmtree(like / "scheduler")
    index = json.loads((like / "model_index.json").read_text())
    (like / "model_index.json").write_text(json.dumps({**index, "scheduler": [None, None]}))
    with pytest.raises(UserError, match="V: has no scheduler; expected like: of a folder with one for v_prediction"):
        merge(tmp_path, {"X": file}, "folder", like=str(like))


@pytest.mark.parametrize("marks", [("edm_mean", "edm_std"), ("v_pred", "edm_vpred.sigma_max", "edm_vpred.sigma_min")])
def test_models_of_edm(small: Path, tmp_path: Path, marks: tuple[str, ...]) -> None:
    plain, _ = merge(tmp_path, {"X": small / "sd15" / "A"}, "plain.safetensors")
    numbers = {mark: torch.tensor([float(n)]) for n, mark in enumerate(marks)}
    like = str(small / "sd15" / "A")
    models = {name: marked(plain, tmp_path / f"{name}.safetensors", numbers) for name in "AB"}
    out, _ = merge(tmp_path, models, "out.safetensors", like=like)
    assert all(torch.equal(load_file(out)[mark], value) for mark, value in numbers.items())
    for order in ("AB", "BA"):
        mixed = {name: {"A": tmp_path / "A.safetensors", "B": plain}[name] for name in order}
        with pytest.raises(UserError, match="expected models of one kind"):
            merge(tmp_path, mixed, f"{order}.safetensors", like=like)
    marked(plain, tmp_path / "B.safetensors", {**numbers, marks[-1]: torch.tensor([9.0])})
    with pytest.raises(UserError, match="expected models of one kind"):
        merge(tmp_path, models, "other.safetensors", like=like)
    with pytest.raises(UserError, match="has a scheduler for epsilon; expected like: of a folder with one for EDM"):
        merge(tmp_path, {"A": models["A"]}, "folder", like=like)


def test_modelspec_says_velocity(small: Path, tmp_path: Path) -> None:
    file, _ = merge(tmp_path, {"X": small / "sd15" / "A"}, "plain.safetensors")
    save_file(load_file(file), tmp_path / "v.safetensors", metadata={"modelspec.prediction_type": "v"})
    out, _ = merge(tmp_path, {"X": tmp_path / "v.safetensors"}, "out.safetensors", like=str(small / "sd15" / "A"))
    assert "v_pred" in load_file(out)
