"""A U-Net walked block by block is that U-Net, to the last bit, whatever a stock forward is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aggregators import Pick
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from tiny import tiny_unet
from unet_cases import CASES, SDXL, randn, sdxl_refiner

from afa_bench.architectures.alike import first_difference, require_alike
from afa_bench.architectures.unet_blocks import BlockView
from afa_bench.ensembles.aggregator import Average
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.errors import UserError

SIZES = [(8, 8), (9, 7), (13, 10)]
ONE_RESOLUTION: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def inputs(size: tuple[int, int] = (8, 8), batch: int = 2, width: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A sample, a timestep a row, text states."""
    random = torch.Generator().manual_seed(7)
    sample = torch.randn(batch, 4, *size, generator=random)
    return sample, torch.arange(batch) * 300 + 1, torch.randn(batch, 6, width, generator=random)


def same(unet: UNet2DConditionModel, *args: torch.Tensor, **named: Any) -> None:
    """The stock forward and the block-wise one of one model give the same bits."""

    def fresh() -> dict[str, Any]:  # the stock forward empties lists and adds in place
        return {key: [v.clone() for v in value] if isinstance(value, list) else value for key, value in named.items()}

    with torch.no_grad():
        stock = unet(*args, **fresh()).sample
        walked = EnsembleUNet([unet], Average())(*args, **fresh()).sample
    assert torch.isfinite(stock).all()
    assert torch.equal(stock, walked)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_one_model_is_itself(case: str, size: tuple[int, int]) -> None:
    settings, named = CASES[case]
    same(tiny_unet(0, **settings), *inputs(size), **named)


def test_projected_text() -> None:
    unet = tiny_unet(0, encoder_hid_dim_type="text_proj", encoder_hid_dim=10)
    same(unet, *inputs(width=10))


@pytest.mark.parametrize("timestep", [0, 999, torch.tensor(500)], ids=str)
def test_a_timestep_for_all(timestep: Any) -> None:
    sample, _, text = inputs()
    same(tiny_unet(0), sample, timestep, text)


def test_attention_mask() -> None:
    mask = torch.ones(2, 64)
    mask[:, 40:] = 0
    unet = tiny_unet(0, **ONE_RESOLUTION)
    same(unet, *inputs(), attention_mask=mask)
    with torch.no_grad():
        assert not torch.equal(unet(*inputs(), attention_mask=mask).sample, unet(*inputs()).sample)


def shapes(size: tuple[int, int], **settings: Any) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Of the skips and of the middle block's output."""
    view, aggregator = BlockView(tiny_unet(0, **settings)), Pick(0)
    named = {"added_cond_kwargs": {"text_embeds": randn(2, 10), "time_ids": randn(2, 6)}} if settings else {}
    with torch.no_grad():
        EnsembleUNet([view.unet], aggregator)(*inputs(size), **named)
    pushed = [tuple(shape) for block, shape in zip(view, aggregator.shapes, strict=True) if block.pushes]
    return pushed, tuple(aggregator.shapes[len(pushed)])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_controlnet(size: tuple[int, int]) -> None:
    skips, middle = shapes(size)
    named: dict[str, Any] = {
        "down_block_additional_residuals": [randn(*s) for s in skips],
        "mid_block_additional_residual": randn(*middle),
    }
    same(tiny_unet(0), *inputs(size), **named)
    named["down_block_additional_residuals"].pop()
    with pytest.raises(ValueError, match="shorter"):
        EnsembleUNet([tiny_unet(0)], Average())(*inputs(size), **named)


@pytest.mark.parametrize("form", ["down_intrablock_additional_residuals", "down_block_additional_residuals"])
def test_t2i_adapter(form: str) -> None:
    skips, _ = shapes((8, 8))
    residuals = [randn(*skips[index]) for index in (2, 5, 8, 11)]  # the last residual layer of each level
    same(tiny_unet(0), *inputs(), **{form: residuals})
    kept = list(residuals)
    with torch.no_grad():
        EnsembleUNet([tiny_unet(0), tiny_unet(1)], Average())(*_side_by_side(2), **{form: kept})
    assert len(kept) == 4, "the caller's list is the caller's"


def test_t2i_adapter_xl() -> None:
    skips, middle = shapes((8, 8), **SDXL)
    residuals = [randn(*shape) for shape in (skips[3], skips[5], skips[8], middle)]  # the first level's is after its downsampler
    condition = {"text_embeds": randn(2, 10), "time_ids": randn(2, 6)}
    same(tiny_unet(0, **SDXL), *inputs(), down_intrablock_additional_residuals=residuals, added_cond_kwargs=condition)


class Gain(AttnProcessor2_0):  # type: ignore[misc]
    """Attention with a factor that comes through cross_attention_kwargs."""

    def __call__(self, *args: Any, gain: float = 1.0, **named: Any) -> torch.Tensor:
        return super().__call__(*args, **named) * gain  # type: ignore[no-any-return]


