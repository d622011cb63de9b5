"""Every tensor's name, LDM's and diffusers', against diffusers' own conversion and another project's lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import SD15, SDXL, names, shape, small_unets

from afa_bench.architectures import sd15, sdxl
from afa_bench.architectures.find import architecture_with
from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.architectures.ldm import CLIP_G, UNET, layout_of_unet
from afa_bench.merging.checkpoint import join, split

LAYOUTS = {SD15: sd15.SD15.layout, SDXL: sdxl.SDXL.layout}
UNETS = dict(small_unets())
COUNTS = {SD15: 686, SDXL: 1680}


def unet_names(config: str) -> list[str]:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return list(UNet2DConditionModel(**UNETS[config]).state_dict())


@pytest.mark.parametrize("config", UNETS)
def test_every_tensor_of_the_u_net_both_ways(config: str) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    table, diffusers, ldm = LAYOUTS[config], unet_names(config), names(config, "diffuser")
    assert len(diffusers) == len(ldm) == COUNTS[config]
    forth = {key: table.of_diffusers("unet", key) for key in diffusers}
    assert sorted(link.ldm for link in forth.values() if link) == sorted(ldm)
    back = {key: table.of_ldm(key) for key in ldm}
    assert {link.diffusers[0] for link in back.values() if link} == set(diffusers)
    config_of_theirs = {"layers_per_block": 2, "addition_embed_type": UNETS[config].get("addition_embed_type")}
    theirs = convert_ldm_unet_checkpoint({key: key for key in ldm}, config_of_theirs)
    assert theirs == {key: link.ldm for key, link in forth.items() if link}


@pytest.mark.parametrize("config", UNETS)
def test_every_tensor_is_in_its_block(config: str) -> None:
    """By LDM's numbers: input_blocks.k is INk, output_blocks.k is OUTk."""
    table, last = LAYOUTS[config], {SD15: "OUT11", SDXL: "OUT08"}[config]
    assert len(table.blocks) == {SD15: 25, SDXL: 19}[config]
    found = set()
    for key in names(config):
        link = table.of_ldm(key)
        if link is None:
            assert "logit_scale" in key
            continue
        room, number, *_ = [*key.removeprefix(UNET).split("."), ""]
        expected = {
            "input_blocks": f"IN{number:>02}",
            "middle_block": "M00",
            "output_blocks": f"OUT{number:>02}",
            "out": last,
            "time_embed": TIME,
            "label_emb": TIME,
        }
        assert link.block == (expected[room] if key.startswith(UNET) else BASE), key
        found.add(link.block)
    assert found == {*table.blocks, TIME, BASE}


@pytest.mark.parametrize("config", UNETS)
def test_the_vae_as_diffusers_converts_it(config: str) -> None:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    ldm = names(config, "vae")
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(32,) + (64,) * 3, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2,
        )  # fmt: skip
    marked = {key: torch.full(shape(key), float(number)) for number, key in enumerate(ldm)}
    theirs = convert_ldm_vae_checkpoint(dict(marked), vae.config)
    links = [LAYOUTS[config].of_ldm(key) for key in ldm]
    ours = {link.diffusers[0]: split(link.change, marked[link.ldm])[0] for link in links if link}
    assert ours.keys() == theirs.keys()
    assert all(
        torch.equal(ours[key].squeeze(), value.squeeze()) and ours[key].dim() == value.dim() for key, value in theirs.items()
    )
    missing = {key for key in vae.state_dict() if "conv_shortcut" not in key} - ours.keys()
    assert not missing


def test_the_text_encoders_as_diffusers_converts_them() -> None:
    from types import SimpleNamespace

    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint

    ldm = [key for key in names(SDXL, "clip_g") if "logit_scale" not in key and "position_ids" not in key]
    random = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(shape(key), generator=random) for key in ldm}
    tensors[CLIP_G + "text_projection"] = torch.randn(2, 3, generator=random)
    theirs = convert_open_clip_checkpoint(SimpleNamespace(config=None), dict(tensors), CLIP_G)
    links = [LAYOUTS[SDXL].of_ldm(key) for key in ldm]
    ours = {n: t for link in links if link for n, t in zip(link.diffusers, split(link.change, tensors[link.ldm]), strict=True)}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    for link in links:
        assert link is not None
        assert torch.equal(join(link.change, split(link.change, tensors[link.ldm])), tensors[link.ldm])
        assert {LAYOUTS[SDXL].of_diffusers("text_encoder_2", name) for name in link.diffusers} == {link}
    for config in (SD15, SDXL):
        small = convert_ldm_clip_checkpoint({key: key for key in names(config, "clip_l")})
        assert small == {link.diffusers[0]: link.ldm for key in names(config, "clip_l") if (link := LAYOUTS[config].of_ldm(key))}


def test_what_a_name_without_counterpart_gives() -> None:
    assert LAYOUTS[SD15].of_ldm("model.diffusion_model.input_blocks.99.0.weight") is None
    assert LAYOUTS[SD15].of_diffusers("unet", "down_blocks.9.resnets.0.norm1.weight") is None
    old = LAYOUTS[SD15].of_diffusers("vae", "encoder.mid_block.attentions.0.query.weight")
    assert old is not None
    assert old.ldm == "first_stage_model.encoder.mid.attn_1.q.weight"
    bare = LAYOUTS[SD15].of_diffusers("text_encoder", "embeddings.token_embedding.weight")
    assert bare is not None
    assert bare.ldm == "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"


def test_the_layout_is_found_by_the_names() -> None:
    for config, expected in LAYOUTS.items():
        assert architecture_with(names(config), Path("a.safetensors")).layout is expected
        assert architecture_with(unet_names(config), Path("a")).layout is expected
        found = layout_of_unet({"layers_per_block": 2, **UNETS[config], "down_block_types": DOWN[config]})
        assert isinstance(found, Layout)
        assert found.blocks == expected.blocks


DOWN = {SD15: ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), SDXL: UNETS[SDXL].get("down_block_types")}
