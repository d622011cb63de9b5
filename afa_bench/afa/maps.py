"""Where and when SABW gives each model its weight (the paper, figure 6): maps recorded while an image is sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from afa_bench.afa.method import AFA, AFAOptions
from afa_bench.errors import UserError
from afa_bench.models.load import LoadedGroup
from afa_bench.models.sampler import Sampler
from afa_bench.models.sampling import check_sampling


@dataclass(frozen=True)
class Maps:
    """The maps of one image.

    Attributes:
        prompt: what was drawn.
        models: names, in their order.
        blocks: which blocks of the ensemble, from 0.
        names: of all its blocks, as the architecture's view has them.
        steps: which sampling steps, from 1.
        timesteps: of these steps.
        weights: for each block ``(steps, N, h, w)``: N maps which sum to 1 at every place.
        image: the finished image, ``(H, W, 3)``.
    """

    prompt: str
    models: Sequence[str]
    blocks: Sequence[int]
    names: Sequence[str]
    steps: Sequence[int]
    timesteps: Sequence[int]
    weights: Sequence[NDArray[np.float32]]
    image: NDArray[np.uint8]


@torch.no_grad()
def attention_maps(
    loaded: LoadedGroup,
    prompt: str,
    size: int,
    *,
    blocks: Sequence[int],
    steps: Sequence[int],
    of: int = 50,
    guidance: float = 7.5,
    seed: int = 0,
    options: AFAOptions | None = None,
) -> Maps:
    """Sample an image of a prompt by the architecture's own scheduler and keep the maps for the prompt (with guidance, not those
    for the empty prompt).

    Args:
        loaded: a group with an aggregator of its own, if ``options`` name none.
        prompt: what to draw.
        size: height and width in pixels.
        blocks: of the ensemble; negative ones count from the end.
        steps: from 1 to ``of``.
        of: number of sampling steps.
        guidance: classifier-free guidance scale.
        seed: of the initial noise.
        options: which aggregator.

    Raises:
        UserError: no aggregator, a block or step that there is not, more steps or another size than can be sampled, or an image
            that is not finite.
    """
    architecture = loaded.group.family
    check_sampling(loaded.group, Sampler(scheduler=architecture.scheduler), [of], [size])
    if not (math.isfinite(guidance) and guidance >= 0):
        raise UserError(f"maps: guidance: {guidance:g}; expected a finite number from 0 on")
    denoiser = AFA().build(loaded.group, loaded.models, options or AFAOptions())
    ensemble: Any = denoiser.unet
    count = len(ensemble.views[0])
    wrong = [block for block in blocks if not -count <= block < count]
    if wrong or not blocks:
        raise UserError(f"maps: blocks: {', '.join(map(str, wrong)) or 'none'}; expected numbers from {-count} to {count - 1}")
    if not steps or any(not 1 <= step <= of for step in steps):
        raise UserError(f"maps: steps: {', '.join(map(str, steps)) or 'none'}; expected numbers from 1 to {of}")
    pipeline = loaded.pipeline(denoiser.unet, denoiser.text_encoders, architecture.scheduler)
    with ensemble.aggregator.record() as recorded:
        image = pipeline(
            **Sampler().conditions(loaded.group)([prompt], loaded.tokenizers, denoiser.text_encoders, guided=guidance > 1),
            generator=torch.Generator().manual_seed(seed),
            num_inference_steps=of,
            guidance_scale=guidance,
            height=size,
            width=size,
            output_type="np",
        ).images[0]
    if not np.isfinite(image).all():
        raise UserError("maps: the image is not finite; expected another seed, guidance or device")
    chosen = [block % count for block in blocks]
    if missing := [block for block in chosen if block not in recorded]:
        raise UserError(f"maps: blocks: {missing[0]} is not aggregated; expected one of {', '.join(map(str, sorted(recorded)))}")
    return Maps(
        prompt=prompt,
        models=[model.name for model in loaded.models],
        blocks=chosen,
        names=[block.name for block in ensemble.views[0]],
        steps=list(steps),
        timesteps=[int(pipeline.scheduler.timesteps[step - 1]) for step in steps],
        weights=[_of_prompt(recorded[block], steps) for block in chosen],
        image=(image * 255).round().astype(np.uint8),
    )


def _of_prompt(calls: Sequence[Tensor], steps: Sequence[int]) -> NDArray[np.float32]:
    """``(steps, N, h, w)`` of one call a step; the prompt's rows are the last of a batch."""
    maps: NDArray[np.float32] = torch.stack([calls[step - 1][-1] for step in steps]).float().numpy()
    return maps
