"""The zoo as models: what lies in a zoo's folder, loaded in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from afa_bench import registry
from afa_bench.afa.sabw import SABW
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.method import Denoiser, Model
from afa_bench.mini.recipe.dataset import Dataset
from afa_bench.mini.recipe.settings import GROUPS, ROUTERS
from afa_bench.mini.recipe.text import tokens
from afa_bench.mini.recipe.unet import encode_text
from afa_bench.mini.recipe.vae import encode
from afa_bench.models.group import Group, ModelRef
from afa_bench.paths import zoo


class Zoo:
    """A zoo's folder: the one that ships with the package by default."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or zoo()

    @cached_property
    def heldout(self) -> Dataset:
        """The held-out pairs."""
        return Dataset.from_table(self.root / "heldout.parquet")

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer."""
        return CLIPTokenizer.from_pretrained(self.root / "base" / "tokenizer")

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The autoencoder."""
        return AutoencoderKL.from_pretrained(self.root / "base" / "vae", torch_dtype=torch.float32).eval()

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        """The text encoder of all pipelines."""
        return CLIPTextModel.from_pretrained(self.root / "base" / "text_encoder", dtype=torch.float32).eval()

    def states(self, captions: Sequence[str]) -> Tensor:
        """Text states (N, L, D) of captions."""
        return encode_text(self.text_encoder, tokens(self.tokenizer, captions))

    def heldout_latents(self, rows: Sequence[int]) -> Tensor:
        """Scaled latents (N, C, 8, 8) of held-out images."""
        return encode(self.vae, torch.from_numpy(self.heldout.images[list(rows)]))

    def heldout_states(self, rows: Sequence[int]) -> Tensor:
        """Text states (N, L, D) of held-out captions."""
        return self.states([self.heldout.captions[row] for row in rows])

    def unet(self, folder: str) -> UNet2DConditionModel:
        """A U-Net: of ``base``, ``generalist`` or ``mini-1/people``."""
        return UNet2DConditionModel.from_pretrained(self.root / folder / "unet", torch_dtype=torch.float32).eval()

    def experts(self, group: str) -> list[UNet2DConditionModel]:
        """A group's models in their order."""
        return [self.unet(f"{group}/{name}") for name in GROUPS[group]]

    def group(self, name: str) -> Group:
        """A group as methods know it."""
        models = tuple(ModelRef(name=model, path=self.root / name / model) for model in GROUPS[name])
        trained = {method: self.root / name / method for method in ROUTERS}
        return Group(name=name, pipeline=self.root / "base", models=models, sabw=self.root / name / "sabw", trained=trained)

    def built(self, group: str, method: str) -> nn.Module:
        """The denoiser of a registered method, with its default options."""
        kind = registry.load("methods", method)
        models = [Model(name, unet, self.text_encoder) for name, unet in zip(GROUPS[group], self.experts(group), strict=True)]
        denoiser: Denoiser = kind().build(self.group(group), models, kind.Options())
        return denoiser.unet

    def sabw(self, group: str) -> SABW:
        """A group's trained aggregator."""
        sabw: SABW = SABW.read(self.root / group / "sabw")
        return sabw

    def ensemble(self, group: str) -> EnsembleUNet:
        """AFA of a group."""
        return EnsembleUNet(self.experts(group), self.sabw(group)).eval()  # type: ignore[no-any-return]
