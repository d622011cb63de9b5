"""The aggregator: the paper's size, weights that are weights, and a folder that is read whole or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from aggregators import randomised, tiny_sabw
from diffusers import UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from safetensors.torch import load_file, save_file
from tiny import tiny_unet
from unet_cases import sdxl_refiner

from afa_bench.afa.sabw import SABW
from afa_bench.afa.transformer import Transformer
from afa_bench.ensembles.aggregator import combine
from afa_bench.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def features(n_models: int = 3, size: tuple[int, int] = (4, 3)) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """What a block of the tiny U-Net's first level gives its aggregator."""
    random = torch.Generator().manual_seed(2)
    maps = [torch.randn(2, 8, *size, generator=random) for _ in range(n_models)]
    return maps, torch.randn(2, 32, generator=random), torch.randn(2, 6, 16, generator=random)


def weighed(sabw: SABW, index: int, maps: list[torch.Tensor], temb: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    return combine(sabw.maps(index, maps, temb, text), [(feature,) for feature in maps])[0]


def parameters(unet: UNet2DConditionModel, n_models: int) -> int:
    return sum(parameter.numel() for parameter in SABW.for_model(unet, n_models).parameters())


@pytest.mark.parametrize("n_models", [2, 3, 4, 6])
def test_the_paper_s_parameters(n_models: int) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        assert parameters(unet, n_models) == 37_011_200 + 2_707_072 * n_models


def test_parameters_for_sdxl() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280), cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        assert [parameters(unet, n) for n in (2, 3, 4)] == [44_026_880, 45_750_144, 47_473_408]


@pytest.mark.parametrize("n_models", [2, 3, 4])
def test_parameters_for_sdxl_s_refiner(n_models: int) -> None:
    with torch.device("meta"):
        assert parameters(sdxl_refiner(), n_models) == 44_384_000 + 3_247_744 * n_models


def test_the_transformer_is_the_one_of_the_u_nets() -> None:
    """Weight by weight: diffusers' own transformer is the oracle."""
    torch.manual_seed(0)
    stock = Transformer2DModel(2, 8, 16, num_layers=2, cross_attention_dim=12, norm_num_groups=4).eval()
    own = Transformer(16, 2, 12, 2, 4)
    own.norm.load_state_dict(stock.norm.state_dict())
    for ours, theirs in ((own.proj_in, stock.proj_in), (own.proj_out, stock.proj_out)):
        ours.weight.data, ours.bias.data = theirs.weight.data.flatten(1), theirs.bias.data
    for layer, block in zip(own.layers, stock.transformer_blocks, strict=True):
        for norm, theirs in zip(layer.norms, (block.norm1, block.norm2, block.norm3), strict=True):
            norm.load_state_dict(theirs.state_dict())
        for attention, theirs in ((layer.self_attention, block.attn1), (layer.cross_attention, block.attn2)):
            attention.query.load_state_dict(theirs.to_q.state_dict())
            attention.key_value.weight.data = torch.cat([theirs.to_k.weight.data, theirs.to_v.weight.data])
            attention.out.load_state_dict(theirs.to_out[0].state_dict())
        layer.up.load_state_dict(block.ff.net[0].proj.state_dict())
        layer.down.load_state_dict(block.ff.net[2].state_dict())
    hidden, text = torch.randn(2, 16, 5, 3), torch.randn(2, 7, 12)
    with torch.no_grad():
        expected = stock(hidden, encoder_hidden_states=text, return_dict=False)[0]
        torch.testing.assert_close(own(hidden, text), expected, rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in own.parameters()) == sum(p.numel() for p in stock.parameters())


def test_a_fresh_one_weighs_all_alike() -> None:
    maps = tiny_sabw().maps(1, *features())
    assert torch.equal(maps, torch.full((2, 3, 4, 3), 1 / 3))


