"""What single files call their tensors, where it is not what whole checkpoints call them. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNET = "model.diffusion_model."
BARE = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
"""Begin the names of a U-Net's tensors in a checkpoint, after :data:`UNET`; files of a U-Net alone leave that out."""

TEXTS = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
TEXT = tuple(prefix + name for prefix in TEXTS for name in ("embeddings.", "encoder.", "final_layer_norm."))
"""Begin those of text encoders that leave out ``text_model.``."""


def ldm_names(names: Iterable[str]) -> dict[str, str]:
    """What a file calls its tensors -> what whole checkpoints call them."""
    found = {name: name for name in names}
    bare = f"{BARE[0]}0.0.weight" in found
    for name in found:
        if name.startswith(TEXT):
            prefix = next(prefix for prefix in TEXTS if name.startswith(prefix))
            found[name] = f"{prefix}text_model.{name.removeprefix(prefix)}"
        elif name.startswith("diffusion_model."):
            found[name] = f"model.{name}"
        elif bare and name.startswith(BARE):
            found[name] = UNET + name
    return found


def read_state(path: Path) -> dict[str, Any]:
    """A file's tensors, under the names of whole checkpoints."""
    from safetensors.torch import load_file

    state = load_file(path)
    return {name: state.pop(old) for old, name in ldm_names(state).items()}