def test_cross_attention_kwargs() -> None:
    unet = tiny_unet(0)
    unet.set_attn_processor(Gain())
    same(unet, *inputs(), cross_attention_kwargs={"gain": 0.3, "scale": 1.0})
    with torch.no_grad():
        assert not torch.equal(unet(*inputs(), cross_attention_kwargs={"gain": 0.3}).sample, unet(*inputs()).sample)
    same(unet, *inputs(), cross_attention_kwargs={"gain": 0.3, "scale": 0.5})  # of a LoRA, which there is none of


def test_freeu() -> None:
    unet = tiny_unet(0)
    with torch.no_grad():
        without = unet(*inputs()).sample
        unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
        assert not torch.equal(unet(*inputs()).sample, without)
    same(unet, *inputs())
    unet.disable_freeu()
    same(unet, *inputs())


def _side_by_side(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sample, timestep, text = inputs()
    return sample, timestep, torch.cat([text] * count, dim=-1)


def test_freeu_leaves_what_models_share() -> None:
    ensemble, one = EnsembleUNet([tiny_unet(0), tiny_unet(0)], Average()), tiny_unet(0)
    ensemble.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    one.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    with torch.no_grad():
        torch.testing.assert_close(ensemble(*_side_by_side(2)).sample, one(*inputs()).sample, rtol=1e-5, atol=1e-6)


def test_the_paper_s_partition() -> None:
    with torch.device("meta"):
        view = BlockView(UNet2DConditionModel(cross_attention_dim=768))
    assert len(view) == 25
    assert view.channels == (320,) * 4 + (640,) * 3 + (1280,) * 12 + (640,) * 3 + (320,) * 2 + (4,)
    assert [block.pushes for block in view] == [True] * 12 + [False] * 13
    assert [block.pops for block in view] == [False] * 13 + [True] * 12
    assert [view[index].name for index in (0, 1, 3, 11, 12, 13, 24)] == [
        "conv_in", "down_blocks.0.0", "down_blocks.0.2", "down_blocks.3.1", "mid_block", "up_blocks.0.0", "up_blocks.3.2",
    ]  # fmt: skip


def test_sdxl_s_partition() -> None:
    wide = {**SDXL, "block_out_channels": (320, 640, 1280), "projection_class_embeddings_input_dim": 2816}
    with torch.device("meta"):
        view = BlockView(UNet2DConditionModel(**wide, cross_attention_dim=2048, attention_head_dim=(5, 10, 20)))
    assert view.channels == (320,) * 4 + (640,) * 3 + (1280,) * 6 + (640,) * 3 + (320,) * 2 + (4,)


def test_the_refiner_s_partition() -> None:
    assert BlockView(sdxl_refiner()).channels == (384,) * 4 + (768,) * 3 + (1536,) * 12 + (768,) * 3 + (384,) * 2 + (4,)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
def test_stable_diffusion_1_5_is_itself(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64).eval()
    same(unet, *inputs(size, batch=1, width=768))


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("down_block_types", {"down_block_types": ("AttnDownBlock2D", *("DownBlock2D",) * 3)}),
        ("mid_block_type", {"mid_block_type": None}),
        ("up_block_types", {"up_block_types": (*("UpBlock2D",) * 3, "AttnUpBlock2D")}),
        ("attention_type", {"attention_type": "gated"}),
        ("encoder_hid_dim_type", {"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 16}),
        ("addition_embed_type", {"addition_embed_type": "image", "encoder_hid_dim": 16}),
    ],
)
def test_what_is_not_supported_is_refused(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"U-Net: {key}: .*expected"):
        BlockView(tiny_unet(0, **settings))


def test_no_unet_is_refused() -> None:
    with pytest.raises(UserError, match="down_block_types"):
        BlockView(torch.nn.Linear(1, 1))


def test_the_first_difference_is_named() -> None:
    def refused(match: str, other: Any) -> None:
        with pytest.raises(UserError, match=match):
            require_alike([tiny_unet(0), other])

    refused("U-Nets: architecture: model 2 has Linear; expected UNet2DConditionModel, which model 1 has", torch.nn.Linear(1, 1))
    refused(r"in_channels: model 2 has 9; expected 4", tiny_unet(0, in_channels=9))
    other = tiny_unet(0)
    other.conv_in = torch.nn.Conv2d(9, 8, 3)
    refused(r"conv_in\.weight: model 2 has \(8, 9, 3, 3\); expected \(8, 4, 3, 3\)", other)


def test_first_difference() -> None:
    config = {"_diffusers_version": "1", "sample_size": 64, "widths": (1, 2), "heads": 8}
    assert first_difference(config, {**config, "_diffusers_version": "2", "sample_size": 96, "widths": [1, 2]}) is None
    assert first_difference(config, {**config, "heads": 4}) == "heads"
    assert first_difference(config, {**config, "new": 1}) == "new"
