"""An ensemble as a part of stock pipelines: what diffusers does with its own denoisers can be done with one of several."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from aggregators import randomised, tiny_sabw
from diffusers import ControlNetModel, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from tiny import tiny_flux, tiny_unet
from torch import Tensor, nn
from transformers import CLIPTextModel

from afa_bench import Aggregator
from afa_bench.architectures.alike import require_alike
from afa_bench.ensembles.aggregator import Average
from afa_bench.ensembles.build import build_ensemble
from afa_bench.ensembles.encoders import EnsembleEncoder
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.errors import UserError
from baselines.magicfusion_unet import MagicFusionUNet

CALL: dict[str, Any] = {"num_inference_steps": 2, "height": 16, "width": 16, "guidance_scale": 3.0, "output_type": "latent"}


@pytest.fixture
def stock(tiny_group: Path) -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(tiny_group.parent / "base", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def doubled(pipe: Any) -> Any:
    """The pipeline with an ensemble of two U-Nets equal to its own."""
    unet = build_ensemble([deepcopy(pipe.unet), deepcopy(pipe.unet)], randomised(tiny_sabw(2)))
    twice = type(pipe)(**{**pipe.components, "unet": unet}, requires_safety_checker=False)
    twice.set_progress_bar_config(disable=True)
    return twice


def draw(pipe: Any, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return pipe("a red dog", generator=generator, **CALL, **more).images  # type: ignore[no-any-return]


def ip_adapter(unet: Any) -> dict[str, Any]:
    """An IP-Adapter's weights for a U-Net, in the layout of its files."""
    torch.manual_seed(5)
    width, own = unet.config.cross_attention_dim, {}
    for number, (name, processor) in enumerate(unet.attn_processors.items()):
        if name.endswith("attn2.processor"):
            module = unet.get_submodule(name.removesuffix(".processor"))
            own |= {f"{number}.to_{part}_ip.weight": torch.randn(module.to_k.out_features, width) for part in "kv"}
        assert processor is not None
    image = {"proj.weight": torch.randn(4 * width, 6), "proj.bias": torch.randn(4 * width)}
    return {"image_proj": image | {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}, "ip_adapter": own}


def load_ip_adapter(pipe: Any) -> None:
    plain = pipe.unet.models[0] if isinstance(pipe.unet, EnsembleUNet) else pipe.unet
    pipe.unet._load_ip_adapter_weights([ip_adapter(plain)])
    pipe.set_ip_adapter_scale(0.7)


def scaled_by_block(pipe: Any) -> None:
    load_ip_adapter(pipe)
    pipe.set_ip_adapter_scale({"down": {"block_1": [0.0, 1.0]}})


def processors_by_name(pipe: Any) -> None:
    processors = dict.fromkeys(pipe.unet.attn_processors)
    pipe.unet.set_attn_processor({name: AttnProcessor2_0() if "attn1" in name else AttnProcessor() for name in processors})


def another_conv_in(pipe: Any) -> None:
    """What a LoRA on it does: another module in its place."""
    for unet in pipe.unet.models if isinstance(pipe.unet, EnsembleUNet) else [pipe.unet]:
        unet.conv_in = nn.Sequential(unet.conv_in, nn.Tanh())


@dataclass(frozen=True)
class Feature:
    """What is done to a stock pipeline, and which arguments its call then takes."""

    do: Callable[[Any], Any]
    call: Callable[[], dict[str, Any]] = dict
    changes: bool = False


def image_embeds() -> dict[str, Any]:
    return {"ip_adapter_image_embeds": [torch.ones(2, 1, 6)]}


