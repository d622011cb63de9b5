"""Ours against the official packages, on the same random weights, images and captions.

    python tests/oracle/parity.py docs/parity.md FOLDER

measures and writes the table. The folder keeps the packages, weights, images and official answers; what is there is not made
again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import environment
import material
import numpy as np
import torch
from PIL import Image

from afa_bench.bench.metrics import clip_config, huge_config
from afa_bench.extractors.clip_l14 import ClipL14
from afa_bench.extractors.clip_network import ClipNetwork
from afa_bench.extractors.hpsv2 import HPSv2Clip
from afa_bench.extractors.imagereward import ImageRewardBlip
from afa_bench.extractors.inception import Inception
from afa_bench.extractors.network import Network, read_tensors
from afa_bench.extractors.pickscore import PickScoreClip
from afa_bench.extractors.pixels import normalised
from afa_bench.metrics.aesthetic import folded
from afa_bench.metrics.frechet import frechet_distance
from afa_bench.metrics.gaussian import distance, fitted
from afa_bench.metrics.imagereward import MEAN, STD
from afa_bench.metrics.inception_score import inception_score
from afa_bench.metrics.kernel import kernel_inception_distance
from afa_bench.official import runner as official_loops

SPLITS, SUBSET = 4, 8
CAPTIONED = ("clip-t", "clip-i", "aes", "pickscore", "hpsv2", "hpsv2 legacy", "image-reward")
PACKAGES = ("clean-fid", "pytorch-fid", "torch-fidelity")
COLUMN = "column.png"


@dataclass
class Row:
    """One line of the table.

    Attributes:
        ours, theirs: the values compared, in one order.
        tolerance: what the largest difference may be.
    """

    metric: str
    variant: str
    package: str
    ours: np.ndarray
    theirs: np.ndarray
    tolerance: float

    @property
    def difference(self) -> float:
        return float(np.abs(self.ours - self.theirs).max())

    @property
    def spread(self) -> float:
        """From the smallest to the largest value: a difference is small only beside it."""
        return float(np.ptp(self.theirs)) if self.theirs.size > 1 else float(np.abs(self.theirs).max())


@dataclass
class Oracle:
    """The official answers, and what they were made of.

    Attributes:
        python: the interpreter of the official packages.
        folder: for weights, images and answers.
    """

    python: Path
    folder: Path
    answers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images = material.write_images(self.folder / "images")
        alpha = Image.open(images["alpha.png"]).convert("RGB")
        alpha.save(self.folder / "images" / "alpha as RGB.png")
        captions = list(material.CAPTIONS.values())
        self.cases = [(str(path), captions[i % len(captions)]) for i, path in enumerate(images.values())]
        self.cases.append((str(self.folder / "images" / "alpha as RGB.png"), captions[list(images).index("alpha.png")]))
        self.sets = [str(path) for path in material.write_sets(self.folder / "sets", (6, 14))]
        for path in images.values():
            shutil.copy(path, self.sets[0])
        few = self.folder / "sets" / "few"
        self.few = str(shutil.copytree(self.sets[0], few, ignore=shutil.ignore_patterns(COLUMN), dirs_exist_ok=True))
        material.write_features(self.folder / "features.npz")
        self._ask(
            "captioned",
            {
                "size": "small",
                "metrics": CAPTIONED,
                "cases": self.cases,
                "pixels": str(self.folder),
            },
        )
        self._ask(
            "sets",
            {
                "metrics": [],
                "sets": self.sets,
                "sets torch-fidelity": [self.few, self.sets[1]],
                "features": str(self.folder),
                "moments": str(self.folder / "features.npz"),
                "splits": SPLITS,
                "subset": SUBSET,
            },
        )

    def _ask(self, name: str, job: dict[str, Any]) -> None:
        """Have the official packages do a part of the work, unless its answers are there."""
        file, answers = self.folder / f"{name}.json", self.folder / f"{name}-answers.json"
        if not answers.is_file():
            file.write_text(json.dumps(job | {"weights": str(self.folder / "weights")}))
            quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
            command = [str(self.python), official_loops.__file__, str(file), str(answers)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
            assert done.returncode == 0, done.stderr[-3000:]
        self.answers |= json.loads(answers.read_text())

    @cached_property
    def rows(self) -> dict[str, Row]:
        """All comparisons, by ``metric variant`` (pixels apart: :attr:`pixels`)."""
        made = [
            row
            for make in (clip_rows, pickscore_rows, hpsv2_rows, reward_rows, inception_rows, distance_rows)
            for row in make(self)
        ]
        return {f"{row.metric} {row.variant}".strip(): row for row in made}

    def images(self) -> list[Image.Image]:
        return [Image.open(path) for path, _ in self.cases]

    def captions(self) -> list[str]:
        return [caption for _, caption in self.cases]

    def theirs(self, name: str) -> np.ndarray:
        """An official loop's values; NaN where the package cannot take an image."""
        return np.array([np.nan if value is None else value for value in self.answers[name]["values"]])

    def weights(self, file: str) -> Path:
        return self.folder / "weights" / file

    def pixels(self, name: str, extractor: Network) -> Row:
        """The networks' inputs, in pixels of 0..1."""
        with np.load(self.folder / f"{name.replace(' ', '-')}.npz") as content:
            theirs = {key: content[key] for key in content}
        ours, kept = [], []
        for path, _ in self.cases:
            if Path(path).name in theirs:
                prepared = torch.from_numpy(np.array(extractor.prepare(Image.open(path)))).permute(2, 0, 1)[None].float()
                ours.append(normalised(prepared)[0].numpy())
                kept.append(theirs[Path(path).name])
        scale = 0.27  # of the normalisation, so that a unit is the range of a pixel
        label = f"pixels of {name}"
        return Row(label, "", PACKAGE_OF[name], np.stack(ours) * scale, np.stack(kept) * scale, 1e-6)


