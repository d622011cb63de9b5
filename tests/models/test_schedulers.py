"""Packaged configurations are the published ones; schedulers and models of other kinds than what would be sampled are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
import transformers
import yaml
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from published import FLOWS, KINDS, PARTS, PUBLISHED, told_by_the_group, with_scheduler
from safetensors.torch import load_file, save_file

from afa_bench.architectures.flux import FLUX
from afa_bench.architectures.sd15 import SD15
from afa_bench.architectures.sdxl import SDXL
from afa_bench.checkpoints.hashing import hash_folder
from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.models.group import Group, ModelRef, read_group
from afa_bench.models.identity import PACKAGED, changed_since, group_identity
from afa_bench.models.load import load_group
from afa_bench.models.sampler import Sampler
from afa_bench.models.sampling import check_sampling
from afa_bench.suite import read_suite

CONFIGS = SD15().configs.parent
FAMILIES = {"sd15": (SD15(), "SD 1.5"), "sdxl": (SDXL(), "SDXL")}

RIGHT = {
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler", "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "LMSDiscreteScheduler",
    "PNDMScheduler", "SASolverScheduler", "TCDScheduler", "UniPCMultistepScheduler",
}  # fmt: skip
"""What stock pipelines of SD 1.5 can be sampled with."""
LIBRARIES = {"DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"}
NAMES = sorted(name for name in dir(diffusers) if name.endswith("Scheduler"))


@pytest.mark.parametrize("part", PARTS)
def test_packaged_configurations_are_the_published_ones(part: str) -> None:
    name, published = PARTS[part]
    packaged = json.loads((CONFIGS / part / "config.json").read_text())
    if name == "CLIPTextConfig":
        found, expected = (transformers.CLIPTextConfig(**settings).to_dict() for settings in (packaged, published))
        names = ("_name_or_path", "architectures", "model_type", "transformers_version")
        assert {key: value for key, value in found.items() if key not in names} == {
            key: value for key, value in expected.items() if key not in names
        }
        return
    usual = {key: parameter.default for key, parameter in diffusers_signature(name).items()}
    for key in {*published, *packaged} - {"_class_name"}:
        found, expected = (as_list({**usual, **settings}[key]) for settings in (packaged, published))
        assert found == expected, key


def diffusers_signature(name: str) -> dict[str, Any]:
    import inspect

    return dict(inspect.signature(getattr(diffusers, name)).parameters)


def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def single(architecture: str, tmp_path: Path) -> Group:
    """A group of a single file, with the packaged configurations."""
    save_file({"w": torch.zeros(1)}, tmp_path / "m.safetensors")
    file = tmp_path / "m.safetensors"
    return Group(name="g", pipeline=file, models=(ModelRef(name="m", path=file),), architecture=architecture)


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("name", [
    "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler",
    *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(RIGHT)),
])  # fmt: skip
def test_packaged_schedulers_sample_as_the_published_ones(tmp_path: Path, architecture: str, name: str) -> None:
    kind = getattr(diffusers, name)
    own = getattr(diffusers, PUBLISHED[FAMILIES[architecture][1]]["_class_name"])
    expected = kind.from_config(own.from_config(dict(PUBLISHED[FAMILIES[architecture][1]])).config)
    found = single(architecture, tmp_path).scheduler(name)
    for key in kind.from_config({}).config:
        assert key.startswith("_") or found.config[key] == expected.config[key], key
    for scheduler in (found, expected):
        scheduler.set_timesteps(20)
    assert found.timesteps.tolist() == expected.timesteps.tolist()
    assert name != "PNDMScheduler" or len(found.timesteps) == 21


def test_pndm_goes_by_a_folders_own_settings(tiny_group: Path, tmp_path: Path) -> None:
    with_scheduler(tiny_group.parent / "base", tmp_path / "base", PUBLISHED["SD 1.5"])
    (tmp_path / "g.yaml").write_text(yaml.safe_dump({"pipeline": "base", "models": {"one": str(tiny_group.parent / "one")}}))
    of = read_group("g.yaml", tmp_path, "test")
    scheduler = of.scheduler("PNDMScheduler")
    scheduler.set_timesteps(20)
    assert len(scheduler.timesteps) == 21
    assert changed_since(of, "PNDMScheduler") == changed_since(of, "DDIMScheduler") == {}


@pytest.mark.parametrize(("architecture", "name", "changed"), [
    ("sd15", "DDIMScheduler", {}), ("sdxl", "DDIMScheduler", {}), ("sd15", "EulerDiscreteScheduler", {}),
    ("sd15", "PNDMScheduler", {"skip_prk_steps": True}), ("sdxl", "PNDMScheduler", {"skip_prk_steps": True}),
    ("sdxl", "EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
])  # fmt: skip
def test_identities_are_others_where_images_are(tmp_path: Path, architecture: str, name: str, changed: dict[str, Any]) -> None:
    of = single(architecture, tmp_path)
    assert changed_since(of, name) == changed
    assert group_identity(of)["pipeline"]["configs"] == PACKAGED[architecture]


def test_packaged_configurations_do_not_change_unnoticed() -> None:
    """Who changes them says in ``identity.LACKED`` or in the identity what images that changes."""
    assert {name: hash_folder(CONFIGS / name)[:12] for name in PACKAGED} == HASHES


HASHES = {"sd15": "0a11e4857240", "sdxl": "49e67ba3fcaa"}


@pytest.mark.parametrize("word", ["epsilon", *(pytest.param(word, marks=pytest.mark.slow) for word in ("velocity", "zero"))])
def test_every_scheduler_samples_rightly_or_is_refused(tiny_group: Path, tmp_path: Path, word: str) -> None:
    """Of all that diffusers has, in one line that says why."""
    of = told_by_the_group(tmp_path, tiny_group.parent, PUBLISHED["SD 1.5"], KINDS[word])
    made, refused = set(), {}
    for name in NAMES:
        try:
            check_sampling(of, Sampler(scheduler=name), [1, 20], (8, 8))
            made.add(name)
        except UserError as error:
            refused[name] = str(error)
    assert made <= RIGHT
    without = {"DEISMultistepScheduler", "DPMSolverSinglestepScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"}
    without |= {"KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "PNDMScheduler", "SASolverScheduler"}
    assert RIGHT - made == (without if word == "zero" else set())
    assert made | refused.keys() == set(NAMES)
    for name in LIBRARIES:
        installed = issubclass(getattr(diffusers, name), SchedulerMixin)
        assert installed or refused[name] == f"sampler.scheduler: {name} needs torchsde, which is not installed"
    for name, line in refused.items():
        reasons = ("does not sample models", "does not fit", "cannot be made", "which is not installed", "the models need")
        assert "\n" not in line
        assert any(reason in line for reason in reasons), (name, line)


def test_every_scheduler_of_flows_samples_rightly_or_is_refused(tiny_group: Path, tmp_path: Path) -> None:
    base = with_scheduler(tiny_group.parent / "base", tmp_path / "base", FLOWS["FLUX"])
    of = Group(name="g", pipeline=base, models=(ModelRef(name="one", path=tiny_group.parent / "one"),), architecture="flux")
    made, refused = set(), {}
    for name in NAMES:
        try:
            of.scheduler(name)
            made.add(name)
        except UserError as error:
            refused[name] = str(error)
    reasons = ("does not fit flux", "does not sample models that predict flow", "not installed")
    assert all(any(reason in line for reason in reasons) for line in refused.values())
    assert made == {"FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"}
    assert FLUX().scheduler in made


EDM_FILES = {
    "Playground v2.5": {"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)},
    "CosXL": {"edm_vpred.sigma_max": torch.tensor([120.0]), "edm_vpred.sigma_min": torch.tensor([0.002])},
    "CosXL with v_pred": {"edm_vpred.sigma_max": torch.tensor([120.0]), "v_pred": torch.zeros(0)},
}
STATED = {"edm": "EDM", "v": "v_prediction", "eps": "epsilon", "x0": "sample", "rectified flow": "rectified flow"}
OTHER_FOLDERS = (
    "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "CMStochasticIterativeScheduler", "KarrasVeScheduler",
    "ScoreSdeVeScheduler", "UnCLIPScheduler", "IPNDMScheduler", "SCMScheduler",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single file of SD 1.5's depth, beside its pipeline ``base`` and its ``configs``."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_models.sd15(folder / "base", 1)
    tiny_models.configs_of(folder / "base", folder / "configs")
    return tiny_models.merged_file(folder, {"A": "base"}, "whole.safetensors")


def suite_of(tiny_suite: Path, tmp_path: Path, models: dict[str, str], pipeline: Path, **more: str) -> Path:
    group = {"pipeline": str(pipeline), "models": models, "architecture": "sd15", **more}
    (tmp_path / "g.yaml").write_text(yaml.safe_dump(group))
    tiny_suite.write_text(yaml.safe_dump(yaml.safe_load(tiny_suite.read_text()) | {"groups": [str(tmp_path / "g.yaml")]}))
    return tiny_suite


@pytest.mark.parametrize("name", [*EDM_FILES, *OTHER_FOLDERS, "edm", "rectified flow"])
def test_other_kinds_are_refused_by_validate(tiny_suite: Path, tiny_group: Path, whole: Path, tmp_path: Path, name: str) -> None:
    if name in OTHER_FOLDERS:
        one = with_scheduler(tiny_group.parent / "one", tmp_path / "one", {"_class_name": name})
        suite = suite_of(tiny_suite, tmp_path, {"one": str(one)}, tiny_group.parent / "base")
    else:
        one, stated = tmp_path / "one.safetensors", {"modelspec.prediction_type": name} if name in STATED else None
        save_file({**load_file(whole), **EDM_FILES.get(name, {})}, one, metadata=stated)
        configs = str(whole.parent / "configs")
        suite = suite_of(tiny_suite, tmp_path, {"one": str(one)}, whole.parent / "base", configs=configs)
    with pytest.raises(UserError, match=r"the models are of the kind .*; expected epsilon or v_prediction"):
        estimate(read_suite(suite))


SCALES = ("{}.scale_weight", "{}.weight_scale", "{}.weight_scale_2", "{}.comfy_quant")


def scaled(state: dict[str, torch.Tensor], scale: str) -> dict[str, torch.Tensor]:
    """A state whose first matrix is quantised."""
    name = next(key for key, value in state.items() if key.endswith(".weight") and value.dim() > 1)
    if scale == "int8":
        return {**state, name: state[name].to(torch.int8)}
    small = {**state, name: (state[name] * 100).to(torch.float8_e4m3fn)}
    return small if scale == "fp8" else {**small, scale.format(name.removesuffix(".weight")): torch.tensor(0.01)}


@pytest.mark.parametrize("scale", [*SCALES, "int8"])
@pytest.mark.parametrize("place", ["file", "unet", "vae", "text_encoder"])
def test_quantised_weights_are_refused(
    tiny_suite: Path, tiny_group: Path, whole: Path, tmp_path: Path, scale: str, place: str
) -> None:
    """By validate and by whoever loads them."""
    base, models, more = tiny_group.parent / "base", {"one": str(tiny_group.parent / "one")}, {}
    if place == "file":
        save_file(scaled(load_file(whole), scale), tmp_path / "one.safetensors")
        base, models = whole.parent / "base", {"one": str(tmp_path / "one.safetensors")}
        more = {"configs": str(whole.parent / "configs")}
    else:
        source = tiny_group.parent / "one/unet" if place == "unet" else base / place
        state = load_file(next(source.glob("*.safetensors")))
        folder = tmp_path / "folder"
        folder.mkdir()
        for part in (base if place != "unet" else tiny_group.parent / "one").iterdir():
            if part.name != place:
                (folder / part.name).symlink_to(part)
        (folder / place).mkdir()
        (folder / place / "config.json").symlink_to(source / "config.json")
        save_file(scaled(state, scale), folder / place / next(source.glob("*.safetensors")).name)
        base, models = (base, {"one": str(folder)}) if place == "unet" else (folder, models)
    suite = read_suite(suite_of(tiny_suite, tmp_path, models, base, **more))
    with pytest.raises(UserError, match="quantised weights"):
        estimate(suite)
    with pytest.raises(UserError, match="quantised weights"):
        load_group(read_group("g.yaml", tmp_path, "test"), "cpu", torch.float32)


def test_fp8_without_scales_is_read(tiny_group: Path, tmp_path: Path) -> None:
    source = tiny_group.parent / "one/unet"
    (tmp_path / "one/unet").mkdir(parents=True)
    (tmp_path / "one/unet/config.json").symlink_to(source / "config.json")
    state = scaled(load_file(next(source.glob("*.safetensors"))), "fp8")
    save_file(state, tmp_path / "one/unet/diffusion_pytorch_model.safetensors")
    (tmp_path / "g.yaml").write_text(yaml.safe_dump({"pipeline": str(tiny_group.parent / "base"), "models": {"one": "one"}}))
    unet = load_group(read_group("g.yaml", tmp_path, "test"), "cpu", torch.float32).models[0].unet
    for name, value in unet.state_dict().items():
        assert torch.equal(value, state[name].float()), name
