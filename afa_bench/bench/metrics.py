"""Metrics beside the official packages' own loops: the same random weights, images and captions, on one machine in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich import box
from rich.table import Table

from afa_bench.extractors.base import DTYPE, PREPROCESS
from afa_bench.extractors.clip_l14 import ClipL14
from afa_bench.extractors.hpsv2 import HPSv2Clip
from afa_bench.extractors.imagereward import ImageRewardBlip
from afa_bench.extractors.inception import Inception
from afa_bench.extractors.network import Network, read_tensors
from afa_bench.extractors.pickscore import PickScoreClip
from afa_bench.metrics.gaussian import distance, fitted
from afa_bench.official import runner
from afa_bench.official.process import Official
from afa_bench.scoring.extraction import Extraction, ImageInput, ImageRequest, TextRequest

LOOPS = {
    "CLIP-T": ("clip-t", "clip-l14"),
    "CLIP-I": ("clip-i", "clip-l14"),
    "AES": ("aes", "clip-l14"),
    "PickScore": ("pickscore", "pickscore"),
    "HPSv2": ("hpsv2", "hpsv2"),
    "HPSv2, its reload not counted": ("hpsv2 loaded", "hpsv2"),
    "ImageReward": ("image-reward", "imagereward"),
    "FID and IS": ("inception", "inception"),
}
"""Row -> the official loop and our network."""

READERS = ("clip-l14", "pickscore", "hpsv2")
"""Networks which embed captions by themselves."""

WORDLESS = ("CLIP-I", "AES")
"""Rows for which a reader embeds no caption."""

DIM, ROWS = 2_048, 2_500
"""Of the features whose Fréchet distance is timed."""


def run_metrics(
    python: Path, size: str, images: int, rounds: int, device: str, threads: int, settings: Mapping[str, str]
) -> Table:
    """Measure, and make the table: in each round the official loop and then ours see all images.

    Args:
        python: the interpreter of an environment with the official packages.
        size: of the networks, ``small`` or ``true``.
        images: how many, 512 x 512, each with a caption of its own.
        rounds: of each row; its medians are shown.
        device: ``cpu`` or ``cuda``, for either side.
        threads: of torch, on either side.
        settings: ``preprocess`` and ``dtype`` of ours.

    Raises:
        UserError: the official packages do not run there.
    """
    networks: dict[str, Network] = {}
    different = " ".join(["", *(value for value in settings.values() if value not in (PREPROCESS, DTYPE))])
    title = f"{size} networks, {images} images, {device}{different}"
    table = Table("", "official, images/s", "ours, images/s", "ratio", box=box.SIMPLE, title=title)
    with torch_threads(threads), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cases, features = write_cases(work, images), work / "features.npz"
        job = {"weights": str(work / "weights"), "size": size, "cases": cases, "threads": threads, "device": device}
        with Official(python, work, job | {"moments": str(features)}) as process:
            for label, (loop, name) in LOOPS.items():
                vocabulary = process.ask(f"load {loop}")
                if name not in networks:
                    networks[name] = held(our_network(name, work / "weights", size, Path(vocabulary), settings), device)
                    seconds([networks[name]], cases[:1], device)  # the first call is not what is measured
                reading = label not in WORDLESS
                pairs = [(process.ask("time"), seconds([networks[name]], cases, device, reading)) for _ in range(rounds)]
                speeds = (f"{images / median(column):.3g}" for column in zip(*pairs, strict=True))
                table.add_row(label, *speeds, spread([theirs / ours for theirs, ours in pairs]))
            theirs = process.ask("distances")["clean-fid"]["seconds"]
        speed, cost = together(list(networks.values()), cases, device, rounds)
        table.add_row("all together", "", f"{speed:.3g}", f"{cost} of the networks one by one's time")
        ours = distance_seconds(features)
    table.add_row(f"Fréchet distance, {DIM:,}-d", f"{theirs:.2f} s", f"{ours:.2f} s", f"{theirs / ours:.1f}")
    return table


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch within the block, and as many as before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def together(networks: Sequence[Network], cases: Sequence[tuple[str, str]], device: str, rounds: int) -> tuple[float, str]:
    """Images a second of all networks in one pass, and its time over the sum of theirs one by one."""
    pairs = []
    for _ in range(rounds):
        alone = sum(seconds([network], cases, device) for network in networks)
        pairs.append((seconds(networks, cases, device), alone))
    return len(cases) / median(shared for shared, _ in pairs), spread([shared / alone for shared, alone in pairs])


def spread(ratios: Sequence[float]) -> str:
    """The median, and the least and the greatest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def distance_seconds(features: Path) -> float:
    """Of one core, from the moments on."""
    with np.load(features) as content:
        first, second = (fitted([content[name]]) for name in ("first", "second"))
    begun = time.process_time()
    distance(first, second)
    return time.process_time() - begun


