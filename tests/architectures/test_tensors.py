"""What a configuration says that a model has, against the models that diffusers and transformers build of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from checkpoints import small_unets

from afa_bench.architectures.find import find_architecture
from afa_bench.architectures.layout import Part, modern
from afa_bench.architectures.tensors import tensors_of
from afa_bench.errors import UserError

CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
TEXTS = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}


def built(part: Part, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    import diffusers
    import transformers

    with torch.device("meta"):
        if part in CLASSES:
            module = getattr(diffusers, CLASSES[part]).from_config(config)
        else:
            module = getattr(transformers, TEXTS[part])(transformers.CLIPTextConfig(**config))
    return {modern(part, key): tuple(tensor.shape) for key, tensor in module.state_dict().items() if "position_ids" not in key}


@pytest.mark.parametrize(
    ("family", "part"),
    [("sd15", part) for part in ("unet", "vae", "text_encoder")]
    + [("sdxl", part) for part in ("unet", "vae", "text_encoder", "text_encoder_2")],
)
def test_the_packaged_configurations(family: str, part: Part) -> None:
    config = json.loads((find_architecture(family).configs / part / "config.json").read_text())
    assert tensors_of(part, config) == built(part, config)


@pytest.mark.parametrize("config", [*(config for _, config in small_unets()), {"in_channels": 9, "layers_per_block": 1}, {}])
def test_other_u_nets(config: dict[str, Any]) -> None:
    assert tensors_of("unet", config) == built("unet", config)


def test_a_vae_of_two_levels_without_attention_s_convolutions() -> None:
    config = {
        "block_out_channels": (8, 16), "norm_num_groups": 4, "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False,
    }  # fmt: skip
    assert tensors_of("vae", config) == built("vae", config)


def test_zoo_models_have_what_their_configurations_say() -> None:
    from safetensors import safe_open

    from afa_bench.paths import zoo

    for path in (zoo() / "mini-1" / "people" / "unet", zoo() / "base" / "vae"):
        part: Part = path.name  # type: ignore[assignment]
        with safe_open(next(path.glob("*.safetensors")), "pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        assert tensors_of(part, json.loads((path / "config.json").read_text())) == found


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("text_encoder", {"num_hidden_layers": 2**70}),
        ("text_encoder", {"hidden_size": "x"}),
        ("unet", {"block_out_channels": []}),
        ("unet", {"down_block_types": ["CrossAttnDownBlock2D"]}),
        ("unet", {"layers_per_block": [2, 2, 2, 2]}),
        ("unet", {"in_channels": 0.5}),
        ("vae", {"block_out_channels": {"a": 1}}),
    ],
)
def test_what_is_no_configuration(part: Part, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"{part}/config\.json: "):
        tensors_of(part, change)
