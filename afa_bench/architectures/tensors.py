"""The tensors that a model has by its configuration: diffusers' names and their shapes, without building it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from afa_bench.architectures.layout import Part
from afa_bench.errors import UserError

Shapes: TypeAlias = dict[str, tuple[int, ...]]

COUNTS = frozenset({"layers_per_block", "transformer_layers_per_block", "num_hidden_layers"})
NAMES = frozenset({"down_block_types", "addition_embed_type"})
COUNT, LARGEST = 1000, 10**7
"""The largest count of layers or levels, and the largest width, that a configuration is believed."""

UNET: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "use_linear_projection": False,
    "addition_embed_type": None,
    "projection_class_embeddings_input_dim": None,
}
"""What diffusers takes where a configuration is silent."""

TEXT: Mapping[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "max_position_embeddings": 77,
    "projection_dim": 512,
}

VAE: Mapping[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "latent_channels": 4,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
}


def tensors_of(part: Part, config: Mapping[str, Any]) -> Shapes:
    """The names and shapes of a part's tensors, position ids aside.

    Args:
        part: of a pipeline; a ``text_encoder_2`` has a projection.
        config: the content of its ``config.json``.

    Raises:
        UserError: a configuration of no such model.
    """
    silent = UNET if part == "unet" else VAE if part == "vae" else TEXT
    found = {key: config.get(key, value) for key, value in silent.items()}
    for key, value in found.items():
        if not _plausible(value, key in NAMES, COUNT if key in COUNTS else LARGEST):
            raise UserError(f"{part}/config.json: {key}: {value!r} is not supported")
    try:
        return _unet(found) if part == "unet" else _vae(found) if part == "vae" else _text(found, part == "text_encoder_2")
    except (TypeError, IndexError, ValueError) as error:  # lists of other lengths, texts for numbers
        raise UserError(f"{part}/config.json: not the configuration of a model that can be merged: {error}") from error


def _plausible(value: Any, named: bool, largest: int) -> bool:
    """Whether a setting can be one: lengths of nothing or of billions are damage."""
    if isinstance(value, (list, tuple)):
        return 0 < len(value) <= COUNT and all(_plausible(item, named, largest) for item in value)
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, str) if named else isinstance(value, int) and 0 < value <= largest


class _Tensors(Shapes):
    def linear(self, name: str, out: int, into: int, bias: bool = True) -> None:
        self[f"{name}.weight"] = (out, into)
        if bias:
            self[f"{name}.bias"] = (out,)

    def conv(self, name: str, out: int, into: int, size: int = 3) -> None:
        self[f"{name}.weight"] = (out, into, size, size)
        self[f"{name}.bias"] = (out,)

    def norm(self, name: str, channels: int) -> None:
        self[f"{name}.weight"] = self[f"{name}.bias"] = (channels,)

    def resnet(self, name: str, into: int, out: int, time: int | None = None) -> None:
        self.norm(f"{name}.norm1", into)
        self.conv(f"{name}.conv1", out, into)
        if time is not None:
            self.linear(f"{name}.time_emb_proj", out, time)
        self.norm(f"{name}.norm2", out)
        self.conv(f"{name}.conv2", out, out)
        if into != out:
            self.conv(f"{name}.conv_shortcut", out, into, 1)


def _unet(config: Mapping[str, Any]) -> Shapes:
    widths, layers = list(config["block_out_channels"]), config["layers_per_block"]
    levels = range(len(widths))
    depths = _each(config["transformer_layers_per_block"], len(widths))
    texts = _each(config["cross_attention_dim"], len(widths))
    attended = ["CrossAttn" in kind for kind in config["down_block_types"]]
    time = 4 * widths[0]
    found = _Tensors()

    def attention(name: str, level: int) -> None:
        width = widths[level]
        found.norm(f"{name}.norm", width)
        for side in ("proj_in", "proj_out"):
            if config["use_linear_projection"]:
                found.linear(f"{name}.{side}", width, width)
            else:
                found.conv(f"{name}.{side}", width, width, 1)
        for number in range(depths[level]):
            block = f"{name}.transformer_blocks.{number}"
            for index in (1, 2, 3):
                found.norm(f"{block}.norm{index}", width)
            for kind, into in (("attn1", width), ("attn2", texts[level])):
                found.linear(f"{block}.{kind}.to_q", width, width, bias=False)
                found.linear(f"{block}.{kind}.to_k", width, into, bias=False)
                found.linear(f"{block}.{kind}.to_v", width, into, bias=False)
                found.linear(f"{block}.{kind}.to_out.0", width, width)
            found.linear(f"{block}.ff.net.0.proj", 8 * width, width)
            found.linear(f"{block}.ff.net.2", width, 4 * width)

    found.conv("conv_in", widths[0], config["in_channels"])
    found.linear("time_embedding.linear_1", time, widths[0])
    found.linear("time_embedding.linear_2", time, time)
    if config["addition_embed_type"] == "text_time":
        found.linear("add_embedding.linear_1", time, config["projection_class_embeddings_input_dim"])
        found.linear("add_embedding.linear_2", time, time)
    into = widths[0]
    for level in levels:
        for layer in range(layers):
            found.resnet(f"down_blocks.{level}.resnets.{layer}", into, widths[level], time)
            into = widths[level]
            if attended[level]:
                attention(f"down_blocks.{level}.attentions.{layer}", level)
        if level < len(widths) - 1:
            found.conv(f"down_blocks.{level}.downsamplers.0.conv", into, into)
    for number in (0, 1):
        found.resnet(f"mid_block.resnets.{number}", into, into, time)
    attention("mid_block.attentions.0", -1)
    for place, level in enumerate(reversed(levels)):
        for layer in range(layers + 1):
            skip = widths[max(level - 1, 0)] if layer == layers else widths[level]
            found.resnet(f"up_blocks.{place}.resnets.{layer}", into + skip, widths[level], time)
            into = widths[level]
            if attended[level]:
                attention(f"up_blocks.{place}.attentions.{layer}", level)
        if level > 0:
            found.conv(f"up_blocks.{place}.upsamplers.0.conv", into, into)
    found.norm("conv_norm_out", widths[0])
    found.conv("conv_out", config["out_channels"], widths[0])
    return found


def _text(config: Mapping[str, Any], projected: bool) -> Shapes:
    width, inner = config["hidden_size"], config["intermediate_size"]
    found = _Tensors()
    found["text_model.embeddings.token_embedding.weight"] = (config["vocab_size"], width)
    found["text_model.embeddings.position_embedding.weight"] = (config["max_position_embeddings"], width)
    for number in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layers.{number}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found.linear(f"{layer}.self_attn.{name}", width, width)
        found.norm(f"{layer}.layer_norm1", width)
        found.linear(f"{layer}.mlp.fc1", inner, width)
        found.linear(f"{layer}.mlp.fc2", width, inner)
        found.norm(f"{layer}.layer_norm2", width)
    found.norm("text_model.final_layer_norm", width)
    if projected:
        found.linear("text_projection", config["projection_dim"], width, bias=False)
    return found


def _vae(config: Mapping[str, Any]) -> Shapes:
    widths, layers, latent = list(config["block_out_channels"]), config["layers_per_block"], config["latent_channels"]
    found = _Tensors()

    def middle(side: str) -> None:
        for number in (0, 1):
            found.resnet(f"{side}.mid_block.resnets.{number}", widths[-1], widths[-1])
        found.norm(f"{side}.mid_block.attentions.0.group_norm", widths[-1])
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            found.linear(f"{side}.mid_block.attentions.0.{name}", widths[-1], widths[-1])

    def ends(side: str, into: int, first: int, last: int, out: int) -> None:
        found.conv(f"{side}.conv_in", first, into)
        found.norm(f"{side}.conv_norm_out", last)
        found.conv(f"{side}.conv_out", out, last)

    ends("encoder", config["in_channels"], widths[0], widths[-1], 2 * latent)
    ends("decoder", latent, widths[-1], widths[0], config["out_channels"])
    down, up = widths[0], widths[-1]
    for level, (width, back) in enumerate(zip(widths, reversed(widths), strict=True)):
        for layer in range(layers):
            found.resnet(f"encoder.down_blocks.{level}.resnets.{layer}", down, width)
            down = width
        for layer in range(layers + 1):
            found.resnet(f"decoder.up_blocks.{level}.resnets.{layer}", up, back)
            up = back
        if level < len(widths) - 1:
            found.conv(f"encoder.down_blocks.{level}.downsamplers.0.conv", width, width)
            found.conv(f"decoder.up_blocks.{level}.upsamplers.0.conv", back, back)
    middle("encoder")
    middle("decoder")
    if config["use_quant_conv"]:
        found.conv("quant_conv", 2 * latent, 2 * latent, 1)
    if config["use_post_quant_conv"]:
        found.conv("post_quant_conv", latent, latent, 1)
    return found


def _each(value: Any, count: int) -> list[int]:
    """One number for each level."""
    return [value] * count if isinstance(value, int) else list(value)