PACKAGE_OF = {
    "clip-t": "image-reward (clip)",
    "clip-i": "clip",
    "aes": "image-reward (clip)",
    "pickscore": "transformers",
    "hpsv2": "hpsv2",
    "hpsv2 legacy": "hpsv2",
    "image-reward": "image-reward",
}


def loaded(extractor: Any) -> Any:
    extractor.load("cpu")
    return extractor


def clip(oracle: Oracle, **changes: Any) -> Any:
    return loaded(ClipL14.from_state(read_tensors(oracle.weights("clip.pt")), {**clip_config("small"), **changes}))


def clip_rows(oracle: Oracle) -> list[Row]:
    network = clip(oracle)
    images, texts = network.images(oracle.images())["embedding"].astype(float), network.texts(oracle.captions()).astype(float)
    weight, bias = folded(read_tensors(oracle.weights("aesthetic.pth")))
    ours = {"CLIP-T": (images * texts).sum(axis=1), "CLIP-I": images @ images[0], "AES": images @ weight + bias}
    names = {"CLIP-T": "clip-t", "CLIP-I": "clip-i", "AES": "aes"}
    return [Row(label, "", PACKAGE_OF[name], ours[label], oracle.theirs(name), 1e-5) for label, name in names.items()]


def pickscore(oracle: Oracle) -> Any:
    return loaded(PickScoreClip.from_state(oracle.weights("pickscore/model.safetensors"), huge_config("small")))


def pickscore_rows(oracle: Oracle) -> list[Row]:
    """About 100 times the cosine, so 1e-5 of a cosine is 1e-3 here."""
    network = pickscore(oracle)
    ours = (network.images(oracle.images())["scaled"].astype(float) * network.texts(oracle.captions())).sum(axis=1)
    return [Row("PickScore", "", "transformers", ours, oracle.theirs("pickscore"), 1e-3)]


def hpsv2(oracle: Oracle, name: str) -> ClipNetwork:
    antialias = "legacy" if name.endswith("legacy") else "modern"
    return loaded(HPSv2Clip.from_state(read_tensors(oracle.weights("hpsv2.pt")), huge_config("small"), antialias=antialias))


def hpsv2_rows(oracle: Oracle) -> list[Row]:
    """The cosine, of which papers print a hundredfold; hpsv2 fails on an image with alpha, so that is compared as RGB."""
    rows = []
    for name, variant in (("hpsv2", "modern antialias"), ("hpsv2 legacy", "legacy antialias")):
        network = hpsv2(oracle, name)
        ours = (network.images(oracle.images())["embedding"].astype(float) * network.texts(oracle.captions())).sum(axis=1)
        theirs = oracle.theirs(name)
        taken = ~np.isnan(theirs)
        rows.append(Row("HPSv2", variant, "hpsv2", ours[taken], theirs[taken], 1e-5))
    return rows


def reward(oracle: Oracle) -> Any:
    vocabulary = Path(oracle.answers["vocabulary"])
    return ImageRewardBlip.from_state(read_tensors(oracle.weights("imagereward.pt")), vocabulary=vocabulary)


def reward_rows(oracle: Oracle) -> list[Row]:
    network = loaded(reward(oracle))
    ours = (network.images(oracle.images(), oracle.captions())["reward"][:, 0].astype(float) - MEAN) / STD
    return [Row("ImageReward", "true size", "image-reward", ours, oracle.theirs("image-reward"), 1e-5)]


