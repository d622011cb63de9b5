"""The zoo's own small CLIP, of another seed than the pipelines' text encoder: stands in for ViT-L/14 in the mini suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.extractors.base import Arrays, Extractor
from afa_bench.extractors.network import lengths


class MiniClip(Extractor):
    """L2-normalised embeddings of the zoo's evaluator (docs/mini.md); images are resized to its input (PIL bicubic)."""

    name: ClassVar[str] = "mini-clip"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = "mini"
    gives: ClassVar[Mapping[str, int | None]] = {"embedding": None}

    def weights(self) -> Mapping[str, Path]:
        """The evaluator's folder in the zoo."""
        from afa_bench.paths import zoo

        return {"evaluator": zoo() / "evaluator"}

    def load(self, device: str) -> None:
        """Bring the network into memory."""
        from transformers import CLIPModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = str(self.weights()["evaluator"])
        self.model = CLIPModel.from_pretrained(folder, local_files_only=True).float().eval().requires_grad_(False).to(device)
        self.device = device

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(str(self.weights()["evaluator"]), local_files_only=True)

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """Texts whose end is cut off."""
        length = self.tokenizer.model_max_length
        return sum(count > length for count in lengths(self.tokenizer, texts, length + 1)), length

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """``(side, side, 3)``."""
        side = self.model.config.vision_config.image_size
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))

    def encode(self, prepared: Sequence[NDArray[np.uint8]], captions: Sequence[str] = ()) -> Arrays:
        """``embedding`` ``(B, D)``."""
        import torch

        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).to(self.device).float() / 127.5 - 1
        with torch.no_grad():
            pooled = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
            return {"embedding": torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()}

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(B, D)``; long texts are cut to the tokenizer's length."""
        import torch

        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            pooled = self.model.text_projection(self.model.text_model(input_ids=tokens.input_ids.to(self.device)).pooler_output)
            embeddings: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return embeddings
