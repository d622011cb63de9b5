"""Which model denoises best where (the paper, figure 1): the share of wins by prompt, noise, step and place.

At every place of the latent map the model with the least squared error of its prediction wins. That the winners change with the
prompt, the noise, the step and the place is why an ensemble should weigh its models by all four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from afa_bench.architectures.objective import Conditions, Objective
from afa_bench.errors import UserError
from afa_bench.identity import seed_of
from afa_bench.images.stored import shown
from afa_bench.models.load import LoadedGroup
from afa_bench.prompts.base import Prompt
from afa_bench.training.cache import Encoding, side_by_side

Winners = NDArray[np.int64]


@dataclass(frozen=True)
class Wins:
    """Winners at every place.

    Attributes:
        models: names, in their order.
        prompts: their texts.
        images: of the prompts, ``(H, W, 3)``.
        timesteps: at which the images were noised.
        winners: numbers of models, ``(prompts, timesteps, noises, h, w)``.
    """

    models: Sequence[str]
    prompts: Sequence[str]
    images: Sequence[NDArray[np.uint8]]
    timesteps: Sequence[int]
    winners: Winners

    def shares(self, *kept: int, of: Winners | None = None) -> NDArray[np.float64]:
        """The models' shares of wins, ``(*kept, N)``: over all axes of ``winners`` but those kept."""
        winners = self.winners if of is None else of
        others = tuple(axis for axis in range(winners.ndim) if axis not in kept)
        return np.stack([(winners == model).mean(axis=others) for model in range(len(self.models))], axis=-1)

    def table(self, patches: int = 4) -> dict[str, Any]:
        """All shares: overall, by prompt, noise, timestep, and place, which is one of ``patches`` x ``patches`` parts."""

        def named(shares: NDArray[np.float64]) -> dict[str, float]:
            return dict(zip(self.models, shares.tolist(), strict=True))

        rows, columns = (np.array_split(np.arange(side), patches) for side in self.winners.shape[-2:])
        return {
            "overall": named(self.shares()),
            "by_prompt": {prompt: named(row) for prompt, row in zip(self.prompts, self.shares(0), strict=True)},
            "by_timestep": {str(t): named(row) for t, row in zip(self.timesteps, self.shares(1), strict=True)},
            "by_noise": [named(row) for row in self.shares(2)],
            "by_place": [
                [named(self.shares(of=self.winners[..., row[:, None], column])) for column in columns if len(column)]
                for row in rows
                if len(row)
            ],
        }


@torch.no_grad()
def denoising_wins(
    loaded: LoadedGroup,
    prompts: Sequence[Prompt],
    size: int,
    *,
    timesteps: Sequence[int],
    noises: int = 8,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Wins:
    """Noise each prompt's image, let every model predict, and note who is nearest at each place.

    Args:
        loaded: the models, each with its own text encoder.
        prompts: all with an image, of which a square of ``size`` pixels is taken.
        size: in pixels.
        timesteps: at which to noise.
        noises: draws for each image and timestep; the same for all models.
        seed: of the noises.
        advance: called after each prompt and timestep.

    Raises:
        UserError: an image that cannot be read, or a timestep that there is not.
    """
    unets, encoders = [model.unet for model in loaded.models], [model.text_encoder for model in loaded.models]
    like = next(unets[0].parameters())
    encoding = Encoding.of(loaded, encoders, size)
    objective = loaded.group.family.objective(loaded.scheduler, unets[0])
    wrong = [step for step in timesteps if not 0 <= step < objective.timesteps]
    if wrong or not timesteps:
        raise UserError(f"wins: timesteps: {', '.join(map(str, wrong)) or 'none'}; expected numbers below {objective.timesteps}")
    winners, images = [], []
    for prompt in prompts:
        found = encoding.image(prompt)
        latents = found.pop("latents").to(like.device)
        conditions = {**encoding.texts([prompt.text]), **found}
        own = [
            {name: value.to(like).expand(noises, *value.shape[1:]) for name, value in side_by_side(conditions, [place]).items()}
            for place in encoding.places
        ]
        drawn = [torch.randn(latents.shape[1:], generator=_generator(seed, prompt.id, number)) for number in range(noises)]
        noise = torch.stack(drawn).to(latents)
        for step in timesteps:
            times = torch.full((noises,), step, device=latents.device)
            noisy = objective.noisy(latents.expand_as(noise), noise, times).to(like.dtype)
            target = objective.target(latents.expand_as(noise), noise, times)
            winners.append(_winners(objective, unets, noisy, times, own, target))
            advance()
        images.append(np.asarray(shown(prompt.image or b"", prompt.id)))
    shape = (len(prompts), len(timesteps), *winners[0].shape)
    names = [model.name for model in loaded.models]
    return Wins(names, [prompt.text for prompt in prompts], images, list(timesteps), torch.stack(winners).view(shape).numpy())


def _winners(
    objective: Objective, unets: Sequence[Any], noisy: Tensor, times: Tensor, conditions: Sequence[Conditions], target: Tensor
) -> Tensor:
    """``(noises, h, w)``: the number of the model with the least squared error, the first of equals."""
    errors = []
    for unet, own in zip(unets, conditions, strict=True):
        predicted = objective.predict(unet, noisy, times, own)
        errors.append((predicted.float() - target.float()).square().mean(dim=1).cpu())
    return torch.stack(errors).argmin(dim=0)


def _generator(seed: int, prompt: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, prompt, "noise", number))