def test_maps_sum_to_one_and_weigh() -> None:
    sabw = randomised(tiny_sabw())
    given = features()
    for index in (0, 1, 23):
        maps = sabw.maps(index, *given)
        assert maps.shape == (2, 3, 4, 3)
        assert maps.std(dim=(2, 3)).min() > 1e-3, "a map that is flat in space shows nothing"
        torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 4, 3))
        by_hand = sum(maps[:, n, None] * given[0][n] for n in range(3))
        torch.testing.assert_close(weighed(sabw, index, *given), by_hand)


def test_maps_depend_on_time_text_and_every_model() -> None:
    sabw = randomised(tiny_sabw())
    maps, temb, text = features()
    reference = sabw.maps(0, maps, temb, text)
    others = [
        (maps, temb + 1, text),
        (maps, temb, text + 1),
        *(([*maps[:n], maps[n] + 1, *maps[n + 1 :]], temb, text) for n in range(3)),
    ]
    for other in others:
        assert (sabw.maps(0, *other) - reference).abs().max() > 1e-4


def test_half_precision_features_are_weighed_in_fp32() -> None:
    sabw = randomised(tiny_sabw(), scale=0.1)
    maps, temb, text = features()
    half = [feature.half() for feature in maps], temb.half(), text.half()
    assert sabw.maps(0, *half).dtype == torch.float32
    combined = weighed(sabw, 0, *half)
    assert combined.dtype == torch.float16
    torch.testing.assert_close(combined.float(), weighed(sabw, 0, maps, temb, text), rtol=1e-2, atol=1e-2)


def test_record() -> None:
    sabw = randomised(tiny_sabw())
    given = features()
    with sabw.record() as maps:
        for _ in range(2):
            sabw.maps(2, *given)
    sabw.maps(1, *given)
    assert {index: len(calls) for index, calls in maps.items()} == {2: 2}
    assert torch.equal(maps[2][0], sabw.maps(2, *given))


def test_a_folder_holds_all(tmp_path: Path) -> None:
    sabw = randomised(tiny_sabw(heads=2, layers=1, experts=["one", "two", "three"]))
    sabw.save_pretrained(tmp_path)
    for loaded in (SABW.read(tmp_path), SABW.from_pretrained(tmp_path)):
        for key, value in sabw.config.items():
            assert key.startswith("_") or loaded.config[key] == value
        assert torch.equal(loaded.maps(1, *features()), sabw.maps(1, *features()))


def test_an_fp16_folder_is_read_in_fp32(tmp_path: Path) -> None:
    randomised(tiny_sabw()).half().save_pretrained(tmp_path)
    assert {p.dtype for p in SABW.read(tmp_path).parameters()} == {torch.float32}


def lose_a_key(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state.pop("blocks.0.conv_in.bias")
    save_file(state, folder / WEIGHTS)


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def other_class(folder: Path) -> None:
    tiny_unet(0).save_config(folder)


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize("damage", [lose_a_key, truncate, other_class, no_json, no_weights])
def test_a_damaged_folder_is_one_line(tmp_path: Path, damage: Any) -> None:
    tiny_sabw().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match="not a SABW's folder") as caught:
        SABW.read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a SABW's folder"):
        SABW.read(tmp_path / "none")


def test_it_fits_what_it_was_made_for(tmp_path: Path) -> None:
    tiny_sabw().save_pretrained(tmp_path)
    sabw = SABW.read(tmp_path)
    assert isinstance(json.loads((tmp_path / "config.json").read_text())["channels"], list)
    sabw.require_fit(tiny_unet(5), 3)
    with pytest.raises(UserError, match="n_models: these weights have 3, the ensemble needs 2"):
        sabw.require_fit(tiny_unet(0), 2)
    with pytest.raises(UserError, match="channels"):
        sabw.require_fit(tiny_unet(0, block_out_channels=(8, 16, 16, 8)), 3)
    with pytest.raises(UserError, match="text"):
        sabw.require_fit(tiny_unet(0, cross_attention_dim=32), 3)


