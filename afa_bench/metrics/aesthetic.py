"""AES: the LAION aesthetic predictor (Schuhmann 2022), a regression of people's ratings of images on their CLIP embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.extractors.base import Floats
from afa_bench.extractors.network import State, read_tensors
from afa_bench.fetch import Source, UrlFile, locate
from afa_bench.metrics.base import Features, Metric

WEIGHTS = UrlFile(
    address="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/main/"
    "sac%2Blogos%2Bava1-l14-linearMSE.pth",
    size=3_714_759,
    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
)

LAYERS = (0, 2, 4, 6, 7)
"""Places of the linear layers among the predictor's modules; those between are dropout."""


class Aesthetic(Metric):
    """The predicted rating (1 to 10) of the L2-normalised ViT-L/14 embedding. It sees no prompt."""

    label: ClassVar[str] = "AES"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 2
    reads: ClassVar[str] = "embedding"

    features: str = "clip-l14"

    @override
    def sources(self) -> Sequence[Source]:
        return (*super().sources(), WEIGHTS)

    @override
    def weights(self) -> Mapping[str, Path]:
        return {"aesthetic": locate(WEIGHTS)}

    @override
    def per_sample(self, features: Features) -> Floats:
        path = self.weights()["aesthetic"]
        tensors = read_tensors(path)
        try:
            weight, bias = folded(tensors)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: expected the tensors of the aesthetic predictor: {error}") from error
        return features.generated(self.reads) @ weight + bias


def folded(state: State) -> tuple[Floats, float]:
    """The five linear layers, with nothing but dropout between them, as one: weights ``(D,)`` and a bias, in fp64.

    Raises:
        KeyError, ValueError: other tensors than these layers'.
    """
    expected = {f"layers.{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")}
    if set(state) != expected:
        raise KeyError(f"found {', '.join(sorted(set(state) ^ expected)[:4])} beside or missing")
    bias = np.zeros(0)
    weight = np.zeros((0, 0))
    for layer in LAYERS:
        w, b = (state[f"layers.{layer}.{part}"].double().numpy() for part in ("weight", "bias"))
        weight, bias = (w @ weight, w @ bias + b) if layer else (w, b)
    return weight[0], float(bias[0])
