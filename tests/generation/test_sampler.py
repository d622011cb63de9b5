"""Each setting of a suite's sampler against the stock pipeline that is called with it, and in the identity."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
import yaml
from published import PUBLISHED

from afa_bench.cells import Plan
from afa_bench.errors import UserError
from afa_bench.generation.generator import Generator, initial_noise
from afa_bench.identity import seed_of
from afa_bench.models.cut import cut_notes
from afa_bench.models.group import read_group
from afa_bench.models.load import LoadedGroup, load_group
from afa_bench.plan import make_plan
from afa_bench.suite import as_suite

PROMPTS = ("a red dog", "x")
SIZE = 32
GUIDANCE = 3.0


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Tiny pipelines with the published schedulers, by their architecture."""
    folder = tmp_path_factory.mktemp("pipelines")

    @cache
    def made(name: str) -> Path:
        if name == "sdxl":
            tiny_models.sdxl(folder / name, 1, big_layers=4, layers=(1, 1, 1))
        else:
            getattr(tiny_models, name)(folder / name, 1)
        if name != "flux":
            scheduler = PUBLISHED["SD 1.5" if name == "sd15" else "SDXL"]
            (folder / name / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"pipeline": name, "models": {"one": name}}))
        return folder / name

    return made


def planned(pipeline: Path, prompts: tuple[str, ...] = PROMPTS, size: Any = SIZE, **sampler: Any) -> Plan:
    (pipeline.parent / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
    keys = {
        "name": "s", "groups": [f"{pipeline.name}.yaml"], "prompts": {"name": "file", "path": "prompts.txt"}, "methods": ["base"],
        "metrics": [{"name": "is", "features": "lite0", "splits": 1}], "sampler": {"guidance": GUIDANCE, **sampler},
        "steps": [3], "size": size, "images_per_prompt": 1,
    }  # fmt: skip
    return make_plan(as_suite(keys, pipeline.parent / "suite.yaml"))


@cache
def loaded(file: Path) -> LoadedGroup:
    return load_group(read_group(file.name, file.parent, "test"), "cpu", torch.float32)


def generator_of(plan: Plan, batch: int = 2) -> Generator:
    """With the group in its memory."""
    generator = Generator(plan, "cpu", batch)
    group = plan.cells[0].group
    generator._loaded = replace(loaded(group.pipeline.with_suffix(".yaml")), group=group)
    return generator


def ours(plan: Plan, batch: int = 2) -> torch.Tensor:
    """What the harness draws: ``(B, 3, H, W)``."""
    generator = generator_of(plan, batch)
    samples = list(plan.samples)
    return torch.cat([generator.sample(plan.cells[0], samples[i : i + batch]) for i in range(0, len(samples), batch)])


@cache
def stock_pipeline(pipeline: Path) -> Any:
    unchecked = {"safety_checker": None} if pipeline.name == "sd15" else {}
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(pipeline), local_files_only=True, **unchecked)
    pipe.set_progress_bar_config(disable=True)
    pipe.text_encoder.__dict__["text_model"] = pipe.text_encoder  # a name that diffusers needs and new text encoders do not have
    return pipe


def stock(pipeline: Path, plan: Plan, scheduler: dict[str, Any], call: dict[str, Any], config: dict[str, Any]) -> torch.Tensor:
    """What a stock pipeline draws of the same noise, called with ``call``, with settings of its scheduler and of its own."""
    pipe = copy(stock_pipeline(pipeline))
    pipe.register_to_config(**config)
    kind = getattr(diffusers, plan.suite.sampler.scheduler)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **scheduler)
    samples = list(plan.samples)
    longest = {"max_sequence_length": 20} if pipeline.name == "flux" else {}
    return pipe(  # type: ignore[no-any-return]
        [sample.prompt.text for sample in samples], latents=initial_noise(plan.cells[0].group.family, pipe, plan.suite, samples),
        generator=[torch.Generator().manual_seed(seed_of(sample.seed, "sampler")) for sample in samples],
        num_inference_steps=3, output_type="pt", **longest,
        **{"guidance_scale": GUIDANCE, "height": SIZE, "width": SIZE, **call},
    ).images.float()  # fmt: skip


