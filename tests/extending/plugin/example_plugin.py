"""A package of somebody else's: a method, a metric and a prompt set for afa-bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afa_bench.extractors.base import Floats
from afa_bench.method import Denoiser, Method, Model, Options
from afa_bench.metrics.base import Features, Metric
from afa_bench.models.group import Group
from afa_bench.prompts.base import Prompt, PromptSet


class LastOptions(Options):
    """``back``: how many models before the last."""

    back: int = 0


class Last(Method[LastOptions]):
    """Use the last model alone."""

    name = "last"
    version = 1
    Options = LastOptions

    def build(self, group: Group, models: Sequence[Model], options: LastOptions) -> Denoiser:
        """The model."""
        model = models[-1 - options.back]
        return Denoiser(model.unet, [model.text_encoder])


class Certainty(Metric):
    """The largest class probability of an image."""

    label = "Certainty"
    version = 1
    kind = "per-sample"
    direction = "higher"
    unit = "probability"
    digits = 2

    features: str = "lite0"

    def per_sample(self, features: Features) -> Floats:
        """``(n,)``."""
        largest: Floats = features.generated("probabilities").max(axis=1)
        return largest


class Colours(PromptSet):
    """A prompt for each colour."""

    source = "made up"
    licence = "CC0-1.0"

    colours: tuple[str, ...] = ("red", "green", "blue")

    def prompts(self, folder: Path) -> Sequence[Prompt]:
        """``a red square``, ..."""
        return [Prompt(id=colour, text=f"a {colour} square", category="colours") for colour in self.colours]