FEATURES = {
    "attention slicing": Feature(lambda pipe: pipe.enable_attention_slicing()),
    "fused projections": Feature(lambda pipe: pipe.fuse_qkv_projections(vae=False)),
    "and apart again": Feature(lambda pipe: (pipe.fuse_qkv_projections(vae=False), pipe.unfuse_qkv_projections(vae=False))),
    "processors by name": Feature(processors_by_name),
    "one processor": Feature(lambda pipe: pipe.unet.set_attn_processor(AttnProcessor())),
    "default processors": Feature(lambda pipe: pipe.unet.set_default_attn_processor()),
    "attention backend": Feature(lambda pipe: pipe.unet.set_attention_backend("native")),
    "layerwise casting": Feature(lambda pipe: pipe.unet.enable_layerwise_casting(torch.bfloat16, torch.float32), changes=True),
    "FreeU": Feature(lambda pipe: pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4), changes=True),
    "IP-Adapter": Feature(load_ip_adapter, image_embeds, changes=True),
    "IP-Adapter by block": Feature(scaled_by_block, image_embeds, changes=True),
    "IP-Adapter, unloaded": Feature(lambda pipe: (load_ip_adapter(pipe), pipe.unload_ip_adapter())),
    "another conv_in": Feature(another_conv_in, changes=True),
    "another format": Feature(lambda pipe: pipe.to(torch.float64), changes=True),  # it draws other noise in it
}


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_does_to_two_equal_models_what_it_does_to_one(name: str, stock: Any) -> None:
    feature, twice, before = FEATURES[name], doubled(stock), draw(stock)
    for pipe in (stock, twice):
        feature.do(pipe)
    expected = draw(stock, **feature.call())
    torch.testing.assert_close(draw(twice, **feature.call()), expected, rtol=1e-3, atol=1e-4)
    assert torch.allclose(expected.to(before), before, rtol=1e-3, atol=1e-4) != feature.changes


def test_perturbed_attention_guidance_is_the_stock_s(stock: Any) -> None:
    images = []
    for pipe in (stock, doubled(stock)):
        guided = diffusers.StableDiffusionPAGPipeline.from_pipe(pipe, pag_applied_layers=["mid", "down_blocks.1"])
        guided.set_progress_bar_config(disable=True)
        images.append(draw(guided, pag_scale=3.0))
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)
    assert (draw(stock) - images[0]).abs().max() > 1e-3


@pytest.mark.parametrize("last_only", [False, True])
def test_group_offload_goes_by_leaves_and_says_so(last_only: bool, stock: Any, caplog: pytest.LogCaptureFixture) -> None:
    expected = draw(stock)
    unet = build_ensemble([stock.unet, deepcopy(stock.unet)], Average(last_only=last_only))
    stock.unet = unet
    unet.enable_group_offload(torch.device("cpu"), num_blocks_per_group=1)
    assert "EnsembleUNet: group offload by leaves" in caplog.text
    torch.testing.assert_close(draw(stock), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["models.0", "models.1.down_blocks.0", "models.0.up_blocks.3"])
def test_a_hook_that_would_not_be_called_is_refused(name: str) -> None:
    ensemble = EnsembleUNet([tiny_unet(0), tiny_unet(1)], Average())
    inputs = torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 3, 16)
    calls: list[str] = []
    layer = ensemble.get_submodule("models.1.down_blocks.0.resnets.0")
    layer.register_forward_hook(lambda *_: calls.append("layer"))
    ensemble(*inputs)
    assert calls == ["layer"]
    hook = ensemble.get_submodule(name).register_forward_pre_hook(lambda *_: None)
    with pytest.raises(
        UserError, match=rf"EnsembleUNet: {name} has a hook that would not be called; expected it on the layers in "
    ):
        ensemble(*inputs)
    hook.remove()
    ensemble(*inputs)


# Saved and loaded


@pytest.mark.parametrize("kind", ["unets", "flux"])
@pytest.mark.parametrize("aggregator", ["sabw", "block average", "noise average"])
def test_an_ensemble_is_saved_and_loaded_as_a_stock_model(kind: str, aggregator: str, tmp_path: Path) -> None:
    from afa_bench.afa.sabw import SABW

    models = [tiny_unet(seed) if kind == "unets" else tiny_flux(seed) for seed in range(2)]
    torch.manual_seed(0)
    weighs = (
        randomised(SABW.for_model(models[0], 2, hidden=8)) if aggregator == "sabw" else Average(aggregator == "noise average")
    )
    ensemble = build_ensemble(models, weighs).eval()
    ensemble.save_pretrained(tmp_path, max_shard_size="300KB", variant="fp16")
    loaded, about = type(ensemble).from_pretrained(tmp_path, variant="fp16", output_loading_info=True)
    assert not any(about.values())
    require_alike([models[0], *loaded.models])
    ours, theirs = ensemble.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert (loaded.aggregator.last_only, loaded.training) == (weighs.last_only, False)


