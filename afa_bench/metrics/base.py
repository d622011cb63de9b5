"""What a metric is, and what it is computed from.

A feature extractor turns images and texts into arrays, once; a metric is a function of these arrays and imports no torch. So a
metric that is added later needs no image to be read again, and a small extractor can stand in for a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from afa_bench import registry
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.models.hashing import hash_weights

if TYPE_CHECKING:
    from PIL.Image import Image

    from afa_bench.fetch import Source
    from afa_bench.metrics.gaussian import Gaussian
    from afa_bench.stats import Interval

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.float32]]

Preprocess: TypeAlias = Literal["exact", "fast"]
Dtype: TypeAlias = Literal["float32", "bfloat16"]

PREPROCESS: Preprocess = "exact"
DTYPE: Dtype = "float32"
"""Defaults of an extractor's settings; the identity of what was computed with them does not name them."""


@dataclass
class Extractor:
    """Base class of a feature-extractor plug-in (entry-point group ``afa_bench.features``).

    Its fields are its settings: those that differ from their defaults are part of its identity. An extractor prepares images one
    by one, on threads of the CPU, and encodes them in batches.

    Attributes:
        tag: follows a metric's name in a table, as in ``FID (lite0)``; empty for the extractor that the metric is defined with.
        reads_captions: its features of an image depend on the image's caption (ImageReward's cross-attention).
        variants: whether it has other settings of ``preprocess`` and ``dtype`` than the default.
        cpu_batch: images or texts at once on a CPU, at most.
        preprocess: ``exact``, by PIL on the CPU, or ``fast``, on the device, within one step of 255.
        dtype: in which the network computes.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tag: ClassVar[str]
    reads_captions: ClassVar[bool] = False
    variants: ClassVar[bool] = False
    cpu_batch: ClassVar[int] = 64

    preprocess: Preprocess = PREPROCESS
    dtype: Dtype = DTYPE

    def __post_init__(self) -> None:
        if not self.variants and (self.preprocess, self.dtype) != (PREPROCESS, DTYPE):
            raise UserError(f"{self.name}: preprocess, dtype: expected {PREPROCESS} and {DTYPE}, it has no other")

    def sources(self) -> Sequence[Source]:
        """The files that ``afa-bench fetch`` brings for it; none for an extractor whose weights come with a package."""
        return ()

    def weights(self) -> Mapping[str, Path]:
        """Weight files or folders (name -> path); their sha256 is part of every number."""
        raise NotImplementedError

    def load(self, device: str) -> None:
        """Bring the network into memory. Called once, before the first image."""
        raise NotImplementedError

    def prepare(self, image: Image) -> NDArray[Any]:
        """One image, of any size and mode, ready to be stacked with others. Runs on threads beside the network."""
        raise NotImplementedError

    def encode(self, prepared: Sequence[NDArray[Any]], captions: Sequence[str] = ()) -> Arrays:
        """Features of prepared images: name -> ``(B, D)``, such as an embedding, pooled features, class probabilities.

        Args:
            prepared: what :meth:`prepare` gave for B images.
            captions: theirs, for an extractor which ``reads_captions``.
        """
        raise NotImplementedError

    def images(self, images: Sequence[Image], captions: Sequence[str] = ()) -> Arrays:
        """Features of images in one batch."""
        return self.encode([self.prepare(image) for image in images], captions)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised text embeddings ``(len(texts), D)``, of extractors which have them."""
        raise NotImplementedError

    def hashes(self) -> dict[str, str]:
        """sha256 of the weights, by name."""
        return {name: hash_weights(path) for name, path in self.weights().items()}

    def unload(self) -> None:
        """Forget the network, so that its memory is free for the next."""
        self.__dict__.pop("model", None)

    @cached_property
    def key(self) -> str:
        """The same for extractors which give the same features."""
        return fingerprint(self.identity)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        own = [field for field in fields(self) if not field.name.startswith("_")]
        return {field.name: value for field in own if (value := getattr(self, field.name)) != field.default}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Name, version, the weights' sha256, and settings other than the default."""
        settings = {"settings": self.settings} if self.settings else {}
        return {"name": self.name, "version": self.version, "weights": self.hashes(), **settings}