EULER, DPM, PNDM = "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler"
FLOW = "FlowMatchEulerDiscreteScheduler"
OBLONG = {"height": 32, "width": 64}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "karras": ({"scheduler": EULER, "sigmas": "karras"}, {"use_karras_sigmas": True}, {}),
    "exponential": ({"scheduler": EULER, "sigmas": "exponential"}, {"use_exponential_sigmas": True}, {}),
    "beta": ({"scheduler": EULER, "sigmas": "beta"}, {"use_beta_sigmas": True}, {}),
    "DPM++ 2M Karras": ({"scheduler": DPM, "sigmas": "karras"}, {"use_karras_sigmas": True}, {}),
    "linspace": ({"timestep_spacing": "linspace"}, {"timestep_spacing": "linspace"}, {}),
    "trailing": ({"timestep_spacing": "trailing"}, {"timestep_spacing": "trailing"}, {}),
    "Euler trailing": ({"scheduler": EULER, "timestep_spacing": "trailing"}, {"timestep_spacing": "trailing"}, {}),
    "eta": ({"eta": 0.7}, {}, {"eta": 0.7}),
    "TCD's eta": ({"scheduler": "TCDScheduler", "eta": 0.3}, {}, {"eta": 0.3}),
    "guidance_rescale": ({"guidance_rescale": 0.6}, {}, {"guidance_rescale": 0.6}),
    "clip_skip": ({"clip_skip": 1}, {}, {"clip_skip": 1}),
    "clip_skip, negative": ({"clip_skip": 2, "negative_prompt": "b"}, {}, {"clip_skip": 2, "negative_prompt": ["b", "b"]}),
}
"""The sampler, and what of it the stock scheduler and the stock call take."""


QUICK = ("karras", "eta", "guidance_rescale", "clip_skip", "clip_skip, negative")
"""For both architectures in the default run, since text and guidance are their own; the others for one."""
BOTH = [("sd15", case) for case in CASES] + [
    ("sdxl", case) if case in QUICK else pytest.param("sdxl", case, marks=pytest.mark.slow) for case in CASES
]


@pytest.mark.parametrize(("name", "case"), BOTH)
def test_a_setting_has_the_stock_pipelines_meaning(pipelines: Callable[[str], Path], name: str, case: str) -> None:
    sampler, scheduler, call = CASES[case]
    plan = planned(pipelines(name), **sampler)
    found = ours(plan)
    assert torch.allclose(found, stock(pipelines(name), plan, scheduler, call, {}), atol=1e-5)
    plain = planned(pipelines(name), **{key: value for key, value in sampler.items() if key in ("scheduler", "negative_prompt")})
    assert not torch.allclose(found, ours(plain), atol=1e-4)
    assert plan.cells[0].fingerprint != plain.cells[0].fingerprint


@pytest.mark.parametrize("scheduler", [
    PNDM, EULER,
    *(pytest.param(name, marks=pytest.mark.slow) for name in (DPM, "DDIMScheduler", "UniPCMultistepScheduler", "LCMScheduler")),
])  # fmt: skip
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_schedulers_take_the_published_settings(pipelines: Callable[[str], Path], name: str, scheduler: str) -> None:
    plan = planned(pipelines(name), scheduler=scheduler)
    assert torch.allclose(ours(plan), stock(pipelines(name), plan, {}, {}, {}), atol=1e-5)


@pytest.mark.parametrize("name", ["sd15", "sdxl", "flux"])
def test_images_need_not_be_squares(pipelines: Callable[[str], Path], name: str) -> None:
    scheduler = {"scheduler": FLOW} if name == "flux" else {}
    plan = planned(pipelines(name), size=OBLONG, **scheduler)
    found = ours(plan)
    assert found.shape[-2:] == (32, 64)
    assert torch.allclose(found, stock(pipelines(name), plan, {}, OBLONG, {}), atol=1e-5)
    shared = [planned(pipelines(name), size=size, **scheduler).cells[0].fingerprint for size in (32, {"height": 32, "width": 32})]
    assert shared[0] == shared[1] != plan.cells[0].fingerprint


