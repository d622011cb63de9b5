"""What models predict, of which noise schedule: one for sampling, training, the denoising loss and merging, or refused."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DDIMScheduler
from published import FLOWS, KINDS, PUBLISHED, USUAL, group, told_by_the_group, with_scheduler
from safetensors.torch import save_file
from tiny import tiny_unet

from afa_bench.architectures.kind import SCHEDULER, Kind, changes, kind_of_settings
from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.fetch import HubModel
from afa_bench.models.group import Group, read_group_file
from afa_bench.models.identity import group_identity
from afa_bench.models.load import LoadedGroup, load_group
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite


def told_by_the_models(folder: Path, tiny: Path, settings: dict[str, Any], kind: Kind) -> Group:
    pipeline = with_scheduler(tiny / "base", folder / "base", settings)
    own = {**USUAL, "prediction_type": kind.prediction, "rescale_betas_zero_snr": kind.zero_snr}
    models = {name: str(with_scheduler(tiny / name, folder / name, own)) for name in ("one", "two")}
    return group(folder, pipeline=str(pipeline), models=models)


def told_by_the_pipeline(folder: Path, tiny: Path, settings: dict[str, Any], kind: Kind) -> Group:
    pipeline = with_scheduler(tiny / "base", folder / "base", {**settings, **changes(settings, kind)})
    return group(folder, pipeline=str(pipeline), models={"one": str(tiny / "one"), "two": str(tiny / "two")})


def right(settings: dict[str, Any], kind: Kind) -> DDIMScheduler:
    """A scheduler that is made with all of it said."""
    spacing = "trailing" if kind.zero_snr else settings.get("timestep_spacing", "leading")
    whole = {"prediction_type": kind.prediction, "rescale_betas_zero_snr": kind.zero_snr, "timestep_spacing": spacing}
    return DDIMScheduler(**{key: USUAL[key] for key in USUAL if key in signature(DDIMScheduler).parameters}, **whole)


def sampled(scheduler: Any) -> torch.Tensor:
    """What a sampler makes of noise in three steps with a denoiser that always says the same."""
    scheduler.set_timesteps(3)
    latents, said = torch.full((1, 4, 2, 2), 0.7), torch.full((1, 4, 2, 2), 0.3)
    random = {"generator": torch.Generator().manual_seed(1)} if "generator" in signature(scheduler.step).parameters else {}
    for step in scheduler.timesteps:
        latents = scheduler.step(said, step, scheduler.scale_model_input(latents, step), **random).prev_sample
    return latents


def drawn(loaded: LoadedGroup, name: str = "DDIMScheduler") -> Any:
    model = loaded.models[0]
    return loaded.pipeline(model.unet, [model.text_encoder], name).scheduler


TOLD = [told_by_the_group, told_by_the_models, told_by_the_pipeline]


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_are_what_the_kind_takes(tiny_group: Path, tmp_path: Path, name: str, told: Callable[..., Group]) -> None:
    for word, kind in KINDS.items():
        (tmp_path / word).mkdir()
        settings, different = told(tmp_path / word, tiny_group.parent, PUBLISHED[name], kind).schedule()
        expected = right(PUBLISHED[name], kind)
        found = DDIMScheduler.from_config({**settings, **different})
        for key in ("prediction_type", "rescale_betas_zero_snr", "timestep_spacing"):
            assert found.config[key] == expected.config[key], key
        assert torch.equal(found.alphas_cumprod, expected.alphas_cumprod)


@pytest.mark.parametrize(("name", "told", "word"), [
    ("SD 1.5", told_by_the_group, "zero"), ("SDXL", told_by_the_models, "zero"), ("SD 1.5", told_by_the_models, "velocity"),
    ("zero SNR", told_by_the_pipeline, "zero"), ("SD 2.1", told_by_the_group, "epsilon"),
])  # fmt: skip
def test_sampling_training_and_the_loss_see_one_kind(
    tiny_group: Path, tmp_path: Path, name: str, told: Callable[..., Group], word: str
) -> None:
    kind, expected = KINDS[word], right(PUBLISHED[name], KINDS[word])
    loaded = load_group(told(tmp_path, tiny_group.parent, PUBLISHED[name], kind), "cpu", torch.float32)
    assert torch.equal(sampled(drawn(loaded)), sampled(expected))
    assert kind == Kind() or not torch.allclose(sampled(drawn(loaded)), sampled(right(PUBLISHED[name], Kind())))
    objective = loaded.group.family.objective(loaded.scheduler, loaded.models[0].unet)
    latents, noise, steps = torch.ones(2, 4, 1, 1), torch.full((2, 4, 1, 1), 2.0), torch.tensor([10, 999])
    assert torch.equal(objective.noisy(latents, noise, steps), expected.add_noise(latents, noise, steps))
    velocity = expected.get_velocity(latents, noise, steps)
    assert torch.equal(objective.target(latents, noise, steps), noise if kind == Kind() else velocity)


OTHERS = ("DDIMScheduler", "IPNDMScheduler", "LCMScheduler", "TCDScheduler")
SAMPLERS = sorted({*OTHERS, *(kind.__name__ for kind in DDIMScheduler().compatibles)})


@pytest.mark.parametrize("word", ["velocity", "zero"])
def test_a_sampler_samples_the_kind_or_is_refused(tiny_group: Path, tmp_path: Path, word: str) -> None:
    """Of all samplers that can take the place of one another; those for which a library is missing, or that fail, aside."""
    groups = {}
    for other in ("epsilon", "velocity", word):
        (tmp_path / other).mkdir(exist_ok=True)
        if other not in groups:
            of = told_by_the_group(tmp_path / other, tiny_group.parent, PUBLISHED["SD 1.5"], KINDS[other])
            groups[other] = load_group(of, "cpu", torch.float32)
    refused, made = [], []
    for name in SAMPLERS:
        if name == "DPMSolverSDEScheduler":
            continue
        try:
            found = sampled(drawn(groups[word], name))
        except UserError as error:
            reasons = ("since the models need", "does not sample models that predict")
            refused.append(name if any(reason in str(error) for reason in reasons) else str(error))
            continue
        assert torch.isfinite(found).all(), name
        for other in {"epsilon", "velocity"} - {word}:
            assert not torch.allclose(found, sampled(drawn(groups[other], name)), atol=1e-4), (name, other)
        made.append(name)
    assert {"DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"} <= set(made)
    assert "IPNDMScheduler" in refused
    assert set(refused) <= set(SAMPLERS)
    assert ("PNDMScheduler" in refused) == (word == "zero")


def marked(folder: Path, name: str, *marks: str, **metadata: str) -> str:
    """A file that says its kind; its weights are a U-Net's."""
    tensors = {mark: torch.zeros(0) for mark in marks} | tiny_unet(1).state_dict()
    save_file(tensors, folder / f"{name}.safetensors", metadata={f"modelspec.{key}": value for key, value in metadata.items()})
    return f"{name}.safetensors"