def write_cases(work: Path, count: int) -> list[tuple[str, str]]:
    """Images and captions, and features for the distance."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        small.resize((512, 512), Image.Resampling.BICUBIC).save(work / f"{number}.png")
        cases.append((str(work / f"{number}.png"), f"a lantern by the river, number {number}"))
    mix = rng.standard_normal((DIM, DIM)) * np.exp(-np.arange(DIM) / 300)[:, None] * 0.02
    first, second = (0.4 + rng.standard_normal((ROWS, DIM)) @ mix + shift for shift in (0, 0.02))
    np.savez(work / "features.npz", first=first, second=second)
    return cases


def our_network(name: str, weights: Path, size: str, vocabulary: Path, settings: Mapping[str, Any]) -> Network:
    """Our network with the weights that the official side has drawn."""
    match name:
        case "clip-l14":
            return ClipL14.from_state(read_tensors(weights / "clip.pt"), clip_config(size), **settings)
        case "pickscore":
            return PickScoreClip.from_state(weights / "pickscore" / "model.safetensors", huge_config(size), **settings)
        case "hpsv2":
            return HPSv2Clip.from_state(read_tensors(weights / "hpsv2.pt"), huge_config(size), **settings)
        case "imagereward":
            return ImageRewardBlip.from_state(read_tensors(weights / "imagereward.pt"), vocabulary=vocabulary, **settings)
    return Inception.from_state(read_tensors(weights / "inception.pth"), **settings)


def clip_config(size: str) -> dict[str, Any]:
    """open_clip's configuration of the official side's ViT-L/14 of a size."""
    return {**_config(runner.CLIP_SIZES[size], head=64), "quick_gelu": True}


def huge_config(size: str) -> dict[str, Any]:
    """The same of ViT-H/14."""
    return _config(runner.HUGE_SIZES[size], head=80)


def _config(sizes: Mapping[str, Any], head: int) -> dict[str, Any]:
    (vision, layers), (text, depth) = sizes["vision"], sizes["text"]
    return {
        "embed_dim": sizes["embed"],
        "vision_cfg": {"image_size": 224, "layers": layers, "width": vision, "patch_size": 14, "head_width": head},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text, "heads": text // 64, "layers": depth},
    }


def held(network: Network, device: str) -> Network:
    """The network in memory, where passes leave it: loading is not what is measured."""
    network.load(device)
    network.load = network.unload = lambda *_: None  # type: ignore[method-assign, assignment]
    return network


def seconds(networks: Sequence[Network], cases: Sequence[tuple[str, str]], device: str, reading: bool = True) -> float:
    """One pass over the images, from the files to the features of all networks; with the captions' embeddings if ``reading``."""
    inputs = [ImageInput(partial(_opened, path), caption) for path, caption in cases]
    captions = [caption for _, caption in cases]
    texts = [TextRequest(captions, network) for network in networks if reading and network.name in READERS]
    begun = time.perf_counter()
    for _ in Extraction(device).run(lambda: [ImageRequest(inputs, networks)], texts):
        pass  # only the time counts
    return time.perf_counter() - begun


def _opened(path: str) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image
