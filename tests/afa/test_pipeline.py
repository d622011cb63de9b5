"""AFA in stock pipelines: their call, their arguments, their output, any of their schedulers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from aggregators import randomised, tiny_sabw
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, FluxPipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import tiny_flux, tiny_unet
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from unet_cases import SDXL

from afa_bench.afa.experts import Expert
from afa_bench.afa.pipeline import AFAPipeline
from afa_bench.afa.sabw import SABW
from afa_bench.architectures.sd15 import SD15
from afa_bench.ensembles.encoders import EnsembleEncoder
from afa_bench.ensembles.flux import EnsembleFlux
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.errors import UserError

CALL: dict[str, Any] = {"num_inference_steps": 2, "height": 8, "width": 8, "guidance_scale": 3.0, "output_type": "latent"}


SMALL: dict[str, Any] = {"hidden": 8, "layers": 1}


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def folder(tiny_group: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base pipeline, three models of which ``three`` has a text encoder of its own, and a trained aggregator."""
    folder = tmp_path_factory.mktemp("experts")
    for name in ("base", "one", "two", "three"):
        (folder / name).symlink_to(tiny_group.parent / name) if name != "three" else (folder / name).mkdir()
    (folder / "three" / "unet").symlink_to(tiny_group.parent / "three" / "unet")
    torch.manual_seed(3)
    config = CLIPTextConfig.from_pretrained(folder / "base" / "text_encoder")
    CLIPTextModel(config).save_pretrained(folder / "three" / "text_encoder")
    experts = [Expert.of(folder / name).entry() for name in ("one", "two", "three")]
    randomised(tiny_sabw(experts=experts, **SMALL)).save_pretrained(folder / "sabw")
    return folder


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    experts = [folder / name for name in ("one", "two", "three")]
    return quiet(AFAPipeline.from_experts(experts, sabw=folder / "sabw", base=folder / "base", safety_checker=None))


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    return quiet(StableDiffusionPipeline.from_pretrained(folder / "base", safety_checker=None))


def test_it_is_the_stock_pipeline_around_the_ensemble(pipe: Any, folder: Path) -> None:
    """Prompts as the user writes them give what the harness's own way of encoding gives, each model with its own text."""
    assert type(pipe) is StableDiffusionPipeline
    unets = [diffusers.UNet2DConditionModel.from_pretrained(folder / name / "unet") for name in ("one", "two", "three")]
    encoders = [CLIPTextModel.from_pretrained(folder / name / "text_encoder").eval() for name in ("base", "base", "three")]
    by_hand = quiet(StableDiffusionPipeline.from_pretrained(folder / "base", safety_checker=None, unet=None))
    by_hand.unet = EnsembleUNet(unets, SABW.read(folder / "sabw"))
    states = SD15().conditions(["a red dog", ""], [pipe.tokenizer], encoders)["prompt_embeds"]
    assert not torch.equal(*states[:1].chunk(3, dim=-1)[1:])
    with torch.no_grad():
        found = pipe("a red dog", generator=seed(), **CALL).images
        expected = by_hand(prompt_embeds=states[:1], negative_prompt_embeds=states[1:], generator=seed(), **CALL).images
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_its_default_size_is_the_stock_s(pipe: Any, stock: Any) -> None:
    call = {name: value for name, value in CALL.items() if name not in ("height", "width")}
    assert pipe("a", **call).images.shape == stock("a", **call).images.shape


def test_its_output_is_the_stock_s(pipe: Any) -> None:
    call = {**CALL, "output_type": "pil", "num_images_per_prompt": 2, "negative_prompt": ["x", "y"]}
    images = pipe(["a red dog", "a blue cat"], generator=seed(), **call).images
    assert [image.size for image in images] == [(8, 8)] * 4
    assert isinstance(pipe("a", return_dict=False, **CALL), tuple)


