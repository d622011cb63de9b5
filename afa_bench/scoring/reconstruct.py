"""Real images through a pipeline's VAE and back: what the best denoiser of that pipeline could reach."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from afa_bench.images.stored import Picture, shown

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class Reconstructor:
    """A VAE that is loaded when the first image is asked for.

    Args:
        group: the models whose pipeline it is.
        device: a torch device.
    """

    def __init__(self, group: Group, device: str) -> None:
        self.group = group
        self.device = device
        self.lock = Lock()
        self._vae: Any = None

    def __call__(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """RGB images of one size, as the VAE gives them back."""
        import torch

        from afa_bench.models.load import load_vae

        if self._vae is None:
            self._vae = load_vae(self.group, torch.float32).eval().to(self.device)
        batch = np.stack([np.asarray(image) for image in images])
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).to(self.device) / 127.5 - 1
        with torch.no_grad():
            decoded = self._vae.decode(self._vae.encode(pixels).latent_dist.mode()).sample
        back = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(array) for array in back]


class ReconstructedBatch:
    """Pictures that are reconstructed together, when the first of them is asked for, from whichever thread."""

    def __init__(self, pictures: Sequence[Picture], names: Sequence[str], reconstruct: Reconstructor) -> None:
        self.pictures = pictures
        self.names = names
        self.reconstruct = reconstruct
        self._images: list[Image.Image] | None = None

    def image(self, index: int) -> Image.Image:
        with self.reconstruct.lock:
            if self._images is None:
                found = [shown(picture, name) for picture, name in zip(self.pictures, self.names, strict=True)]
                self._images = self.reconstruct(found)
            return self._images[index]