class Nearest(Aggregator):
    def maps(self, index: int, features: Any, temb: Tensor, context: Tensor) -> None:
        return None


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    one, other = tiny_unet(0), tiny_unet(1)
    cases = {
        "the aggregator Nearest cannot be saved": EnsembleUNet([one, other], Nearest()),
        "MagicFusionUNet cannot be saved": MagicFusionUNet([one, other], (1.0, 1.0)),
        "one model stands in several places": EnsembleUNet([one, one], Average()),
    }
    for reason, ensemble in cases.items():
        with pytest.raises(UserError, match=reason):
            ensemble.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "model, models: expected a class of diffusers"),
        ({"model": "DDIMScheduler", "models": 2}, "model, models: expected a class of diffusers"),
        ({"model": "UNet2DConditionModel", "models": 2}, "aggregator: class: .* no such class"),
        ({"model": "UNet2DConditionModel", "models": 2, "aggregator": {"class": "os:system"}}, "os:system: no such class"),
        ({"model": "UNet2DConditionModel", "models": 2, "aggregator": {"class": "elsewhere:Mine"}}, "import elsewhere first"),
    ],
)
def test_a_configuration_that_is_none_is_refused(config: dict[str, Any], reason: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=reason):
        EnsembleUNet.from_config(config)


def two_voices(stock: Any) -> Any:
    """The pipeline with an ensemble of two models that have text encoders of their own."""
    torch.manual_seed(7)
    encoder = EnsembleEncoder([stock.text_encoder, CLIPTextModel(stock.text_encoder.config).eval()])
    unet = EnsembleUNet([stock.unet, tiny_unet(9)], randomised(tiny_sabw(2)))
    pipe = StableDiffusionPipeline(**{**stock.components, "unet": unet, "text_encoder": encoder}, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_a_pipeline_is_saved_with_its_ensemble(stock: Any, tmp_path: Path) -> None:
    pipe = two_voices(stock)
    pipe.save_pretrained(tmp_path)
    again = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    again.set_progress_bar_config(disable=True)
    assert (type(again.unet), type(again.text_encoder)) == (EnsembleUNet, EnsembleEncoder)
    for part in ("unet", "text_encoder"):
        ours, theirs = getattr(pipe, part).state_dict(), getattr(again, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    torch.testing.assert_close(draw(again), draw(pipe), rtol=1e-3, atol=1e-3)


def test_equal_encoders_are_kept_and_run_once(stock: Any, tmp_path: Path) -> None:
    encoder = EnsembleEncoder([stock.text_encoder, stock.text_encoder, deepcopy(stock.text_encoder)])
    assert len(encoder.encoders) == 2
    encoder.save_pretrained(tmp_path)
    again = EnsembleEncoder.from_pretrained(tmp_path)
    assert again.places == [0, 0, 1]
    ids = torch.tensor([[0, 5, 7, 1]])
    with torch.no_grad():
        assert torch.equal(again(ids)[0], encoder(ids)[0])


@pytest.mark.parametrize("own", [False, True])
def test_a_controlnet_hears_one_model(own: bool, stock: Any) -> None:
    """With models that have text encoders of their own, and without; it changes the image, and is what stock makes of it."""
    torch.manual_seed(3)
    control = ControlNetModel.from_unet(stock.unet, conditioning_channels=3, conditioning_embedding_out_channels=(4, 8)).eval()
    for parameter in control.parameters():
        nn.init.normal_(parameter, std=0.1)
    pipe = two_voices(stock) if own else doubled(stock)
    plain = draw(pipe)
    call = {"image": torch.rand(1, 3, 16, 16)}
    controlled = diffusers.StableDiffusionControlNetPipeline.from_pipe(pipe, controlnet=pipe.unet.share_text(control))
    controlled.set_progress_bar_config(disable=True)
    found = draw(controlled, **call)
    assert (found - plain).abs().max() > 1e-3
    if not own:
        expected = draw(diffusers.StableDiffusionControlNetPipeline.from_pipe(stock, controlnet=control), **call)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_sdxl_s_controlnet_hears_one_model() -> None:
    from unet_cases import SDXL

    unets = [tiny_unet(seed, **SDXL) for seed in (0, 1)]
    width, pooled = unets[0].config.cross_attention_dim, 10
    ensemble = EnsembleUNet(unets, Average(), (width - 6, 6))
    added = {"text_embeds": torch.randn(1, 2 * pooled), "time_ids": torch.zeros(1, 6)}
    given = {"encoder_hidden_states": torch.randn(1, 3, 2 * width), "added_cond_kwargs": added}
    own = ensemble.own_inputs(1, given)
    assert torch.equal(own["encoder_hidden_states"], ensemble.own_texts(given["encoder_hidden_states"])[1])
    expected = ensemble.own_added(added)[1]
    assert expected is not None
    assert torch.equal(own["added_cond_kwargs"]["text_embeds"], expected["text_embeds"])