def test_wrong_widths() -> None:
    with pytest.raises(UserError, match="hidden: 16 does not divide into 3 heads"):
        tiny_sabw(heads=3)
    with pytest.raises(UserError, match=r"cross_attention_dim: .*one width"):
        SABW.for_model(tiny_unet(0, cross_attention_dim=(16, 16, 16, 8)), 2)


# --- without parts of it (the paper, table 3)


def sd15() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(cross_attention_dim=768)


def full(n_models: int) -> int:
    return 37_011_200 + 2_707_072 * n_models


TIME = 25 * (1280 * 128 + 128)
CROSS = 25 * 2 * (2 * 128 + 128 * 128 + 2 * 768 * 128 + 128 * 128 + 128)


@pytest.mark.parametrize(
    ("ablation", "counts"),
    [
        ({"without": ["spatial"]}, [full(2), full(3)]),
        ({"without": ["timestep"]}, [38_326_144, 41_033_216]),
        ({"without": ["text"]}, [30_937_344, 33_644_416]),
        ({"without": ["text", "timestep", "spatial"]}, [full(2) - TIME - CROSS, full(3) - TIME - CROSS]),
        ({"last_only": True}, [1_481_728, 1_482_368]),
    ],
)
def test_parameters_without_a_part(ablation: dict[str, Any], counts: list[int]) -> None:
    unet = sd15()
    with torch.device("meta"):
        found = [sum(value.numel() for value in SABW.for_model(unet, n, **ablation).parameters()) for n in (2, 3)]
    assert found == counts


def test_parameters_of_three_models_and_their_aggregator() -> None:
    """The paper's tables 6 and 9 print 2621.03M, which contradicts its own appendix B."""
    assert 3 * sum(value.numel() for value in sd15().parameters()) + full(3) == 2_623_695_308


@pytest.mark.parametrize("part", ["spatial", "timestep", "text"])
def test_without_a_part_it_is_not_looked_at(part: str) -> None:
    sabw = randomised(tiny_sabw(without=[part]))
    maps, temb, text = features()
    reference = sabw.maps(0, maps, temb, text)
    torch.testing.assert_close(reference.sum(dim=1), torch.ones(2, 4, 3))
    assert (reference.std(dim=(2, 3)).max() < 1e-6) == (part == "spatial")
    assert torch.equal(sabw.maps(0, maps, temb + 1, text), reference) == (part == "timestep")
    assert torch.equal(sabw.maps(0, maps, temb, text + 1), reference) == (part == "text")
    assert not torch.equal(sabw.maps(0, [maps[0] + 1, *maps[1:]], temb, text), reference)


def test_without_spatial_is_the_mean_of_the_logits() -> None:
    sabw = randomised(tiny_sabw())
    given = features()
    logits = sabw.maps(0, *given).log()
    expected = (logits - logits.mean(dim=1, keepdim=True)).mean(dim=(2, 3)).softmax(dim=1)
    torch.testing.assert_close(sabw.ablated(["spatial"]).maps(0, *given)[:, :, 0, 0], expected)


@pytest.mark.slow
def test_a_trained_one_without_a_part(tmp_path: Path) -> None:
    sabw = randomised(tiny_sabw())
    small = sabw.ablated(["timestep", "text"])
    assert small.config.without == ["text", "timestep"]
    for key, value in small.state_dict().items():
        assert torch.equal(value, sabw.state_dict()[key])
    small.save_pretrained(tmp_path)
    again = SABW.read(tmp_path)
    assert again.ablated(["text"]) is again
    assert torch.equal(again.maps(3, *features()), small.maps(3, *features()))
    last = sabw.ablated(last_only=True)
    assert torch.equal(last.blocks[0].conv_in.weight, sabw.blocks[24].conv_in.weight)
    last.require_fit(tiny_unet(0), 3)


def test_an_unknown_part() -> None:
    with pytest.raises(UserError, match="without: unknown part 'colour'; expected spatial, timestep, text"):
        tiny_sabw(without=["colour"])
