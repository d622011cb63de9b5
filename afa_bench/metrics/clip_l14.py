"""OpenAI's CLIP ViT-L/14 through open_clip: what CLIP-T and CLIP-I are defined with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.fetch import HubFile, Source, locate
from afa_bench.metrics.base import Extractor

WEIGHTS = HubFile(repo="timm/vit_large_patch14_clip_224.openai", file="open_clip_model.safetensors")


class ClipL14(Extractor):
    """L2-normalised embeddings ``(B, 768)`` of the QuickGELU form of the network; without it the values are wrong.

    Images: PIL bicubic to a short side of 224, centre crop. Texts: cut to 77 tokens, the last one EOT.
    """

    name: ClassVar[str] = "clip-l14"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    architecture: ClassVar[str] = "ViT-L-14-quickgelu"
    mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)

    def sources(self) -> Sequence[Source]:
        """``open_clip_model.safetensors`` of the hub's ``timm/vit_large_patch14_clip_224.openai``."""
        return (WEIGHTS,)

    def weights(self) -> Mapping[str, Path]:
        """The fetched file.

        Raises:
            UserError: it is not there.
        """
        return {"clip-l14": locate(WEIGHTS)}

    def load(self, device: str) -> None:
        """Bring the network and its tokenizer into memory.

        Raises:
            UserError: the file's tensors are not those of this network.
        """
        import open_clip
        from safetensors.torch import load_file
        from torchvision import transforms

        (path,) = self.weights().values()
        self.model: Any = open_clip.create_model(self.architecture, load_weights=False)
        try:
            self.model.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise UserError(f"{path}: expected the tensors of {self.architecture}: {error}") from error
        self.model.eval().requires_grad_(False).to(device)
        self.tokenizer: Any = open_clip.get_tokenizer(self.architecture)
        self.device = device
        side = self.model.visual.image_size[0]
        self.preprocess = transforms.Compose(
            [
                transforms.Resize(side, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(side),
                transforms.ToTensor(),
                transforms.Normalize(self.mean, self.std),
            ]
        )

    def images(self, images: Sequence[Image.Image]) -> Mapping[str, NDArray[np.float32]]:
        """``embedding`` ``(B, D)``."""
        import torch

        pixels = torch.stack([self.preprocess(image) for image in images]).to(self.device)
        with torch.no_grad():
            return {"embedding": self.model.encode_image(pixels, normalize=True).cpu().numpy()}

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(B, D)``."""
        import torch

        with torch.no_grad():
            embeddings: NDArray[np.float32] = self.model.encode_text(self.tokenizer(list(texts)).to(self.device), normalize=True)
            return np.asarray(embeddings.cpu())  # type: ignore[attr-defined]
