"""Checkpoints in single files (LDM's and FLUX's names) through diffusers' ``from_single_file``.

The configurations are a local folder, so nothing calls out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from afa_bench.architectures.families import FLUX, Family, tensor_names
from afa_bench.checkpoints.hashing import check_safetensors
from afa_bench.errors import UserError

V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors by which web UIs mark a model that predicts velocity, and one trained to a signal-to-noise ratio of zero."""


def load_denoiser(path: Path, family: Family, configs: Path, dtype: torch.dtype, shared: Mapping[str, Any]) -> dict[str, Any]:
    """A file's denoiser and, where it has them, its text encoders.

    Args:
        path: of the file.
        family: its architecture.
        configs: a folder of configurations in the diffusers layout.
        dtype: to load in.
        shared: the pipeline's other parts, by name; its text encoders serve a file without its own.

    Returns:
        The denoiser and the text encoders by their parts' names.

    Raises:
        UserError: damaged, or without tensors that the architecture has.
    """
    import diffusers

    part, kind = family.denoiser
    check_safetensors(path)
    own = any(name.startswith(family.texts) for name in tensor_names(path))
    try:
        if family is FLUX:
            loaded = {part: _part(kind, path, configs, part, dtype)}
        else:
            given = {name: value for name, value in shared.items() if not (own and name in family.encoders)}
            without = {"safety_checker": None, "feature_extractor": None} if family.name == "sd15" else {}
            pipeline = getattr(diffusers, family.pipeline).from_single_file(
                str(path), config=str(configs), local_files_only=True, torch_dtype=dtype, **given, **without
            )
            loaded = {name: getattr(pipeline, name) for name in (part, *family.encoders)}
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: does not load as {family.pipeline}: {error}") from error
    return {name: _complete(loaded.get(name, shared.get(name)), path, name) for name in (part, *family.encoders)}


def load_vae(path: Path, configs: Path, dtype: torch.dtype) -> Any:
    """A file's VAE.

    Raises:
        UserError: damaged, or without one.
    """
    check_safetensors(path)
    try:
        vae = _part("AutoencoderKL", path, configs, "vae", dtype)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: has no VAE that loads: {error}") from error
    return _complete(vae, path, "vae")


def marks(path: Path) -> dict[str, Any]:
    """The scheduler's settings that a file asks for by its marks."""
    names = set(tensor_names(path))
    found: dict[str, Any] = {"prediction_type": "v_prediction"} if V_PREDICTION in names else {}
    return found | ({"rescale_betas_zero_snr": True} if ZERO_SNR in names else {})


def clip_tokenizer(pad: str) -> Any:
    """CLIP's tokenizer from the vocabulary that open_clip ships: single files have none.

    Args:
        pad: the padding token: ``<|endoftext|>``, or ``!`` for SDXL's second encoder.
    """
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    source = SimpleTokenizer()
    words = list(source.encoder)[:-2]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = [pair for pair, _ in sorted(source.bpe_ranks.items(), key=lambda item: item[1])]
    return CLIPTokenizer(vocabulary, merges, pad_token=pad, model_max_length=77)


def _part(kind: str, path: Path, configs: Path, part: str, dtype: torch.dtype) -> Any:
    import diffusers

    return getattr(diffusers, kind).from_single_file(
        str(path), config=str(configs), subfolder=part, local_files_only=True, torch_dtype=dtype
    )


def _complete(module: Any, path: Path, part: str) -> Any:
    missing = [name for name, tensor in module.named_parameters() if tensor.is_meta]
    if missing:
        raise UserError(f"{path}: {part}: {len(missing)} tensors are missing, the first is {missing[0]}")
    return module