@pytest.mark.parametrize("said", ["by the sampler", "by the pipeline"])
def test_zeros_for_an_empty_prompt(pipelines: Callable[[str], Path], tmp_path: Path, said: str) -> None:
    pipeline = pipelines("sdxl")
    plain = planned(pipeline)
    if said == "by the sampler":
        plan = planned(pipeline, force_zeros_for_empty_prompt=False)
    else:
        (tmp_path / "sdxl").mkdir()
        for part in pipeline.iterdir():
            (tmp_path / "sdxl" / part.name).symlink_to(part)
        (tmp_path / "sdxl/model_index.json").unlink()
        index = json.loads((pipeline / "model_index.json").read_text()) | {"force_zeros_for_empty_prompt": False}
        (tmp_path / "sdxl/model_index.json").write_text(json.dumps(index))
        (tmp_path / "sdxl.yaml").write_text((pipeline.parent / "sdxl.yaml").read_text())
        plan = planned(tmp_path / "sdxl")
        again = planned(tmp_path / "sdxl", force_zeros_for_empty_prompt=True)
        assert torch.allclose(ours(again), ours(plain), atol=1e-6)
    found = ours(plan)
    # the stock pipeline takes a negative prompt that is not given for one that is empty
    expected = stock(pipeline, plan, {}, {}, {"force_zeros_for_empty_prompt": False})
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, ours(plain), atol=1e-4)
    assert plan.cells[0].fingerprint != plain.cells[0].fingerprint


def test_what_is_usual_is_no_part_of_the_identity(pipelines: Callable[[str], Path]) -> None:
    usual = {"eta": 0.0, "guidance_rescale": 0.0, "clip_skip": None, "sigmas": None, "long_prompts": "cut"}
    assert planned(pipelines("sd15"), **usual).cells[0].fingerprint == planned(pipelines("sd15")).cells[0].fingerprint
    assert set(planned(pipelines("sd15")).cells[0].identity["sampler"]) == {"scheduler", "guidance", "negative_prompt"}


LONG = "word " * 3 + "a b c"  # 15 letters are as many tokens, of which 10 have room


