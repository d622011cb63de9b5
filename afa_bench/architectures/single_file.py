"""Checkpoints in single files (LDM's and FLUX's names) through diffusers' ``from_single_file``.

The configurations are a local folder, so nothing calls out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.checkpoints.header import require_plain
from afa_bench.errors import UserError

if TYPE_CHECKING:
    import torch

    from afa_bench.architectures.base import Architecture

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError)
"""What diffusers raises for a file that it cannot read."""


def load_denoiser(
    path: Path, architecture: Architecture, configs: Path, dtype: torch.dtype, shared: Mapping[str, Any]
) -> dict[str, Any]:
    """A file's denoiser and, where it has them, its text encoders; see :meth:`Architecture.read_file`.

    Returns:
        The denoiser and the text encoders by their parts' names; those which the file lacks are the pipeline's.

    Raises:
        UserError: damaged, or without tensors that the architecture has.
    """
    require_plain(path)
    try:
        loaded = architecture.read_file(path, configs, dtype, shared)
    except UNREADABLE as error:
        raise UserError(f"{path}: does not load as {architecture.pipeline}: {error}") from error
    parts = (architecture.denoiser[0], *architecture.encoders)
    return {name: _complete(loaded.get(name, shared.get(name)), path, name) for name in parts}


def load_vae(path: Path, architecture: Architecture, configs: Path, dtype: torch.dtype) -> Any:
    """A file's VAE.

    Raises:
        UserError: damaged, or without one.
    """
    require_plain(path)
    try:
        vae = architecture.read_vae(path, configs, dtype)
    except UNREADABLE as error:
        raise UserError(f"{path}: has no VAE that loads: {error}") from error
    return _complete(vae, path, "vae")


def clip_tokenizer(pad: str) -> Any:
    """CLIP's tokenizer from the vocabulary that open_clip ships: single files have none.

    Args:
        pad: the padding token.
    """
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    source = SimpleTokenizer()
    words = list(source.encoder)[:-2]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = [pair for pair, _ in sorted(source.bpe_ranks.items(), key=lambda item: item[1])]
    return CLIPTokenizer(vocabulary, merges, pad_token=pad, model_max_length=77)


def _complete(module: Any, path: Path, part: str) -> Any:
    missing = [name for name, tensor in module.named_parameters() if tensor.is_meta]
    if missing:
        raise UserError(f"{path}: {part}: {len(missing)} tensors are missing, the first is {missing[0]}")
    return module
