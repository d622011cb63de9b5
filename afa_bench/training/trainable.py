"""What can be trained: a plug-in that puts a learned part among a group's frozen models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from afa_bench.method import Denoiser, Model, O, Options

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.models.group import Group


@dataclass(frozen=True)
class Learner:
    """A denoiser and the part of it that learns.

    In training mode the denoiser may draw from torch's global generator, in its forward: the loop seeds it before each one from
    the seed, the step and the process, so that a resumed training draws what an uninterrupted one would have.

    Attributes:
        denoiser: as a method builds it: ``denoiser.unet`` is called as ``pipe.unet`` is and returns the prediction that the
            models' scheduler asks for (noise or velocity). It is trained with the text states of ``denoiser.text_encoders``.
        learned: a diffusers ``ModelMixin`` within ``denoiser.unet``. It alone is trained, checkpointed and saved (with
            ``save_pretrained``); everything else in the denoiser is frozen by the loop.
        auxiliary: asked after each forward for a scalar that is added to the loss, such as a balance between experts.
        anneal: told before each step which share of the training is done, from 0 to below 1. Such a training does not go on for
            more steps than it was begun with: they would not be those of a longer one.
        facts: asked when the loss is logged for numbers to log beside it (name -> value), about what was seen since last asked.
    """

    denoiser: Denoiser
    learned: Any
    auxiliary: Callable[[], Tensor] | None = None
    anneal: Callable[[float], None] | None = None
    facts: Callable[[], Mapping[str, float]] | None = None


class Trainable(Generic[O]):
    """Base class of a trainable plug-in (entry-point group ``afa_bench.trainables``).

    A plug-in sets ``name`` and ``Options``, and implements :meth:`build`.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Options]] = Options

    def weights(self, options: O) -> Mapping[str, Path]:
        """Folders of weights that the learned part begins with, by option: another content is another training."""
        return {}

    def build(self, group: Group, models: Sequence[Model], options: O) -> Learner:
        """A learner with a fresh learned part, on the models' device and in fp32.

        ``models`` are all of the group's, in its order, frozen, in the training's number format (fp32, fp16 or bf16).
        """
        raise NotImplementedError
