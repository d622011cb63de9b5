"""What a single file is, by the names and shapes of its tensors, and what it lacks. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.kind import is_mark
from afa_bench.architectures.layout import Part, modern
from afa_bench.architectures.names import UNET, ldm_names
from afa_bench.architectures.tensors import Shapes
from afa_bench.checkpoints.header import Header, read_header
from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json

LORA = ("lora_", ".lora", "lora.", "hada_w", "lokr_", "oft_", ".dora_scale")
ADDITIONS: Mapping[str, tuple[str, ...]] = {
    "a LoRA, which is no model but an addition to one; expected the model with it merged in": LORA,
    "a ControlNet": ("control_model.", "controlnet_", "input_hint_block.", "zero_convs."),
    "an IP-Adapter": ("ip_adapter.",),
    "a textual inversion": ("emb_params", "string_to_param"),
    "an upscaler of images": ("body.0.rdb", "conv_body.", "RRDB_trunk", "model.1.sub."),
}
"""What a file without a U-Net is that has tensors with such words in their names."""

OTHERS: Mapping[str, tuple[str, ...]] = {
    "a motion module of AnimateDiff": ("motion_modules.",),
    "a model of Stable Diffusion 3": ("joint_blocks.",),
    "a model of Stable Diffusion 2": ("cond_stage_model.model.",),
    "the refiner of SDXL": ("conditioner.embedders.0.model.",),
}
"""What any file is that has them."""

ALONE: Mapping[str, tuple[str, ...]] = {
    "a VAE alone": (
        "encoder.",
        "decoder.",
        "quant_conv.",
        "post_quant_conv.",
        "first_stage_model.",
        "vae.",
        "loss.",
        "model_ema.",
    ),
    "a text encoder alone": (
        *("text_model.", "text_projection", "logit_scale", "vision_model.", "visual_projection", "cond_stage_model."),
        *("conditioner.", "text_encoders.", "shared.", "encoder.block.", "encoder.final_layer_norm.", "positional_embedding"),
        *("token_embedding.", "transformer.resblocks.", "ln_final."),
    ),
    "a textual inversion": ("clip_l", "clip_g"),
}
"""What a file is that has tensors with names which begin so, and no others."""

INPUTS = {
    9: "a model for inpainting",
    8: "a model that edits images (InstructPix2Pix)",
    5: "a model with depth",
    7: "an upscaler",
}
"""What a U-Net is that is given so many channels."""


def described(names: Iterable[str]) -> str:
    """What a file is that is no checkpoint of a model, by its tensors' names, in a few words; empty where it may be one."""
    names = [name for name in names if not is_mark(name)]
    whole = any(name.startswith(UNET) and not any(word in name for word in LORA) for name in names)
    for what, words in (OTHERS if whole else {**ADDITIONS, **OTHERS}).items():
        if any(word in name for name in names for word in words):
            return f"is {what}"
    for what, begins in ALONE.items():
        if names and all(name.startswith(begins) for name in names):
            return f"is {what}"
    return ""


def require_contents(path: Path, architecture: Architecture, configs: Path, pipeline: bool) -> None:
    """Raise a UserError that says what a single file is and what it lacks, unless it is what is needed.

    Args:
        path: of the file.
        architecture: that it is to be of; without a merge layout it says less.
        configs: a folder of configurations in the diffusers layout.
        pipeline: whether its VAE and text encoders are needed; else its denoiser, and text encoders if it has some.
    """
    header, title = read_header(path), architecture.title
    names = ldm_names(header.tensors)
    if what := described(names.values()):
        raise UserError(f"{path}: {what}; expected a checkpoint of {title}")
    if architecture.layout is None:
        if not architecture.recognises(list(names.values())):
            raise UserError(f"{path}: {_unknown(header)}; expected a checkpoint of {title}")
        return
    parts = _parts(architecture, header, names)
    if not parts:
        raise UserError(f"{path}: {_unknown(header)}; expected a checkpoint of {title}")
    has = f"has {' and '.join(sorted(parts))}"
    encoders = [name for name in architecture.encoders if pipeline or any(other in parts for other in architecture.encoders)]
    needed = [*(["vae"] if pipeline else [architecture.denoiser[0]]), *encoders]
    if lacking := [part for part in needed if part not in parts]:
        hint = (
            "; expected a pipeline with all of them, such as a folder or a repository in the diffusers layout" if pipeline else ""
        )
        raise UserError(f"{path}: {has}, and no {' and no '.join(lacking)}{hint or f'; expected a checkpoint of {title}'}")
    for part in needed:
        _require_whole(path, architecture, part, parts[part], configs)


def _parts(architecture: Architecture, header: Header, names: Mapping[str, str]) -> dict[Part, Shapes]:
    """The tensors of each part under diffusers' names; lengths are known of those that are the same in both."""
    layout, found = architecture.layout, dict[Part, Shapes]()
    for key, name in names.items():
        link = layout.of_ldm(name) or layout.of_diffusers(architecture.denoiser[0], name)
        if link is not None and not name.endswith("position_ids"):
            shape = header.tensors[key].shape if link.change == "same" else ()
            found.setdefault(link.part, {}).update(dict.fromkeys(link.diffusers, tuple(shape)))
    return found


def _require_whole(path: Path, architecture: Architecture, part: Part, found: Shapes, configs: Path) -> None:
    """Raise a UserError for a part without tensors that it has by its configuration, or with others or other shapes."""
    config = read_json(configs / part / "config.json")
    expected = architecture.shapes(part, config) if isinstance(config, Mapping) else None
    if expected is None:
        return
    found = {modern(part, name): shape for name, shape in found.items()}
    lacking = [name for name in expected if name not in found]
    if lacking:
        raise UserError(
            f"{path}: lacks {len(lacking)} of the {len(expected)} tensors of the {part}, such as {lacking[0]}; "
            f"expected a whole checkpoint of {architecture.title}"
        )
    for name, shape in expected.items():
        if (other := found.get(name)) and other != tuple(shape):
            channels = other[1] if name == "conv_in.weight" and len(other) > 1 else 0
            what = (
                architecture.mistaken({UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight": other})
                if "attn2.to_k" in name
                else ""
            )
            kind = f"is {INPUTS[channels]}" if channels in INPUTS else f"is a model of {what}" if what else "is another model"
            raise UserError(
                f"{path}: {kind}: {part}: {name} has the shape {list(other)}; expected {list(shape)}, as {architecture.title} has"
            )


def _unknown(header: Header) -> str:
    first = next(iter(header.tensors), "")
    return f"has no tensor of it, but {len(header.tensors)} others{first and f', such as {first}'}"
