"""Checkpoints into memory: a group's models, and the pipeline that all methods share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Model
from afa_bench.models.group import Group
from afa_bench.models.hashing import check_safetensors

if TYPE_CHECKING:
    import torch
    from diffusers import StableDiffusionPipeline


@dataclass
class LoadedGroup:
    """A group in memory: VAE, tokenizer and scheduler are one for all methods, so that only the denoiser differs between them."""

    group: Group
    vae: Any
    tokenizer: Any
    scheduler: Any
    models: list[Model]

    def pipeline(self, denoiser: Denoiser, scheduler: str) -> StableDiffusionPipeline:
        """A stock pipeline around a denoiser, without the safety checker (it would blacken images and spoil the metrics).

        Raises:
            UserError: no such scheduler in diffusers, or one that cannot take this pipeline's configuration.
        """
        import diffusers

        kind = getattr(diffusers, scheduler, None)
        if kind is None or not issubclass(kind, diffusers.SchedulerMixin):
            raise UserError(f"sampler.scheduler: {scheduler!r} is not a scheduler of diffusers {diffusers.__version__}")
        pipeline = diffusers.StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=denoiser.text_encoders[0],
            tokenizer=self.tokenizer,
            unet=denoiser.unet,
            scheduler=kind.from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def load_group(group: Group, device: str, dtype: torch.dtype) -> LoadedGroup:
    """Load all of a group's models onto a device, in eval mode and without gradients.

    Raises:
        UserError: a folder or file is missing, damaged, or of another architecture than it says.
    """
    import diffusers
    import torch
    import transformers
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    for library in (transformers, diffusers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()

    def load(kind: Any, folder: Path) -> Any:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected a {kind.__name__} in the diffusers layout")
        for file in folder.glob("*.safetensors"):
            check_safetensors(file)
        try:
            weights = {} if kind in (CLIPTokenizer, DDIMScheduler) else {"torch_dtype": dtype, "use_safetensors": True}
            if kind is CLIPTextModel:
                weights = {"dtype": dtype, "use_safetensors": True}
            part = kind.from_pretrained(str(folder), local_files_only=True, **weights)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: does not load as {kind.__name__}: {error}") from error
        return part.to(device).eval().requires_grad_(False) if isinstance(part, torch.nn.Module) else part

    text_encoder = load(CLIPTextModel, group.pipeline / "text_encoder")
    models = []
    for ref in group.models:
        own = ref.path / "text_encoder"
        shared = ref.path == group.pipeline or not own.is_dir()
        encoder = text_encoder if shared else load(CLIPTextModel, own)
        models.append(Model(ref.name, load(UNet2DConditionModel, ref.path / "unet"), encoder))
    return LoadedGroup(
        group=group,
        vae=load(AutoencoderKL, group.pipeline / "vae"),
        tokenizer=load(CLIPTokenizer, group.pipeline / "tokenizer"),
        scheduler=load(DDIMScheduler, group.pipeline / "scheduler"),
        models=models,
    )
