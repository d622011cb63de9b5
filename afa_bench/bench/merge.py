"""What merging two checkpoints of true size takes, beside a copy of the bytes and beside sd-mecha."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table
    from torch import Tensor

    from afa_bench.checkpoints.safetensors import Spec

MIB = 2**20


def measure(work: Path, part: float = 1.0) -> dict[str, Any]:
    """Write two checkpoints to a folder and merge them, each way in a fresh process.

    Args:
        work: an empty folder.
        part: of each tensor's rows.

    Returns:
        ``size`` in bytes of one checkpoint; for ``copy`` (one file, flushed to the disk), ``afa-bench`` and, if it is installed,
        ``sd-mecha``: ``seconds``, and the most memory in bytes that the process had beyond what it had before.
    """
    import json
    from importlib.util import find_spec
    from multiprocessing import get_context

    specs = stable_diffusion(part)
    for seed, name in enumerate("AB"):
        _fill(work / f"{name}.safetensors", specs, seed)
    (work / "recipe.yaml").write_text(json.dumps({"models": {name: f"{name}.safetensors" for name in "AB"}}))
    ways: dict[str, Callable[[Path], tuple[float, int]]] = {"copy": _copy, "afa-bench": _own}
    if find_spec("sd_mecha"):
        ways["sd-mecha"] = _mecha
    found: dict[str, Any] = {"size": (work / "A.safetensors").stat().st_size}
    for name, way in ways.items():
        with get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(way, (work,))
        found[name] = {"seconds": seconds, "memory": memory}
        (work / "out.safetensors").unlink()
    return found


def table(found: dict[str, Any]) -> Table:
    """The measurements, a row a way."""
    from rich import box
    from rich.table import Table

    title = f"two checkpoints of {found['size'] / 1e9:.2f} GB to one"
    shown = Table("", "seconds", "times a copy", "memory, MiB", title=title, box=box.SIMPLE)
    for name, values in found.items():
        if name != "size":
            ratio = values["seconds"] / found["copy"]["seconds"]
            shown.add_row(name, f"{values['seconds']:.1f}", f"{ratio:.2f}", f"{values['memory'] / MIB:.0f}")
    return shown


def stable_diffusion(part: float = 1.0) -> dict[str, Spec]:
    """All tensors of a checkpoint of Stable Diffusion 1.5 in half precision, by LDM's names: 2.1 GB."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from afa_bench.architectures.layout import Part
    from afa_bench.architectures.sd15 import SD15
    from afa_bench.checkpoints.safetensors import Spec

    with torch.device("meta"):
        vae = {
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
        }
        text = CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, vocab_size=49408
        )
        modules: dict[Part, Any] = {
            "unet": UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8),
            "text_encoder": CLIPTextModel(text),
            "vae": AutoencoderKL(**vae),
        }
    specs = {}
    for kind, module in modules.items():
        for key, tensor in module.state_dict().items():
            link = SD15.layout.of_diffusers(kind, key)
            if link is not None and tensor.is_floating_point():
                shape = (*tensor.shape, 1, 1) if link.change == "convolution" and tensor.dim() == 2 else tuple(tensor.shape)
                specs[link.ldm] = Spec(torch.float16, (max(1, round(part * shape[0])), *shape[1:]))
    return specs


def _fill(path: Path, specs: dict[str, Spec], seed: int) -> None:
    """Random numbers, a million of them again and again."""
    import torch

    from afa_bench.checkpoints.safetensors import write

    values = torch.randn(2**20, generator=torch.Generator().manual_seed(seed)).half()

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for key, spec in specs.items():
            count = spec.size // 2
            yield key, values.repeat(-(-count // len(values)))[:count].reshape(spec.shape)

    with path.open("wb") as file:
        write(file, specs, tensors(), {"format": "pt"})


def _copy(work: Path) -> tuple[float, int]:
    import os
    import shutil

    def copy() -> None:
        with (work / "A.safetensors").open("rb") as source, (work / "out.safetensors").open("wb") as target:
            shutil.copyfileobj(source, target, 2**24)
            os.fsync(target.fileno())

    return _measured(copy)


def _own(work: Path) -> tuple[float, int]:
    from afa_bench.merging.merge import prepare
    from afa_bench.merging.recipe import read_recipe
    from afa_bench.merging.write import write_merge

    return _measured(lambda: write_merge(prepare(read_recipe(work / "recipe.yaml"), work), work / "out.safetensors"))


def _mecha(work: Path) -> tuple[float, int]:
    import logging
    from functools import partial

    import sd_mecha
    import torch
    from tqdm import tqdm

    logging.disable(logging.CRITICAL)
    a, b = (sd_mecha.model(work / f"{name}.safetensors", "sd1-ldm") for name in "AB")
    settings = {
        "merge_dtype": torch.float32,
        "output_dtype": torch.float16,
        "check_extra_keys": False,
        "strict_mandatory_keys": False,
        "tqdm": partial(tqdm, disable=True),
    }
    return _measured(lambda: sd_mecha.merge(sd_mecha.weighted_sum(a, b, alpha=0.5), output=work / "out.safetensors", **settings))


def _measured(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and the growth of the process' largest resident memory in bytes."""
    import time

    before, begun = _peak(), time.perf_counter()
    work()
    return time.perf_counter() - begun, _peak() - before


def _peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    import resource
    import sys

    status = Path("/proc/self/status")
    if status.exists():  # Linux' getrusage starts with what the parent process had
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
