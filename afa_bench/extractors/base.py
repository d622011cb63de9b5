"""What a feature extractor is: a network that turns images and texts into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from afa_bench import registry
from afa_bench.checkpoints.hashing import hash_weights
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint

if TYPE_CHECKING:
    from PIL.Image import Image

    from afa_bench.fetch import Source

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.float32]]

Preprocess: TypeAlias = Literal["exact", "fast"]
Dtype: TypeAlias = Literal["float32", "bfloat16"]

POOL = "pool"
"""The name of the features that Fréchet and kernel distances are of."""

PREPROCESS: Preprocess = "exact"
DTYPE: Dtype = "float32"
"""Defaults of an extractor's settings; the identity of what was computed with them does not name them."""


@dataclass
class Extractor:
    """Base class of a feature-extractor plug-in (entry-point group ``afa_bench.extractors``).

    Its fields are its settings: those that differ from their defaults are part of its identity. An extractor prepares images one
    by one, on threads of the CPU, and encodes them in batches.

    Attributes:
        name: also of files of features, hence letters, digits, "-", "_" and ".".
        tag: follows a metric's name in a table, as in ``FID (lite0)``; empty for the extractor that the metric is defined with.
        reads_captions: its features of an image depend on the image's caption (ImageReward's cross-attention).
        variants: whether it has other settings of ``preprocess`` and ``dtype`` than the default.
        cpu_batch: images or texts at once on a CPU, at most.
        gives: the names of its arrays, and how wide they are, where that is not up to the weights; None: it will show.
        preprocess: ``exact``, by PIL on the CPU, or ``fast``, on the device, within one step of 255.
        dtype: in which the network computes.
    """

    name: ClassVar[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]]
    version: ClassVar[int]
    tag: ClassVar[str]
    reads_captions: ClassVar[bool] = False
    variants: ClassVar[bool] = False
    cpu_batch: ClassVar[int] = 64
    gives: ClassVar[Mapping[str, int | None] | None] = None

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
        return self.encode([self.prepare(image) for image in images], captions)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised text embeddings ``(len(texts), D)``, of extractors which have them."""
        raise NotImplementedError

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """How many texts are longer than what the network reads of one, and how many tokens that is; it need not be loaded."""
        return 0, 0

    def hashes(self) -> dict[str, str]:
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
        own = [field for field in fields(self) if not field.name.startswith("_")]
        return {field.name: value for field in own if (value := getattr(self, field.name)) != field.default}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Name, version, the weights' sha256, settings other than the default, and where a third party's is from."""
        settings = {"settings": self.settings} if self.settings else {}
        origin = registry.origin(type(self))
        return {"name": self.name, "version": self.version, "weights": self.hashes(), **settings, **origin}
