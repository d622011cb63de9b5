"""Metrics beside the official packages' own loops: the same random weights, images and captions, on one machine in one run."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich import box
from rich.table import Table

from afa_bench.bench import official
from afa_bench.errors import UserError
from afa_bench.metrics.clip_l14 import ClipL14
from afa_bench.metrics.gaussian import distance, fitted
from afa_bench.metrics.hpsv2 import HPSv2Clip
from afa_bench.metrics.imagereward import ImageRewardBlip
from afa_bench.metrics.inception import Inception
from afa_bench.metrics.network import Network, read_tensors
from afa_bench.metrics.pickscore import PickScoreClip
from afa_bench.scoring.passes import Item, Passes, Task, Texts

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


def run_metrics(python: Path, size: str, images: int, device: str, threads: int) -> Table:
    """Measure, and make the table.

    Args:
        python: the interpreter of an environment with the official packages.
        size: of the networks, ``small`` or ``true``.
        images: how many, 512 x 512, each with a caption of its own.
        device: ours; the official loops run on the CPU.
        threads: of torch, on either side.

    Raises:
        UserError: the official packages do not run there.
    """
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cases = write_cases(work, images)
        theirs = ask(python, work, cases, size, threads)
        networks = our_networks(work / "weights", size, Path(theirs["vocabulary"]))
        for network in networks.values():
            network.load(device)
            network.load = network.unload = lambda *_: None  # type: ignore[method-assign, assignment] # neither loading
            seconds([network], cases[:1], device)  # nor the first call is what is measured
        ours = {name: seconds([network], cases, device) for name, network in networks.items()}
        wordless = {name: seconds([networks[name]], cases, device, reading=False) for name in {LOOPS[row][1] for row in WORDLESS}}
        together = seconds(list(networks.values()), cases, device)
        with np.load(work / "features.npz") as content:
            first, second = (fitted([content[name]]) for name in ("first", "second"))
        begun = time.process_time()
        distance(first, second)
        own = time.process_time() - begun
    title = f"{size} networks, {images} images, {device}"
    table = Table("", "official, images/s", "ours, images/s", "ratio", box=box.SIMPLE, title=title)
    for label, (loop, name) in LOOPS.items():
        add(table, label, theirs[loop]["seconds"] / images, (wordless if label in WORDLESS else ours)[name] / images)
    alone = sum(ours.values())
    table.add_row("all together", "", f"{images / together:.3g}", f"{together / alone:.2f} of the networks one by one")
    official_seconds = theirs["distances"]["clean-fid"]["seconds"]
    table.add_row(f"Fréchet distance, {DIM:,}-d", f"{official_seconds:.2f} s", f"{own:.2f} s", f"{official_seconds / own:.1f}")
    return table


def add(table: Table, label: str, theirs: float, ours: float) -> None:
    """A row of images a second, from seconds an image."""
    table.add_row(label, f"{1 / theirs:.3g}", f"{1 / ours:.3g}", f"{theirs / ours:.1f}")


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


def ask(python: Path, work: Path, cases: Sequence[tuple[str, str]], size: str, threads: int) -> Any:
    """The official loops' answers.

    Raises:
        UserError: they do not run.
    """
    job = {
        "weights": str(work / "weights"),
        "size": size,
        "metrics": [loop for loop, _ in LOOPS.values()],
        "cases": cases,
        "threads": threads,
        "warm": True,
        "moments": str(work / "features.npz"),
    }
    (work / "job.json").write_text(json.dumps(job))
    command = [str(python), official.__file__, str(work / "job.json"), str(work / "answers.json")]
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
    except OSError as error:
        raise UserError(f"--official: {python}: cannot be run: {error.strerror}") from error
    if done.returncode:
        raise UserError(f"--official: {python}: the official packages do not run there: {done.stderr.strip().splitlines()[-1]}")
    return json.loads((work / "answers.json").read_text())


def our_networks(weights: Path, size: str, vocabulary: Path) -> dict[str, Network]:
    """Our networks with the weights that the official side has drawn: name -> network."""

    def config(sizes: Mapping[str, Any], head: int | None = None) -> dict[str, Any]:
        (vision, layers), (text, depth) = sizes["vision"], sizes["text"]
        return {
            "embed_dim": sizes["embed"],
            "quick_gelu": head is None,
            "vision_cfg": {"image_size": 224, "layers": layers, "width": vision, "patch_size": 14, "head_width": head or 64},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text, "heads": text // 64, "layers": depth},
        }

    clip, huge = config(official.CLIP_SIZES[size]), config(official.HUGE_SIZES[size], head=80)
    networks: list[Network] = [
        ClipL14.from_state(read_tensors(weights / "clip.pt"), clip),
        PickScoreClip.from_state(weights / "pickscore" / "model.safetensors", huge),
        HPSv2Clip.from_state(read_tensors(weights / "hpsv2.pt"), huge),
        ImageRewardBlip.from_state(read_tensors(weights / "imagereward.pt"), vocabulary=vocabulary),
        Inception.from_state(read_tensors(weights / "inception.pth")),
    ]
    return {network.name: network for network in networks}


def seconds(networks: Sequence[Network], cases: Sequence[tuple[str, str]], device: str, reading: bool = True) -> float:
    """One pass over the images, from the files to the features of all networks; with the captions' embeddings if ``reading``."""
    items = [Item(partial(_opened, path), caption) for path, caption in cases]
    texts = [Texts([c for _, c in cases], network, _dropped) for network in networks if reading and network.name in READERS]
    begun = time.perf_counter()
    Passes(device).run(lambda: [Task(items, networks, _dropped)], texts)
    return time.perf_counter() - begun


def _opened(path: str) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


def _dropped(*results: Any) -> None:
    """Only the time counts."""