def test_skipped_layers_keep_each_model_s_norm(pipe: Any) -> None:
    found = pipe.encode_prompt("a red dog", "cpu", 1, False, clip_skip=0)[0]
    plain = pipe.encode_prompt("a red dog", "cpu", 1, False)[0]
    torch.testing.assert_close(found, plain)


SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpm-solver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


@pytest.fixture(scope="module")
def copies(stock: Any) -> Any:
    """The stock pipeline's own model, twice, behind a trained aggregator."""
    return quiet(AFAPipeline.from_experts([stock] * 2, sabw=randomised(tiny_sabw(2, **SMALL))))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_any_scheduler(name: str, stock: Any, copies: Any) -> None:
    """Copies of one model draw what it draws."""
    kind, settings = SCHEDULERS[name]
    drawn = []
    for own in (stock, copies):
        own.scheduler = getattr(diffusers, kind).from_config(stock.scheduler.config, **settings)
        drawn.append(own("a red dog", generator=seed(), **CALL).images)
    expected, same = drawn
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(same, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [AutoPipelineForImage2Image, AutoPipelineForInpainting])
def test_image_to_image_and_inpainting_are_the_stock_s(kind: Any, stock: Any, copies: Any) -> None:
    call = {**CALL, "image": Image.effect_noise((8, 8), 80).convert("RGB"), "strength": 0.9}
    if kind is AutoPipelineForInpainting:
        call["mask_image"] = Image.linear_gradient("L").resize((8, 8))
    else:
        del call["height"], call["width"]
    expected, same = (quiet(kind.from_pipe(own))("a red dog", generator=seed(), **call).images for own in (stock, copies))
    torch.testing.assert_close(same, expected, rtol=1e-3, atol=1e-4)


def test_it_loads_and_moves_in_a_format(folder: Path, stock: Any) -> None:
    experts = [folder / "one", folder / "two", folder / "three"]
    half = AFAPipeline.from_experts(experts, sabw=folder / "sabw", base=folder / "base", torch_dtype=torch.bfloat16)
    assert {value.dtype for part in (half.unet, half.text_encoder) for value in part.parameters()} == {torch.bfloat16}
    assert torch.isfinite(quiet(half)("a red dog", generator=seed(), **CALL).images).all()
    assert half.to(torch.float32).unet.dtype == torch.float32


def test_equal_text_encoders_are_kept_once(folder: Path, stock: Any, copies: Any) -> None:
    assert copies.text_encoder is stock.text_encoder
    one = AFAPipeline.from_experts([folder / "base", folder / "one"], sabw=tiny_sabw(2, **SMALL), base=stock)
    assert one.text_encoder is stock.text_encoder


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path, stock: Any) -> None:
    trained, other = SABW.read(folder / "sabw"), tiny_sabw(2, **SMALL)

    def refused(match: str, *experts: Any, sabw: Any = other) -> None:
        with pytest.raises(UserError, match=match):
            AFAPipeline.from_experts(experts, sabw=sabw, base=stock)

    def save(name: str, **changes: Any) -> Path:
        tiny_unet(0, **changes).save_pretrained(tmp_path / name / "unet")
        return tmp_path / name

    one, two, three = (folder / name for name in ("one", "two", "three"))
    refused("experts: found 1; expected at least two", stock)
    refused("SABW: n_models: these weights have 2, the ensemble needs 3", stock, stock, stock)
    refused(r"SABW: experts: model 1 is \S*two with the sha256 \w+; expected one with \w+", two, one, three, sabw=trained)
    refused("not a SABW's folder", stock, stock, sabw=folder / "one")
    refused("expected a folder in the diffusers layout", stock, folder)
    refused("U-Nets: block_out_channels: model 2 has", stock, save("wide", block_out_channels=(8, 16, 16, 24)))
    refused("U-Nets: in_channels: model 2 has 9; expected 4, which model 1 has", stock, save("inpaint", in_channels=9))
    diffusers.DDIMScheduler(prediction_type="v_prediction").save_pretrained(save("v") / "scheduler")
    refused("model 1 is of the kind epsilon, model 2 v_prediction; expected models of one kind", stock, tmp_path / "v")
    tiny_flux(0).save_pretrained(tmp_path / "flux" / "transformer")
    refused("U-Nets: architecture: model 2 has FluxTransformer2DModel", stock, tmp_path / "flux")


