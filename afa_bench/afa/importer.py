"""Weights in the layout of the paper's reference release, as a SABW.

The release keeps the aggregators of all blocks in folders ``aggregator_0``, ``aggregator_1``, ... in the order in which the
blocks run; each has a ``config.json`` and an ``aggregator.safetensors``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from afa_bench.afa.sabw import SABW
from afa_bench.errors import UserError

NORMS = {"eps": 1e-6, "groups": 32}
"""Of the release's residual blocks: diffusers' defaults."""

SAME = ("hidden_size", "num_experts", "num_layers", "num_attn_heads", "cross_attn_dim", "temb_channels")
"""What its aggregators have in common."""


def import_release(folder: Path, experts: Sequence[str | Mapping[str, str | None]] | None = None) -> SABW:
    """Read the reference release's aggregators; every weight must be there, and none may be left over.

    Args:
        folder: with the folders ``aggregator_<i>``.
        experts: the models which they were trained for, in their order; see :class:`SABW`.

    Raises:
        UserError: a folder, a file, a key or a weight is missing, damaged or not as in the others.
    """
    folders = [folder / f"aggregator_{index}" for index in range(len(list(folder.glob("aggregator_*"))))]
    if not folders:
        raise UserError(f"{folder}: expected folders aggregator_0, aggregator_1, ... with config.json and aggregator.safetensors")
    configs = [_config(path / "config.json") for path in folders]
    for path, config in zip(folders, configs, strict=True):
        for key in SAME:
            if config[key] != configs[0][key]:
                raise UserError(f"{path / 'config.json'}: {key}: found {config[key]}; expected {configs[0][key]} as in the first")
    first = configs[0]
    sabw = SABW(
        n_models=first["num_experts"],
        channels=[config["in_channels"] for config in configs],
        temb=first["temb_channels"],
        text=first["cross_attn_dim"],
        hidden=first["hidden_size"],
        heads=first["num_attn_heads"],
        layers=first["num_layers"],
        experts=experts,
        without=[],
        **NORMS,
    )
    for path, block in zip(folders, sabw.blocks, strict=True):
        file = path / "aggregator.safetensors"
        try:
            block.load_state_dict(block_state(load_file(file), first["num_layers"]))
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise UserError(f"{file}: not an aggregator of this configuration: {' '.join(str(error).split())}") from error
    return sabw.eval().requires_grad_(False)  # type: ignore[no-any-return]


def block_state(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """One block's weights with the release's names, diffusers' own, under the names of :class:`BlockAggregator`.

    Raises:
        KeyError: a weight is missing, or there is one more.
    """
    left = dict(state)

    def take(*names: str) -> Tensor:
        return torch.cat([left.pop(name) for name in names])

    def pair(name: str) -> dict[str, Tensor]:
        return {part: take(f"{name}.{part}") for part in ("weight", "bias")}

    modules = {"conv_in": pair("conv_in"), "conv_out": {"weight": take("conv_out.weight")}}
    modules |= {f"resnet.{part}": pair(f"res_block.{part}") for part in ("norm1", "conv1", "time_emb_proj", "norm2", "conv2")}
    for part in ("norm", "proj_in", "proj_out"):
        modules[f"transformer.{part}"] = pair(f"transformer.{part}")
    for index in range(layers):
        old, new = f"transformer.transformer_blocks.{index}", f"transformer.layers.{index}"
        modules |= {f"{new}.norms.{place}": pair(f"{old}.norm{place + 1}") for place in range(3)}
        for name, attention in (("self_attention", "attn1"), ("cross_attention", "attn2")):
            modules[f"{new}.{name}.query"] = {"weight": take(f"{old}.{attention}.to_q.weight")}
            names = [f"{old}.{attention}.{part}.weight" for part in ("to_k", "to_v")]
            modules[f"{new}.{name}.key_value"] = {"weight": take(*names)}
            modules[f"{new}.{name}.out"] = pair(f"{old}.{attention}.to_out.0")
        modules[f"{new}.up"], modules[f"{new}.down"] = pair(f"{old}.ff.net.0.proj"), pair(f"{old}.ff.net.2")
    if left:
        raise KeyError(f"unknown weight {next(iter(left))}")
    for part in ("proj_in", "proj_out"):  # 1x1 convolutions there, the same on a list of pixels here
        modules[f"transformer.{part}"]["weight"] = modules[f"transformer.{part}"]["weight"].flatten(1)
    return {f"{module}.{part}": value for module, parts in modules.items() for part, value in parts.items()}


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected the configuration of an aggregator: {error}") from error
    for key in ("in_channels", *SAME):
        if not isinstance(config, dict) or not isinstance(config.get(key), int):
            raise UserError(f"{file}: {key}: expected a whole number")
    return config  # type: ignore[no-any-return]
