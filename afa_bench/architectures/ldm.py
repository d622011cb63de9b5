"""The tables of Stable Diffusion's checkpoints: LDM's names beside diffusers', row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from afa_bench.architectures.layout import BASE, TIME, Change, Layout, Part, Row
from afa_bench.errors import UserError

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_G = "conditioner.embedders.1.model."

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
EMBEDDINGS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OPEN_CLIP_ENDS = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
}
VAE_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
VAE_DEEPEST = "decoder.up_blocks.3.resnets.0.norm1.weight"

CARRIED = (
    *("betas", "alphas_cumprod", "sqrt_", "log_one_minus_", "posterior_", "lvlb_weights", "logvar", "denoiser."),
    *("edm_vpred.", "v_pred", "ztsnr"),
    *(VAE, "model_ema.", CLIP_G + "logit_scale", CLIP_G + "transformer.text_model.embeddings.position_ids"),
)
"""LDM names of tensors which are no weights of a U-Net or text encoder: copied from one source, never merged."""


def ldm_layout(name: str, attention: Sequence[bool], texts: Mapping[Part, str], layers: int = 2) -> Layout:
    """The layout of a U-Net of Stable Diffusion's kind, with its text encoders and its VAE.

    Args:
        name: as in messages.
        attention: for each level of the U-Net's way down, whether it has attention.
        texts: the text encoders: folder in the diffusers layout -> LDM prefix.
        layers: residual layers of a level.
    """
    half = range(len(attention) * (layers + 1))
    blocks = (*(f"IN{k:02}" for k in half), "M00", *(f"OUT{k:02}" for k in half))
    of_texts = (row for part, prefix in texts.items() for row in _text(part, prefix))
    return Layout(name, blocks, (*_unet(attention, layers), *of_texts, *vae_rows()), {"vae": VAE_DEEPEST}, texts)


def layout_of_unet(config: Mapping[str, object]) -> Layout:
    """The layout of a stock U-Net in memory, of any width and depth.

    Raises:
        UserError: levels of different depths, whose blocks have no common numbering.
    """
    layers, kinds = config["layers_per_block"], config["down_block_types"]
    if not isinstance(layers, int) or not isinstance(kinds, (list, tuple)):
        raise UserError(f"U-Net: layers_per_block: {layers!r} is not supported; expected one number for all levels")
    return ldm_layout("U-Net", ["CrossAttn" in kind for kind in kinds], {}, layers)


def carried(key: str) -> bool:
    """Whether an LDM tensor is copied from one source instead of being merged."""
    return key.startswith(CARRIED) or key.endswith("position_ids")


def _unet(attention: Sequence[bool], layers: int) -> Iterator[Row]:
    step = layers + 1
    last = len(attention) - 1
    end = f"OUT{len(attention) * step - 1:02}"

    def row(ldm: str, diffusers: str, block: str) -> Row:
        return Row(UNET + ldm, "unet", (diffusers,), block)

    def resnet(ldm: str, diffusers: str, block: str) -> Iterator[Row]:
        return (row(f"{ldm}.{old}", f"{diffusers}.{new}", block) for old, new in RESNET.items())

    yield row("input_blocks.0.0", "conv_in", "IN00")
    yield from (row(old, new, TIME) for old, new in EMBEDDINGS.items())
    for level, attended in enumerate(attention):
        for layer in range(layers):
            k = 1 + step * level + layer
            yield from resnet(f"input_blocks.{k}.0", f"down_blocks.{level}.resnets.{layer}", f"IN{k:02}")
            if attended:
                yield row(f"input_blocks.{k}.1", f"down_blocks.{level}.attentions.{layer}", f"IN{k:02}")
        if level < last:
            k = step * (level + 1)
            yield row(f"input_blocks.{k}.0.op", f"down_blocks.{level}.downsamplers.0.conv", f"IN{k:02}")
    yield from resnet("middle_block.0", "mid_block.resnets.0", "M00")
    yield row("middle_block.1", "mid_block.attentions.0", "M00")
    yield from resnet("middle_block.2", "mid_block.resnets.1", "M00")
    for level, attended in enumerate(reversed(attention)):
        for layer in range(step):
            k = step * level + layer
            yield from resnet(f"output_blocks.{k}.0", f"up_blocks.{level}.resnets.{layer}", f"OUT{k:02}")
            if attended:
                yield row(f"output_blocks.{k}.1", f"up_blocks.{level}.attentions.{layer}", f"OUT{k:02}")
        if level < last:
            k = step * level + layers
            yield row(f"output_blocks.{k}.{1 + attended}.conv", f"up_blocks.{level}.upsamplers.0.conv", f"OUT{k:02}")
    yield row("out.0", "conv_norm_out", end)
    yield row("out.2", "conv_out", end)


def _text(part: Part, prefix: str) -> Iterator[Row]:
    """CLIP L has the same names in both worlds; CLIP G is OpenCLIP's in LDM."""
    if prefix != CLIP_G:
        yield Row(prefix + "text_model", part, ("text_model",), BASE)
        return
    yield from (Row(prefix + old, part, (new,), BASE) for old, new in OPEN_CLIP_ENDS.items())
    yield Row(prefix + "text_projection", part, ("text_projection.weight",), BASE, "transposed")
    for layer in range(32):
        old, new = f"{prefix}transformer.resblocks.{layer}", f"text_model.encoder.layers.{layer}"
        yield from (Row(f"{old}.{a}", part, (f"{new}.{b}",), BASE) for a, b in OPEN_CLIP_LAYER.items())
        for kind in ("weight", "bias"):
            thirds = tuple(f"{new}.self_attn.{letter}_proj.{kind}" for letter in "qkv")
            yield Row(f"{old}.attn.in_proj_{kind}", part, thirds, BASE, "thirds")


def vae_rows(levels: int = 4, layers: int = 2) -> Iterator[Row]:
    """The rows of an ``AutoencoderKL`` with so many levels, of so many residual layers each on the way down."""

    def row(ldm: str, diffusers: str, change: Change = "same") -> Row:
        return Row(VAE + ldm, "vae", (diffusers,), BASE, change)

    def resnet(ldm: str, diffusers: str) -> Iterator[Row]:
        yield row(ldm, diffusers)
        yield row(f"{ldm}.nin_shortcut", f"{diffusers}.conv_shortcut")

    yield from (row(name, name) for name in ("quant_conv", "post_quant_conv"))
    for side in ("encoder", "decoder"):
        yield from (row(f"{side}.{name}", f"{side}.{name}") for name in ("conv_in", "conv_out"))
        yield row(f"{side}.norm_out", f"{side}.conv_norm_out")
        for number in (0, 1):
            yield from resnet(f"{side}.mid.block_{number + 1}", f"{side}.mid_block.resnets.{number}")
        old, new = f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0"
        yield row(f"{old}.norm", f"{new}.group_norm")
        for a, b in VAE_ATTENTION.items():
            yield row(f"{old}.{a}", f"{new}.{b}")
            yield row(f"{old}.{a}.weight", f"{new}.{b}.weight", "convolution")
    for level in range(levels):
        back = levels - 1 - level
        for layer in range(layers):
            yield from resnet(f"encoder.down.{level}.block.{layer}", f"encoder.down_blocks.{level}.resnets.{layer}")
        for layer in range(layers + 1):
            yield from resnet(f"decoder.up.{back}.block.{layer}", f"decoder.up_blocks.{level}.resnets.{layer}")
        if level < levels - 1:
            yield row(f"encoder.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv")
            yield row(f"decoder.up.{back}.upsample.conv", f"decoder.up_blocks.{level}.upsamplers.0.conv")
