"""Flow matching on FLUX' tokens of 2 x 2 latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from typing_extensions import override

from afa_bench.architectures.objective import Conditions, Denoise, Flow


def packed(latents: Tensor) -> Tensor:
    """Image tokens ``(B, H / 2 * W / 2, 4 * C)``, row by row, of latents ``(B, C, H, W)`` with even sides."""
    return pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The latents of which :func:`packed` made so many rows and columns of tokens."""
    return pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), 2)


class FluxFlow(Flow):
    """What a FLUX transformer predicts."""

    @override
    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        text, (rows, columns) = conditions["prompt_embeds"], (side // 2 for side in noisy.shape[-2:])
        sigma = self.sigma(timesteps, noisy)
        tokens = denoise(
            hidden_states=packed(noisy),
            timestep=sigma,
            guidance=None if self.guidance is None else torch.full_like(sigma, self.guidance),
            pooled_projections=conditions["pooled_prompt_embeds"],
            encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=torch.cartesian_prod(torch.zeros(1).long(), torch.arange(rows), torch.arange(columns)).to(noisy),
            return_dict=False,
        )[0]
        return unpacked(tokens, rows, columns)