ZERO: dict[str, Any] = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def test_experts_of_one_kind_set_the_scheduler_and_others_are_refused(folder: Path, tmp_path: Path, stock: Any) -> None:
    def expert(name: str, **settings: Any) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "unet").symlink_to(folder / "one" / "unet")
        diffusers.DDIMScheduler.from_config(stock.scheduler.config, **settings).save_pretrained(tmp_path / name / "scheduler")
        return tmp_path / name

    def of(*experts: Any, base: Any = stock) -> Any:
        return quiet(AFAPipeline.from_experts(experts, sabw=tiny_sabw(2, **SMALL), base=base))

    kinds = {"epsilon": {}, "v": {"prediction_type": "v_prediction"}, "zero": {k: ZERO[k] for k in list(ZERO)[:2]}}
    experts = {name: expert(name, **settings) for name, settings in kinds.items()}
    for one in kinds:
        for other in kinds:
            if one != other:
                with pytest.raises(UserError, match=r"model 1 is of the kind .*, model 2 .*; expected models of one kind"):
                    of(experts[one], experts[other])
    made = of(experts["zero"], experts["zero"])
    assert {key: made.scheduler.config[key] for key in ZERO} == ZERO
    made("a red dog", generator=seed(), **CALL)
    assert made.scheduler.timesteps[0] == 999
    assert stock.scheduler.config.prediction_type == "epsilon"
    assert of(experts["epsilon"], experts["epsilon"]).scheduler is stock.scheduler
    with pytest.raises(UserError, match="model 1 is of the kind v_prediction, model 2 epsilon"):
        of(experts["v"], folder / "one")  # which says nothing: it is what the base is
    pndm = StableDiffusionPipeline(**{**stock.components, "scheduler": diffusers.PNDMScheduler(skip_prk_steps=True)})
    with pytest.raises(UserError, match="AFAPipeline: base: PNDMScheduler has no rescale_betas_zero_snr; expected one that has"):
        of(experts["zero"], experts["zero"], base=pndm)


@pytest.mark.parametrize(
    "name", ["DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler", "IPNDMScheduler", "EDMEulerScheduler"]
)
def test_a_base_that_samples_other_models_is_refused(folder: Path, stock: Any, name: str) -> None:
    scheduler = getattr(diffusers, name).from_config(stock.scheduler.config)
    base = StableDiffusionPipeline(**{**stock.components, "scheduler": scheduler})
    with pytest.raises(UserError, match=r"AFAPipeline: base: .*(does not sample models|the models are of the kind)"):
        AFAPipeline.from_experts([folder / "one", folder / "two"], sabw=tiny_sabw(), base=base)


def test_experts_with_quantised_weights_are_refused(folder: Path, stock: Any, tmp_path: Path) -> None:
    shutil.copytree(folder / "one", tmp_path / "one")
    (file,) = (tmp_path / "one/unet").glob("*.safetensors")
    state = {name: value.clone() for name, value in load_file(file).items()}
    state["conv_in.weight"] = (state["conv_in.weight"] * 100).to(torch.float8_e4m3fn)
    save_file({**state, "conv_in.scale_weight": torch.tensor(0.01)}, file)
    with pytest.raises(UserError, match=r"conv_in\.scale_weight: quantised weights"):
        AFAPipeline.from_experts([tmp_path / "one", folder / "two"], sabw=tiny_sabw(), base=stock)


