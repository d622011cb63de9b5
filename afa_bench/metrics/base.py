"""What a metric is, and what it is computed from.

A feature extractor turns images and texts into arrays, once; a metric is a function of these arrays and imports no torch. So a
metric that is added later needs no image to be read again, and a small extractor can stand in for a large one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from afa_bench import registry
from afa_bench.models.hashing import hash_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from afa_bench.fetch import Source
    from afa_bench.stats import Interval

Floats = NDArray[np.float64]


class Extractor:
    """Base class of a feature-extractor plug-in (entry-point group ``afa_bench.features``).

    Attributes:
        tag: follows a metric's name in a table, as in ``FID (lite0)``; empty for the extractor that the metric is defined with.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tag: ClassVar[str]

    def sources(self) -> Sequence[Source]:
        """The files that ``afa-bench fetch`` brings for it; none for an extractor whose weights come with a package."""
        return ()

    def weights(self) -> Mapping[str, Path]:
        """Weight files or folders (name -> path); their sha256 is part of every number."""
        raise NotImplementedError

    def load(self, device: str) -> None:
        """Bring the network into memory. Called once, before the first image."""
        raise NotImplementedError

    def images(self, images: Sequence[Image]) -> Mapping[str, NDArray[np.float32]]:
        """Features of RGB images: name -> ``(len(images), D)``, such as an embedding, pooled features, class probabilities."""
        raise NotImplementedError

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised text embeddings ``(len(texts), D)``, of extractors which have them."""
        raise NotImplementedError

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Name, version and the weights' sha256."""
        return {"name": self.name, "version": self.version, "weights": {k: hash_weights(p) for k, p in self.weights().items()}}


class Features(Protocol):
    """The features of one cell's images, as a metric asks for them; all rows are in the order of the cell's good samples."""

    @property
    def clusters(self) -> Sequence[str]:
        """The prompt id of each row."""

    def generated(self, name: str) -> Floats:
        """``(n, D)`` of the generated images."""

    def texts(self) -> Floats:
        """``(n, D)`` of their prompts."""

    def paired(self, name: str) -> Floats | None:
        """``(n, D)`` of the prompts' own real images, or None where the prompt set has none."""

    def reference(self, name: str, kind: str) -> Floats | None:
        """``(m, D)`` of the prompt set's reference images; ``kind`` is ``real``, or ``vae`` for their VAE reconstructions."""


class Metric(BaseModel):
    """Base class of a metric plug-in (entry-point group ``afa_bench.metrics``); its fields are the metric's options in a suite.

    Attributes:
        features: the extractor that it is computed from.
        label: the metric's standard name.
        version: raised whenever its values change.
        kind: one value a sample, or one for the set.
        task: whether it needs generated images, or the denoiser itself.
        digits: after the decimal point, in tables.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: ClassVar[str]
    version: ClassVar[int]
    kind: ClassVar[Literal["per-sample", "set"]]
    direction: ClassVar[Literal["higher", "lower"]]
    unit: ClassVar[str]
    digits: ClassVar[int]
    task: ClassVar[Literal["generate", "denoise"]] = "generate"

    features: str = ""

    @property
    def title(self) -> str:
        """As in a table's head: the bare name only with the features that the metric is defined with."""
        tags = [tag for tag in (self.extractor().tag if self.features else "", self.variant) if tag]
        return f"{self.label} ({', '.join(tags)})" if tags else self.label

    @property
    def variant(self) -> str:
        """What distinguishes this variant of the metric in its title; empty for the default."""
        return ""

    @property
    def key(self) -> str:
        """The title as a column's name: ``clip_t_mini``."""
        return "_".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())

    @property
    def note(self) -> str | None:
        """A caution that stands under every table with this metric."""
        return None

    def extractor(self) -> Extractor:
        """The extractor that ``features`` names.

        Raises:
            UserError: there is none of that name.
        """
        kind: type[Extractor] = registry.load("features", self.features, self.label)
        return kind()

    def identity(self) -> dict[str, Any]:
        """Everything that fixes this metric's values for given images."""
        features = self.extractor().identity if self.features else None
        return {"key": self.key, "version": self.version, "options": self.model_dump(mode="json"), "features": features}

    def per_sample(self, features: Features) -> Floats | None:
        """``(n,)`` values, or None where the prompt set lacks what it takes (``per-sample`` metrics)."""
        raise NotImplementedError

    def over_set(self, features: Features) -> Interval | None:
        """The set's value with its interval, or None where the prompt set lacks what it takes (``set`` metrics)."""
        raise NotImplementedError