def inception_rows(oracle: Oracle) -> list[Row]:
    rows = []
    state = read_tensors(oracle.weights("inception.pth"))
    for package in PACKAGES:
        resize: Any = "clean" if package == "clean-fid" else package
        network = loaded(Inception.from_state(state, resize=resize))
        folders = [oracle.few if package == "torch-fidelity" else oracle.sets[0], oracle.sets[1]]
        both = [network.images([Image.open(path) for path in sorted(Path(folder).iterdir())]) for folder in folders]
        first, second = (part["pool"].astype(np.float64) for part in both)
        with np.load(oracle.folder / f"{package}.npz") as content:
            theirs = np.concatenate([content["first"], content["second"]])
        rows.append(Row("Inception features", resize, package, np.concatenate([first, second]), theirs, 1e-3))
        answer = oracle.answers["sets"][package]
        values = {"fid": frechet_distance(first, second)}
        if package == "torch-fidelity":
            values["kid"] = kernel_inception_distance(first, second, np.arange(len(first)), size=SUBSET)[0]
            values["is"] = inception_score(both[0]["probabilities"].astype(np.float64), SPLITS)
        for key, value in values.items():
            tolerance = 1e-5 if key == "kid" else 1e-3
            rows.append(Row(key.upper(), resize, package, np.array(value), np.array(answer[key]), tolerance))
    return rows


def distance_rows(oracle: Oracle) -> list[Row]:
    with np.load(oracle.folder / "features.npz") as content:
        first, second = (fitted([content[name].astype(np.float64)]) for name in ("first", "second"))
    value = np.array(distance(first, second))
    answers = oracle.answers["distances"]
    return [
        Row("Fréchet distance", f"2,500 x 2,048 features, {package}", package, value, np.array(answers[package]["value"]), 1e-3)
        for package in ("clean-fid", "torch-fidelity")
    ]


def table(oracle: Oracle, rows: dict[str, Row]) -> str:
    """The document."""
    versions = oracle.answers["versions"]
    own = {name: version(name) for name in ("torch", "torchvision", "transformers", "open-clip-torch", "timm", "pillow", "numpy")}
    lines = [
        PREFACE,
        "| metric | variant | package | values | spread | largest difference | tolerance |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        numbers = f"{row.theirs.size:,} | {row.spread:.3g} | {row.difference:.1e} | {row.tolerance:.0e}"
        lines.append(f"| {row.metric} | {row.variant} | {row.package} | {numbers} |")
    told = [", ".join(f"{name} {number}" for name, number in part.items()) for part in (own, versions)]
    lines += [
        "",
        f"Ours: {told[0]}.",
        "",
        f"The official packages: {told[1]} (torch and torchvision are the same on both sides).",
    ]
    return "\n".join(lines) + "\n"


PREFACE = """# Parity with the official packages

Written by `python tests/oracle/parity.py docs/parity.md FOLDER`; `pytest -m slow tests/oracle` holds every line to its tolerance.

Both sides load the same random weights (ImageReward and Inception at their true size, the others narrower, of the same
architecture) and score the same images with the same captions: square, wide, tall and tiny images, one a single pixel wide,
alpha, palette, grey and CMYK; captions of 0, 35, 36, 77, 78 and 500 tokens, emoji, Chinese, entities and typographic signs.
*Spread* is the range of the official values, beside which a difference is to be seen; for a single value it is the value itself.
Pixels are the networks' inputs, in units of a pixel's full range. HPSv2 is the cosine that `hpsv2` answers with; tables print it
times 100.

What the official code cannot take: `hpsv2` fails on an image with alpha, which is compared as RGB; `torch-fidelity` divides by
zero on an image of one pixel's width, which is left out there. `legacy antialias` is `hpsv2` with the default that torchvision
had before 0.17. clean-fid's TorchScript network is replaced by a trace of pytorch-fid's, of which it is a copy.
"""


def all_rows(oracle: Oracle) -> dict[str, Row]:
    """The comparisons, pixels last."""
    extractors: dict[str, Callable[[], Any]] = {
        "clip-t": lambda: clip(oracle),
        "pickscore": lambda: pickscore(oracle),
        "hpsv2": lambda: hpsv2(oracle, "hpsv2"),
        "hpsv2 legacy": lambda: hpsv2(oracle, "hpsv2 legacy"),
        "image-reward": lambda: reward(oracle),
    }
    inputs = {f"pixels of {name}": oracle.pixels(name, make()) for name, make in extractors.items()}
    return {**oracle.rows, **inputs}


def main() -> None:
    """Measure and write the document."""
    torch.set_num_threads(1)
    out, work = Path(sys.argv[1]), Path(sys.argv[2])
    oracle = Oracle(environment.build(work / "environment"), work)
    out.write_text(table(oracle, all_rows(oracle)))


if __name__ == "__main__":
    main()
