"""How an image becomes a network's input: ``exact``, by PIL on the CPU as the official code does it, or ``fast``, on the device.

Both give arrays of one size, RGB in 0..255; ``fast`` repeats PIL's two passes with their rounding in floating point and stays
within one step of 255 (two for one value in some hundred thousand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.extractors.base import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[Any]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Fit(Protocol):
    """Brings images of any size to a network's."""

    def exact(self, image: Image.Image) -> Pixels:
        """One image of any mode: uint8 ``(H, W, 3)``, or float32 where the definition does not round."""

    def fast(self, images: Tensor) -> Tensor:
        """RGB images of one size on a device, uint8 ``(B, 3, h, w)``: float32 ``(B, 3, H, W)``, of the same values."""


@dataclass(frozen=True)
class ShortSide:
    """PIL bicubic to a short side, then the square in the centre.

    Attributes:
        side: of the square, in pixels.
        hub: as transformers' CLIPImageProcessor: RGB first, and the crop starts at half the margin rounded down. Otherwise as
            torchvision's Resize and CenterCrop: the image's own mode (palette, alpha) is resized, RGB comes last, and the half
            is rounded to even.
    """

    side: int
    hub: bool = False

    def exact(self, image: Image.Image) -> Pixels:
        """uint8 ``(side, side, 3)``."""
        if self.hub:
            image = image.convert("RGB")
        height, width = self._size(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        top, left = self._start(height), self._start(width)
        return np.asarray(image.crop((left, top, left + self.side, top + self.side)).convert("RGB"))

    def fast(self, images: Tensor) -> Tensor:
        """float32 ``(B, 3, side, side)``."""
        height, width = self._size(*images.shape[-2:])
        top, left = self._start(height), self._start(width)
        return resized(images, height, width)[..., top : top + self.side, left : left + self.side]

    def _size(self, height: int, width: int) -> tuple[int, int]:
        long = int(self.side * max(height, width) / min(height, width))
        return (self.side, long) if height <= width else (long, self.side)

    def _start(self, length: int) -> int:
        return (length - self.side) // 2 if self.hub else round((length - self.side) / 2)


@dataclass(frozen=True)
class LongSide:
    """Bicubic on the tensor to a long side, centred on black; without rounding, so values may leave 0..255.

    Attributes:
        side: of the square, in pixels.
        antialias: torchvision's default since 0.17; before, tensors were resized without.
    """

    side: int
    antialias: bool = True

    def exact(self, image: Image.Image) -> Pixels:
        """float32 ``(side, side, 3)``."""
        import torch

        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        fitted: Pixels = self.fast(pixels[None])[0].permute(1, 2, 0).numpy()
        return fitted

    def fast(self, images: Tensor) -> Tensor:
        """float32 ``(B, 3, side, side)``."""
        from torch.nn.functional import interpolate, pad

        height, width = images.shape[-2:]
        scale = self.side / max(height, width)
        new = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = images.float()
        if new != (height, width):
            pixels = interpolate(pixels, new, mode="bicubic", antialias=self.antialias)
        down, right = self.side - new[0], self.side - new[1]
        return pad(pixels, (right // 2, right - right // 2, down // 2, down - down // 2))


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """PIL's bicubic resize of uint8 ``(B, 3, h, w)`` on a device: float32 ``(B, 3, height, width)`` of whole values in 0..255.

    PIL resizes rows, rounds and cuts to 8 bits, then columns; without that step in between sharp edges differ by several values.
    """
    from torch.nn.functional import interpolate

    pixels = images.float()
    for size in ((pixels.shape[-2], width), (height, width)):
        if size != tuple(pixels.shape[-2:]):
            pixels = interpolate(pixels, size, mode="bicubic", antialias=True).add_(0.5).floor_().clamp_(0, 255)
    return pixels


def fitted(prepared: Sequence[Pixels], fit: Fit, preprocess: Preprocess, device: str) -> Tensor:
    """A batch on a device: float32 ``(B, 3, H, W)`` in 0..255, in the order given.

    Args:
        prepared: of :func:`prepared_by`; for ``fast`` images may differ in size, and those of one size are resized together.
        fit: the network's.
        preprocess: what the images were prepared for.
        device: a torch device.
    """
    import torch

    def moved(arrays: Sequence[Pixels]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device).permute(0, 3, 1, 2)

    if preprocess == "exact":
        return moved(prepared).float()
    done: list[Tensor | None] = [None] * len(prepared)
    for shape in dict.fromkeys(array.shape for array in prepared):
        same = [index for index, array in enumerate(prepared) if array.shape == shape]
        for index, image in zip(same, fit.fast(moved([prepared[index] for index in same])), strict=True):
            done[index] = image
    return torch.stack([image for image in done if image is not None])


def prepared_by(fit: Fit, preprocess: Preprocess, image: Image.Image) -> Pixels:
    """The part of the work that a thread on the CPU does for one image: all of it for ``exact``, only decoding for ``fast``.

    What the device would not do alike is done exactly: images with a palette or alpha, which are resized before they become RGB,
    and tall ones, whose columns Pillow resizes before their rows.
    """
    if preprocess == "fast" and image.mode == "RGB" and image.height <= 2 * image.width:
        return np.asarray(image)
    return fit.exact(image)


def normalised(pixels: Tensor, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD) -> Tensor:
    """Values of 0..255 scaled to 0..1, less ``mean``, over ``std``, each of a channel."""
    scaled = pixels / 255
    shape = (-1, 1, 1)
    return (scaled - scaled.new_tensor(mean).view(shape)) / scaled.new_tensor(std).view(shape)