VELOCITY, ZERO = KINDS["velocity"], KINDS["zero"]


def statements(folder: Path, tiny: Path) -> dict[str, tuple[str, Kind | None]]:
    """Models by what they say of themselves."""
    zero = {**USUAL, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    return {
        "silent file": (marked(folder, "silent"), None),
        "silent folder": (str(tiny / "one"), None),
        "v_pred": (marked(folder, "v", "v_pred"), VELOCITY),
        "ztsnr": (marked(folder, "z", "v_pred", "ztsnr"), ZERO),
        "modelspec": (marked(folder, "m", prediction_type="v"), VELOCITY),
        "modelspec epsilon": (marked(folder, "e", prediction_type="epsilon"), Kind()),
        "SD 1.5": (str(with_scheduler(tiny / "one", folder / "15", PUBLISHED["SD 1.5"])), Kind()),
        "SD 2.1": (str(with_scheduler(tiny / "one", folder / "21", PUBLISHED["SD 2.1"])), VELOCITY),
        "zero SNR": (str(with_scheduler(tiny / "one", folder / "0", zero)), ZERO),
    }


def test_models_that_contradict_each_other_are_refused(tiny_group: Path, tmp_path: Path) -> None:
    """Each with each, on the pipelines of all kinds."""
    said = statements(tmp_path, tiny_group.parent)
    for word, pipeline in KINDS.items():
        base = with_scheduler(tiny_group.parent / "base", tmp_path / word, {**USUAL, **changes(USUAL, pipeline)})
        for one, (first, kind) in said.items():
            for other, (second, another) in said.items():
                of = group(tmp_path, pipeline=str(base), models={"one": first, "two": second}, configs=str(base))
                found, expected = kind or pipeline, another or pipeline
                if found == expected:
                    settings, different = of.schedule()
                    assert kind_of_settings({**settings, **different}) == found, (word, one, other)
                else:
                    with pytest.raises(
                        UserError, match=f"one is of the kind {found}, two {expected}; expected models of one kind"
                    ):
                        of.schedule()


@pytest.mark.parametrize(("settings", "said", "line"), [
    (USUAL, {"zero_snr": True}, "the models are of the kind epsilon with zero SNR; expected v_prediction"),
    ({**USUAL, "rescale_betas_zero_snr": True}, {}, "epsilon with zero SNR; expected v_prediction"),
    (FLOWS["SD 3.5"], {}, "the models are of the kind flow; expected epsilon or v_prediction"),
    (FLOWS["FLUX"], {}, "the models are of the kind flow; expected epsilon or v_prediction"),
    ({"_class_name": "EDMEulerScheduler"}, {}, "the models are of the kind EDM; expected epsilon or v_prediction"),
    (USUAL, {"architecture": "flux"}, "the models are of the kind epsilon; expected models trained by flow matching"),
    (FLOWS["FLUX"], {"architecture": "flux", "prediction_type": "v_prediction"}, "expected models trained by flow matching"),
])  # fmt: skip
def test_kinds_that_cannot_be_sampled_are_refused(
    tiny_group: Path, tmp_path: Path, settings: dict[str, Any], said: dict[str, Any], line: str
) -> None:
    base = with_scheduler(tiny_group.parent / "base", tmp_path / "base", settings)
    of = group(tmp_path, pipeline=str(base), models={"one": str(tiny_group.parent / "one")}, **said)
    with pytest.raises(UserError, match=line):
        of.schedule()


@pytest.mark.parametrize("name", FLOWS)
def test_flows_need_nothing(tiny_group: Path, tmp_path: Path, name: str) -> None:
    base = with_scheduler(tiny_group.parent / "base", tmp_path / "base", FLOWS[name])
    of = group(tmp_path, pipeline=str(base), models={"one": str(tiny_group.parent / "one")}, architecture="flux")
    assert of.schedule() == (FLOWS[name], {})


def test_a_suite_is_refused_before_any_work(tiny_suite: Path, tiny_group: Path, tmp_path: Path) -> None:
    base = with_scheduler(tiny_group.parent / "base", tmp_path / "base", PUBLISHED["zero SNR"])
    group(tmp_path, pipeline=str(base), models={"one": str(tiny_group.parent / "one")})
    suite = yaml.safe_load(tiny_suite.read_text()) | {"groups": ["group.yaml"], "sampler": {"scheduler": "PNDMScheduler"}}
    tiny_suite.write_text(yaml.safe_dump(suite))
    with pytest.raises(UserError, match=r"sampler\.scheduler: PNDMScheduler has no rescale_betas_zero_snr"):
        make_plan(read_suite(tiny_suite))
    with pytest.raises(UserError, match=r"sampler\.scheduler: PNDMScheduler has no rescale_betas_zero_snr"):
        estimate(read_suite(tiny_suite))


def test_identities_are_others_where_images_are(tiny_group: Path, tmp_path: Path) -> None:
    """What was sampled rightly keeps its identity."""
    explicit = {**USUAL, "prediction_type": "epsilon"}
    cases = {
        "plain": (USUAL, {}, False), "said in place of a key": (explicit, {"prediction_type": "v_prediction"}, False),
        "said where there is no key": (USUAL, {"prediction_type": "v_prediction"}, True),
        "trailing": (PUBLISHED["zero SNR, trailing"], {}, False), "leading": (PUBLISHED["zero SNR"], {}, True),
        "zero": (explicit, {"prediction_type": "v_prediction", "zero_snr": True}, True),
    }  # fmt: skip
    for name, (settings, said, other) in cases.items():
        base = with_scheduler(tiny_group.parent / "base", tmp_path / name, settings)
        of = group(tmp_path, pipeline=str(base), models={"one": str(tiny_group.parent / "one")}, **said)
        assert ("schedule" in group_identity(of)["pipeline"]) == other, name
    base = with_scheduler(tiny_group.parent / "base", tmp_path / "explicit", explicit)
    folder = with_scheduler(tiny_group.parent / "one", tmp_path / "21", PUBLISHED["SD 2.1"])
    for name, models, other in (
        ("a mark", {"one": marked(tmp_path, "v", "v_pred")}, False),
        ("a word of the header", {"one": marked(tmp_path, "m", prediction_type="v")}, True),
        (
            "a model's scheduler",
            {"one": str(folder)},
            True,
        ),
    ):
        of = group(tmp_path, pipeline=str(base), models=models, configs=str(base))
        assert ("schedule" in group_identity(of)["pipeline"]) == other, name


def test_a_repository_s_own_scheduler_is_fetched(tmp_path: Path) -> None:
    pipeline, model = {"hub": "owner/base"}, {"name": "one", "hub": "owner/one"}
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump({"architecture": "sdxl", "pipeline": pipeline, "models": [model]}))
    models = [source for source in read_group_file("hub.yaml", tmp_path, "test").sources() if isinstance(source, HubModel)]
    names = ["config.json", "diffusion_pytorch_model.safetensors"]
    files = [SCHEDULER, *(f"unet/{name}" for name in names)]
    assert [source.file for source in models[1].files(files, "main")].count(SCHEDULER) == 1
    assert [part.folder for part in models[0].parts if part.required].count("scheduler") == 1