class Features(Protocol):
    """The features of one cell's images, as a metric asks for them; all rows are in the order of the cell's good samples."""

    @property
    def clusters(self) -> Sequence[str]:
        """The prompt id of each row."""

    def generated(self, name: str) -> Floats:
        """``(n, D)`` of the generated images; of more than 5,000 as float32 in a file, to be read in parts."""

    def texts(self) -> Floats:
        """``(n, D)`` of their prompts."""

    def paired(self, name: str) -> Floats | None:
        """``(n, D)`` of the prompts' own real images, or None where the prompt set has none."""

    def reference(self, name: str, kind: str) -> Floats | Gaussian | None:
        """``(m, D)`` of the prompt set's reference images; ``kind`` is ``real``, or ``vae`` for their VAE reconstructions.

        Only their moments where a file of statistics stands for the images.
        """


class Metric(BaseModel):
    """Base class of a metric plug-in (entry-point group ``afa_bench.metrics``); its fields are the metric's options in a suite.

    Attributes:
        features: the extractor that it is computed from.
        label: the metric's standard name.
        version: raised whenever its values change.
        kind: one value a sample, or one for the set.
        task: whether it needs generated images, or the denoiser itself.
        needs: what it asks for beside the images' features: embeddings of their ``texts``, features of ``paired`` real images.
            A metric that compares with a set of reference images says which in a field ``reference``.
        digits: after the decimal point, in tables.
        preprocess, dtype: of the extractor; tables show what is not the default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: ClassVar[str]
    version: ClassVar[int]
    kind: ClassVar[Literal["per-sample", "set"]]
    direction: ClassVar[Literal["higher", "lower"]]
    unit: ClassVar[str]
    digits: ClassVar[int]
    task: ClassVar[Literal["generate", "denoise"]] = "generate"
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ()

    features: str = ""
    preprocess: Preprocess = PREPROCESS
    dtype: Dtype = DTYPE

    @property
    def title(self) -> str:
        """As in a table's head: the bare name only with the features and settings that the metric is defined with."""
        settings = [value for value, usual in ((self.preprocess, PREPROCESS), (self.dtype, DTYPE)) if value != usual]
        tags = [tag for tag in (self.extractor().tag if self.features else "", self.variant, *settings) if tag]
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

    @property
    def settings(self) -> dict[str, Any]:
        """The options that are handed on to the extractor."""
        return {"preprocess": self.preprocess, "dtype": self.dtype}

    def extractor(self) -> Extractor:
        """The extractor that ``features`` names, with this metric's settings.

        Raises:
            UserError: there is none of that name, or it does not have these settings.
        """
        kind: type[Extractor] = registry.load("features", self.features, self.label)
        return kind(**self.settings)

    def sources(self) -> Sequence[Source]:
        """The files that ``afa-bench fetch`` brings for it: its extractor's, and those of weights of its own."""
        return self.extractor().sources() if self.features else ()

    def weights(self) -> Mapping[str, Path]:
        """Files of weights beside the extractor's (name -> path), such as a head on shared features."""
        return {}

    def hashes(self) -> dict[str, str]:
        """sha256 of all weights behind its values, by name."""
        shared = self.extractor().identity["weights"] if self.features else {}
        return {**shared, **{name: hash_weights(path) for name, path in self.weights().items()}}

    def identity(self) -> dict[str, Any]:
        """Everything that fixes this metric's values for given images."""
        features = self.extractor().identity if self.features else None
        usual = {name for name, value in (("preprocess", PREPROCESS), ("dtype", DTYPE)) if getattr(self, name) == value}
        own = {name: hash_weights(path) for name, path in self.weights().items()}
        return {
            "key": self.key,
            "version": self.version,
            "options": self.model_dump(mode="json", exclude=usual),
            "features": features,
            **({"weights": own} if own else {}),
        }

    def per_sample(self, features: Features) -> Floats | None:
        """``(n,)`` values, or None where the prompt set lacks what it takes (``per-sample`` metrics)."""
        raise NotImplementedError

    def over_set(self, features: Features) -> Interval | None:
        """The set's value with its interval, or None where the prompt set lacks what it takes (``set`` metrics)."""
        raise NotImplementedError
