"""The autoencoder: 32 x 32 RGB to 8 x 8 latents."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from afa_bench.mini.recipe.loop import Losses, Report, fit
from afa_bench.mini.recipe.muon import Muon
from afa_bench.mini.recipe.settings import PartTraining

PLAIN = ("conv_in", "conv_out", "quant")  # layers which AdamW trains


def new_vae(channels: int, widths: tuple[int, ...]) -> AutoencoderKL:
    """An untrained AutoencoderKL of Stable Diffusion's design."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=32,
    )


def to_model(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def train_vae(
    vae: AutoencoderKL, images: Tensor, weight: Tensor, part: PartTraining, checkpoint: Path, report: Report | None = None
) -> Losses:
    """Train on squared and absolute error with a light KL term, then centre, scale the latents; images (N, 32, 32, 3) uint8."""

    def loss(rng: torch.Generator) -> Tensor:
        picks = torch.multinomial(weight, part.batch, replacement=True, generator=rng)
        x = to_model(images[picks])
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=rng)
        y = vae.decode(posterior.mean + posterior.std * noise).sample
        total: Tensor = mse_loss(y, x) + 0.1 * l1_loss(y, x) + 2e-4 * posterior.kl().mean() / x[0].numel()
        return total

    optimizer = Muon([vae], lr=part.lr, adam_lr=part.adam_lr, plain=PLAIN)
    log = fit(
        [vae], optimizer, loss, steps=part.steps, seed=part.seed, checkpoint=checkpoint, warmup=50, ema=part.ema, report=report
    )
    _standardise(vae, images[torch.multinomial(weight, min(2048, len(images)), generator=torch.Generator().manual_seed(0))])
    return log


@torch.no_grad()
def _standardise(vae: AutoencoderKL, images: Tensor) -> None:
    """Move the latents' mean into the two 1x1 convolutions around them and set ``scaling_factor`` so that their variance is 1."""
    latents = torch.cat([vae.encode(to_model(batch)).latent_dist.mean for batch in images.split(64)])
    mean = latents.mean(dim=(0, 2, 3))
    vae.quant_conv.bias[: len(mean)] -= mean
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.register_to_config(scaling_factor=1 / (latents - mean[None, :, None, None]).std().item())


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """(N, 32, 32, 3) uint8 to scaled latents (N, C, 8, 8): the posterior's means."""
    latents = torch.cat([vae.encode(to_model(batch)).latent_dist.mean for batch in images.split(64)])
    return latents.mul_(vae.config.scaling_factor)


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean over the images of the reconstruction's peak signal-to-noise ratio, in dB."""
    values = []
    for batch in images.split(64):
        x = to_model(batch)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(-10 * torch.log10(((y - x) / 2).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)))
    return torch.cat(values).mean().item()
