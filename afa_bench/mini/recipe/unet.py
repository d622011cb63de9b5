"""The U-Nets: Stable Diffusion 1.5's topology, 12 + 1 + 12 blocks, on 8 x 8 latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from afa_bench.mini.recipe.loop import Losses, Report, fit, generator, rank_and_world
from afa_bench.mini.recipe.muon import Muon
from afa_bench.mini.recipe.settings import PartTraining

PLAIN = ("conv_in", "conv_out", "time_embedding")  # layers which AdamW trains
TEXT_DROPOUT = 0.1
SNR_CAP = 5.0  # min-SNR loss weighting (Hang et al., 2023)
TIMESTEPS = (60, 185, 310, 435, 560, 685, 810, 935)  # at which the held-out loss is measured

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]  # noisy latents, timesteps, text states -> noise


def new_unet(channels: int, widths: tuple[int, ...], text_width: int) -> UNet2DConditionModel:
    """An untrained U-Net."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=2,
        cross_attention_dim=text_width,
        attention_head_dim=2,  # the number of heads, in diffusers' U-Net; four are a tenth slower on a CPU
        norm_num_groups=8,
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, sampled by DDIM."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_unet(
    unet: UNet2DConditionModel,
    latents: Tensor,
    text: Callable[[Tensor], Tensor],
    weight: Tensor,
    part: PartTraining,
    checkpoint: Path,
    encoder: CLIPTextModel | None = None,
    report: Report | None = None,
) -> Losses:
    """Train on the noise (equation 12 of the paper, weighted by min-SNR); in parallel where processes were started together.

    Args:
        unet: trained in place.
        latents: (N, C, 8, 8), scaled.
        text: rows -> their text states (B, L, D); row -1 is the empty prompt.
        weight: (N,) how often each pair is drawn.
        part: batch, steps, learning rates; the batch is shared by the processes.
        checkpoint: the state's file.
        encoder: a text encoder that ``text`` uses and that is trained along.
        report: progress.
    """
    schedule = scheduler()
    alphas = schedule.alphas_cumprod
    caps = (SNR_CAP * (1 - alphas) / alphas).clamp(max=1)
    batch = part.batch // rank_and_world()[1]

    def loss(rng: torch.Generator) -> Tensor:
        picks = torch.multinomial(weight, batch, replacement=True, generator=rng)
        t = torch.randint(len(alphas), (batch,), generator=rng)
        noise = torch.randn((batch, *latents.shape[1:]), generator=rng)
        dropped = torch.rand(batch, generator=rng) < TEXT_DROPOUT
        states = text(torch.where(dropped, -1, picks))
        predicted: Tensor = unet(schedule.add_noise(latents[picks], noise, t), t, states).sample
        value: Tensor = (caps[t] * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()
        return value

    modules: list[nn.Module] = [unet] if encoder is None else [unet, encoder]
    plain = (*PLAIN, "text_model", "embeddings", "encoder.layers", "final_layer_norm")
    optimizer = Muon(modules, lr=part.lr, adam_lr=part.adam_lr, plain=plain)
    return fit(
        modules,
        optimizer,
        loss,
        steps=part.steps,
        seed=part.seed,
        checkpoint=checkpoint,
        cosine=part.cosine,
        cooldown=part.cooldown,
        ema=part.ema,
        report=report,
    )


@torch.no_grad()
def losses(denoise: Denoise, latents: Tensor, states: Tensor, seed: int = 0) -> Tensor:
    """The plain squared error on the noise, (N, 8): every pair at the same 8 timesteps, with the same noise for every method."""
    schedule = scheduler()
    noise = torch.randn((len(TIMESTEPS), *latents.shape), generator=generator(seed, 0))
    columns = []
    for t, eps in zip(TIMESTEPS, noise, strict=True):
        parts = []
        for rows in torch.arange(len(latents)).split(64):
            times = torch.full((len(rows),), t)
            noisy = schedule.add_noise(latents[rows], eps[rows], times)
            parts.append((denoise(noisy, times, states[rows]) - eps[rows]).square().mean(dim=(1, 2, 3)))
        columns.append(torch.cat(parts))
    return torch.stack(columns, dim=1)


def stock(unet: UNet2DConditionModel) -> Denoise:
    """One model as a denoiser."""
    return lambda noisy, times, states: unet(noisy, times, states).sample


def noise_average(unets: Sequence[UNet2DConditionModel]) -> Denoise:
    """The mean of the models' noises."""
    return lambda noisy, times, states: torch.stack([unet(noisy, times, states).sample for unet in unets]).mean(dim=0)


def weighted(unets: Sequence[UNet2DConditionModel]) -> UNet2DConditionModel:
    """One U-Net whose weights are the mean of the models'."""
    merged = UNet2DConditionModel.from_config(unets[0].config)
    states = [unet.state_dict() for unet in unets]
    merged.load_state_dict({name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]})
    return merged.eval()


@torch.no_grad()
def encode_text(encoder: CLIPTextModel, ids: Tensor) -> Tensor:
    """Text states (N, L, D) of token ids (N, L): the encoder's last hidden state."""
    encoder.eval()
    return torch.cat([encoder(batch).last_hidden_state for batch in ids.split(256)])