def test_long_prompts_are_cut_or_read_in_pieces(pipelines: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    pipeline = pipelines("sd15")
    cut = planned(pipeline, (*PROMPTS, LONG))
    line = "group sd15: 1 of 3 prompts cut at 12 tokens by its tokenizer (sampler.long_prompts: chunks reads all of them)"
    assert line in caplog.text
    assert line in cut.notes
    caplog.clear()
    whole = planned(pipeline, (*PROMPTS, LONG), long_prompts="chunks")
    assert not caplog.text
    found = ours(whole, batch=3)
    assert torch.allclose(found[:2], ours(cut, batch=3)[:2], atol=1e-5)  # short prompts are read as ever
    assert torch.allclose(found, ours(whole, batch=1), atol=1e-5)
    assert not torch.allclose(found[2], ours(cut, batch=3)[2], atol=1e-4)
    assert whole.cells[0].fingerprint != cut.cells[0].fingerprint


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_pieces_are_what_the_stock_pipeline_says_of_each(pipelines: Callable[[str], Path], name: str) -> None:
    """States of the pieces one after the other, the pooled embedding of the first."""
    pipeline = pipelines(name)
    plan = planned(pipeline, (LONG,), long_prompts="chunks", negative_prompt="b")
    pipe = stock_pipeline(pipeline)
    kinds = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    letters = LONG.replace(" ", "")
    parts = []
    for text, negative in ((LONG, "b"), (letters[10:], "")):
        known = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
        encoded = pipe.encode_prompt(text, negative_prompt=negative, **known)
        parts.append(dict(zip(kinds, encoded, strict=False)))
    _, group, encoders = generator_of(plan, 1)._denoiser(plan.cells[0])
    found = plan.suite.sampler.conditions(group.group)([LONG], group.tokenizers, encoders, "b", True)
    for kind in kinds[:2]:
        first, second = (found[kind][:, i * 12 : (i + 1) * 12] for i in range(2))
        assert torch.allclose(first, parts[0][kind], atol=1e-5)
        if kind == kinds[1]:
            assert torch.allclose(second, parts[1][kind], atol=1e-5)
    for kind in kinds[2:] if name == "sdxl" else ():
        assert torch.allclose(found[kind], parts[0][kind], atol=1e-5)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "eta": ("sd15", {"scheduler": EULER, "eta": 0.5}, "sampler.eta: EulerDiscreteScheduler takes none"),
    "sigmas": ("sd15", {"sigmas": "karras"}, "sampler.sigmas: DDIMScheduler has no use_karras_sigmas"),
    "spacing": ("sd15", {"scheduler": "LCMScheduler", "timestep_spacing": "trailing"}, "changes nothing in LCMScheduler"),
    "no spacing": ("flux", {"scheduler": FLOW, "timestep_spacing": "trailing"}, f"{FLOW} has no timestep_spacing"),
    "rescale": ("sd15", {"guidance": 1, "guidance_rescale": 0.5}, "guidance_rescale: does nothing without"),
    "rescale of flux": ("flux", {"scheduler": FLOW, "guidance_rescale": 0.5}, "guidance_rescale: does nothing without"),
    "eta of flux": ("flux", {"scheduler": FLOW, "eta": 0.5}, f"sampler.eta: {FLOW} takes none"),
    "clip_skip of flux": ("flux", {"scheduler": FLOW, "clip_skip": 1}, "clip_skip: FLUX's FluxPipeline has no such setting"),
    "clip_skip": ("sd15", {"clip_skip": 12}, "clip_skip: 12; expected fewer than the 12 layers of text_encoder"),
    "zeros": ("sd15", {"force_zeros_for_empty_prompt": True}, "StableDiffusionPipeline has no such setting"),
    "pieces of flux": ("flux", {"scheduler": FLOW, "long_prompts": "chunks"}, "FLUX reads long prompts by itself"),
    "size": ("sd15", {"size": {"height": 32, "width": 36}}, "size: 36; expected a multiple of 8"),
    "a list": ("sd15", {"size": [32, 64]}, "size: .*expected a number of pixels, or .*height.*width"),
    "half a size": ("sd15", {"size": {"height": 32}}, "size: .*width: Field required"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_do_nothing_is_refused(pipelines: Callable[[str], Path], case: str) -> None:
    name, settings, line = REFUSED[case]
    with pytest.raises(UserError, match=line):
        planned(pipelines(name), **settings)


@pytest.mark.parametrize("guided", ["by the suite", "by the architecture"])
def test_a_negative_prompt_that_does_nothing_is_said(
    pipelines: Callable[[str], Path], caplog: pytest.LogCaptureFixture, guided: str
) -> None:
    name, settings = ("sd15", {"guidance": 1.0}) if guided == "by the suite" else ("flux", {"scheduler": FLOW})
    plan = planned(pipelines(name), negative_prompt="b", **settings)
    assert "negative prompts take no part" in caplog.text
    assert any("negative prompts take no part" in note for note in plan.notes)
    planned(pipelines("sd15"), negative_prompt="b")
    assert caplog.text.count("take no part") == 1


def test_texts_that_are_cut_are_counted_for_each_length(pipelines: Callable[[str], Path]) -> None:
    file = pipelines("sdxl").with_suffix(".yaml")
    group = read_group(file.name, file.parent, "test")
    assert cut_notes(group, ["a", "x" * 10], ["b"]) == []
    assert cut_notes(group, ["a", LONG, LONG], ["b", LONG, LONG], "captions") == [
        "group sdxl: 2 of 3 captions and 1 negative prompt cut at 12 tokens by its tokenizer and tokenizer_2"
    ]
