"""Inception v3's features, which FID, KID and IS are defined with, in the resizes of the three packages that people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from PIL import Image

from afa_bench.extractors.network import Network
from afa_bench.extractors.pixels import Fit, Pixels
from afa_bench.fetch import Source, UrlFile

if TYPE_CHECKING:
    from torch import Tensor, nn

Resize: TypeAlias = Literal["clean", "torch-fidelity", "pytorch-fid"]

CLEAN: Resize = "clean"
SIDE = 299

WEIGHTS = UrlFile(
    address="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


@dataclass
class Inception(Network):
    """``pool`` ``(B, 2048)`` and ``probabilities`` ``(B, 1008)``, of the logits without the last layer's bias, as IS takes them.

    One file of weights serves the three packages; they differ in how an image comes to 299 x 299 and to -1..1.
    """

    name: ClassVar[str] = "inception"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    gives: ClassVar[Mapping[str, int | None]] = {"pool": 2048, "probabilities": 1008}
    config: ClassVar[Mapping[str, Any]] = {}

    resize: Resize = CLEAN

    @property
    def source(self) -> Source:
        """The file that pytorch-fid and torch-fidelity publish."""
        return WEIGHTS

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Inception v3 of 2015."""
        from afa_bench.extractors.inception_network import inception_2015

        return inception_2015()

    def load(self, device: str) -> None:
        """Bring the network into memory, its normalisations folded into its convolutions."""
        from afa_bench.extractors.inception_network import fused

        super().load(device)
        self.model = fused(self.model)

    def fit(self) -> Fit:
        """The package's resize."""
        if self.resize == CLEAN:
            return Clean()
        return Bilinear(half_pixel=self.resize == "pytorch-fid")

    def run(self, pixels: Tensor, captions: Sequence[str]) -> Mapping[str, Tensor]:
        """``pool`` and ``probabilities`` of a batch."""
        from afa_bench.extractors.inception_network import pooled

        centre = 127.5 if self.resize == "pytorch-fid" else 128
        pool = pooled(self.model, (pixels - centre) / centre).float()
        logits = pool @ self.model.fc.weight.T
        return {"pool": pool, "probabilities": logits.double().softmax(dim=1)}


@dataclass(frozen=True)
class Clean:
    """clean-fid's: PIL bicubic of each channel in floating point, cut to 0..255, not rounded."""

    def exact(self, image: Image.Image) -> Pixels:
        """float32 ``(299, 299, 3)``."""
        channels = np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
        sized = [Image.fromarray(channel).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for channel in channels]
        return np.stack([np.asarray(channel) for channel in sized], axis=2).clip(0, 255)

    def fast(self, images: Tensor) -> Tensor:
        """float32 ``(B, 3, 299, 299)``."""
        from torch.nn.functional import interpolate

        return interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True).clamp_(0, 255)


@dataclass(frozen=True)
class Bilinear:
    """Between the two nearest pixels, without antialiasing or rounding.

    Attributes:
        half_pixel: whether pixels' centres lie half a pixel from the border, as in PyTorch; in TensorFlow 1 the first lies on it.
    """

    half_pixel: bool

    def exact(self, image: Image.Image) -> Pixels:
        """float32 ``(299, 299, 3)``."""
        import torch

        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        fitted: Pixels = self.fast(pixels[None])[0].permute(1, 2, 0).numpy()
        return fitted

    def fast(self, images: Tensor) -> Tensor:
        """float32 ``(B, 3, 299, 299)``."""
        from torch.nn.functional import interpolate

        pixels = images.float()
        if self.half_pixel:
            return interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
        for dim in (2, 3):
            pixels = _from_the_border(pixels, dim)
        return pixels


def _from_the_border(pixels: Tensor, dim: int) -> Tensor:
    """Linear interpolation of one dimension to 299, the first sample at the first pixel."""
    import torch

    size = pixels.shape[dim]
    place = torch.arange(SIDE, device=pixels.device, dtype=torch.float64) * size / SIDE
    low = place.long()
    shape = [SIDE if axis == dim else 1 for axis in range(pixels.ndim)]
    weight = (place - low).float().view(shape)
    below, above = pixels.index_select(dim, low), pixels.index_select(dim, (low + 1).clamp_max(size - 1))
    return below + (above - below) * weight