def test_what_lies_beside_an_experts_weights_is_not_read(folder: Path, stock: Any, tmp_path: Path) -> None:
    shutil.copytree(folder / "one", tmp_path / "one")
    stock.text_encoder.save_pretrained(tmp_path / "one/text_encoder")
    for part in (tmp_path / "one/unet", tmp_path / "one/text_encoder"):
        (part / "._x.safetensors").write_bytes(b"no weights")
        (file,) = part.glob("[!.]*.safetensors")
        save_file({"scale_weight": torch.tensor(0.01)}, file.with_suffix(".fp8.safetensors"))
    beside, clean = (
        AFAPipeline.from_experts([one, folder / "two", folder / "three"], sabw=tiny_sabw(), base=stock)
        for one in (tmp_path / "one", folder / "one")
    )
    for name, value in clean.unet.state_dict().items():
        assert torch.equal(value, beside.unet.state_dict()[name])


# --- SDXL and FLUX


def tiny_sdxl(stock: Any, seed: int) -> Any:
    """An SDXL pipeline on the tiny one's VAE and tokenizer, with text encoders and a U-Net of its own."""
    torch.manual_seed(seed)
    settings = {**stock.text_encoder.config.to_dict(), "projection_dim": 10}
    first = CLIPTextModel(CLIPTextConfig(**settings)).eval()
    second = CLIPTextModelWithProjection(CLIPTextConfig(**{**settings, "hidden_size": 20, "intermediate_size": 24})).eval()
    unet = tiny_unet(seed, **SDXL, cross_attention_dim=36)
    scheduler = diffusers.EulerDiscreteScheduler.from_config(stock.scheduler.config)
    parts = (stock.vae, first, second, stock.tokenizer, stock.tokenizer, unet, scheduler)
    return quiet(diffusers.StableDiffusionXLPipeline(*parts, add_watermarker=False))


def test_sdxl(stock: Any) -> None:
    """Each model hears both of its own encoders and their pooled text; copies of one model draw what it draws."""
    models = [tiny_sdxl(stock, number) for number in (1, 2)]
    torch.manual_seed(0)
    sabw = randomised(SABW.for_model(models[0].unet, 2, **SMALL))
    expected = models[1]("a red dog", generator=seed(), **CALL).images
    same = quiet(AFAPipeline.from_experts([models[1]] * 2, sabw=sabw))("a red dog", generator=seed(), **CALL).images
    torch.testing.assert_close(same, expected, rtol=1e-3, atol=1e-4)
    both = quiet(AFAPipeline.from_experts(models, sabw=sabw))
    assert type(both) is diffusers.StableDiffusionXLPipeline
    assert isinstance(both.text_encoder, EnsembleEncoder)
    assert isinstance(both.text_encoder_2, EnsembleEncoder)
    both.unet.aggregator.maps = lambda *given: torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(both("a red dog", generator=seed(), **CALL).images, expected, rtol=1e-4, atol=1e-5)


def test_flux(tmp_path: Path) -> None:
    """The stock FLUX pipeline, here with its text given: all models share the encoders."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=2, shift_factor=0.1,
    )  # fmt: skip
    base = quiet(FluxPipeline(diffusers.FlowMatchEulerDiscreteScheduler(), vae, None, None, None, None, tiny_flux(1)))
    for number in (1, 2):
        tiny_flux(number).save_pretrained(tmp_path / str(number) / "transformer")
    call = {
        "prompt_embeds": torch.randn(1, 5, 12, generator=seed()),
        "pooled_prompt_embeds": torch.randn(1, 10, generator=seed()),
        **{**CALL, "height": 16, "width": 24},
    }
    torch.manual_seed(0)
    sabw = randomised(SABW.for_model(tiny_flux(1), 2, **SMALL))
    expected = base(generator=seed(), **call).images
    for experts, alike in ((["1", "1"], True), (["1", "2"], False)):
        pipe = quiet(AFAPipeline.from_experts([tmp_path / name for name in experts], sabw=sabw, base=base))
        assert type(pipe) is FluxPipeline
        assert isinstance(pipe.transformer, EnsembleFlux)
        found = pipe(generator=seed(), **call).images
        assert ((found - expected).abs().max() < 1e-3) == alike
