"""How images are sampled, as a suite's ``sampler`` says it: by the names, and in the meaning, of the stock pipelines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from afa_bench.architectures.reading import Reading
from afa_bench.models.sampler_names import meant_by

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.models.group import Group

FIRST = ("scheduler", "guidance", "negative_prompt")
"""What is part of every identity; the other settings are where they are not the usual ones."""


def _scheduler(name: str) -> str:
    if found := meant_by(name):
        raise ValueError(f"expected the class name of a diffusers scheduler, found {name!r}: did you mean {found}?")
    return name


class Sampler(BaseModel):
    """How images are sampled.

    Attributes:
        scheduler: the class name of a diffusers scheduler; what is not said here is as the pipeline folder's file has it.
        guidance: classifier-free guidance scale; 1 or less samples without guidance.
        negative_prompt: the text of the unconditional half.
        sigmas: how the noise levels are spaced, of a scheduler with such a setting (``use_karras_sigmas``).
        timestep_spacing: how the timesteps are.
        eta: the share of fresh noise in each step, of a scheduler that takes it (DDIM, TCD).
        guidance_rescale: how far guided predictions are scaled back to the deviation of the conditional ones.
        clip_skip: so many of the text encoders' last layers are left out: 1 is what web UIs call a clip skip of 2.
        force_zeros_for_empty_prompt: whether zeros stand for an empty negative prompt, in SDXL; None: as the pipeline has it.
        long_prompts: whether what a text encoder has no room for is cut, or read in pieces, as web UIs do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduler: Annotated[str, AfterValidator(_scheduler)] = "DDIMScheduler"
    guidance: Annotated[float, Field(ge=0)] = 7.5
    negative_prompt: str = ""
    sigmas: Literal["karras", "exponential", "beta"] | None = None
    timestep_spacing: Literal["linspace", "leading", "trailing"] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_skip: Annotated[int, Field(ge=1)] | None = None
    force_zeros_for_empty_prompt: StrictBool | None = None
    long_prompts: Literal["cut", "chunks"] = "cut"

    def identity(self) -> dict[str, Any]:
        """What of it fixes images; a setting that is written as it would be without gives the same identity."""
        usual = Sampler().model_dump()
        return {key: value for key, value in self.model_dump().items() if key in FIRST or value != usual[key]}

    @property
    def schedule(self) -> dict[str, str]:
        """Settings of the scheduler."""
        settings = {"sigmas": self.sigmas, "timestep_spacing": self.timestep_spacing}
        return {key: value for key, value in settings.items() if value is not None}

    @property
    def call(self) -> dict[str, float]:
        """Further arguments of the stock pipeline's call."""
        settings = {"eta": self.eta, "guidance_rescale": self.guidance_rescale}
        return {key: value for key, value in settings.items() if value}

    def negative(self, own: str | None) -> str:
        """The text of a prompt's unconditional half: the prompt's own, if it has one."""
        return self.negative_prompt if own is None else own

    def reading(self, group: Group) -> Reading:
        """How texts are read."""
        zeros = self.force_zeros_for_empty_prompt
        return Reading(self.clip_skip, self.long_prompts == "chunks", group.zeros if zeros is None else zeros)

    def conditions(self, group: Group) -> Callable[..., dict[str, Tensor]]:
        """The architecture's ``conditions``, with texts read as this says."""
        reading, architecture = self.reading(group), group.family
        return architecture.conditions if reading == Reading() else partial(reading.conditions, architecture)
