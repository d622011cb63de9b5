"""What a metric is, and what it is computed from.

A feature extractor turns images and texts into arrays, once; a metric is a function of these arrays and imports no torch. So a
metric that is added later needs no image to be read again, and a small extractor can stand in for a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationInfo, field_serializer, field_validator

from afa_bench import registry
from afa_bench.checkpoints.hashing import hash_weights
from afa_bench.errors import UserError
from afa_bench.extractors.base import DTYPE, PREPROCESS, Dtype, Extractor, Floats, Preprocess
from afa_bench.identity import fingerprint

if TYPE_CHECKING:
    from afa_bench.fetch import Source
    from afa_bench.metrics.gaussian import Gaussian
    from afa_bench.metrics.probe import DenoiserProbe
    from afa_bench.stats import Interval


class NoValue(Exception):  # noqa: N818 # nothing is wrong
    """A metric has no value of these images; the message says why."""


class Features(Protocol):
    """Of one cell's images, as a metric asks for them, in the order of its good samples; or :class:`NoValue` is raised."""

    @property
    def clusters(self) -> Sequence[str]:
        """The prompt id of each row."""

    def generated(self, name: str) -> Floats:
        """``(n, D)`` of the generated images; of more than 5,000 as float32 in a file, to be read in parts."""

    def texts(self) -> Floats:
        """``(n, D)`` of their prompts."""

    def paired(self, name: str) -> Floats:
        """``(n, D)`` of the prompts' own real images; NaN in the rows of those that have none."""

    def reference(self, name: str, kind: str) -> Floats | Gaussian:
        """``(m, D)`` of the reference images (``real``) or of their VAE's reconstructions (``vae``); of a file, their moments."""


class Metric(BaseModel):
    """Base class of a metric plug-in (entry-point group ``afa_bench.metrics``); its fields are the metric's options in a suite.

    Attributes:
        features: the extractor that it is computed from: registered, or ``FILE.py:NAME``, which as a class' default is relative
            to the class' own file.
        label: the metric's standard name.
        version: raised whenever its values change.
        kind: one value a sample, or one for the set.
        task: whether it measures generated images, or the denoiser itself (then one value a sample).
        needs: what it asks for beside the images' features: embeddings of their ``texts``, features of ``paired`` real images.
            A metric that compares with a set of reference images says which in a field ``reference``.
        reads: the name of the extractor's array that it is computed from.
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
    reads: ClassVar[str] = ""

    features: str = ""
    preprocess: Preprocess = PREPROCESS
    dtype: Dtype = DTYPE
    _label: str | None = PrivateAttr(None)

    @property
    def title(self) -> str:
        """As in a table's head: the bare name only with the features and settings that the metric is defined with."""
        settings = [value for value, usual in ((self.preprocess, PREPROCESS), (self.dtype, DTYPE)) if value != usual]
        tags = [tag for tag in (self.extractor().tag if self.features else "", self.variant, *settings) if tag]
        label = self._label or self.label
        return f"{label} ({', '.join(tags)})" if tags else label

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
        return {"preprocess": self.preprocess, "dtype": self.dtype}

    def extractor(self) -> Extractor:
        """The extractor that ``features`` names, with this metric's settings.

        Raises:
            UserError: there is none of that name, or it does not have these settings.
        """
        kind: type[Extractor] = registry.load("extractors", self.features, self.label, registry.folder_of(type(self)))
        return kind(**self.settings)

    @field_validator("features")
    @classmethod
    def _anchored(cls, features: str, info: ValidationInfo) -> str:
        return registry.anchored(features, (info.context or {}).get("folder") or Path())

    @field_serializer("features", when_used="json")
    def _without_path(self, features: str) -> Any:
        return (features and registry.origin(type(self.extractor()))) or features

    def sources(self) -> Sequence[Source]:
        """The files that ``afa-bench fetch`` brings for it: its extractor's, and those of weights of its own."""
        return self.extractor().sources() if self.features else ()

    def weights(self) -> Mapping[str, Path]:
        """Files of weights beside the extractor's (name -> path), such as a head on shared features."""
        return {}

    def hashes(self) -> dict[str, str]:
        shared = self.extractor().identity["weights"] if self.features else {}
        return {**shared, **{name: hash_weights(path) for name, path in self.weights().items()}}

    def identity(self) -> dict[str, Any]:
        features = self.extractor().identity if self.features else None
        usual = {name for name, value in (("preprocess", PREPROCESS), ("dtype", DTYPE)) if getattr(self, name) == value}
        own = {name: hash_weights(path) for name, path in self.weights().items()}
        return {
            "key": self.key,
            "version": self.version,
            "options": self.model_dump(mode="json", exclude=usual),
            "features": features,
            **({"weights": own} if own else {}),
            **registry.origin(type(self)),
        }

    def per_sample(self, features: Features) -> Floats | None:
        """``(n,)`` values of a ``per-sample`` metric, NaN of images without one; raises :class:`NoValue` where all are."""
        raise NotImplementedError

    def over_set(self, features: Features) -> Interval | None:
        """The value of a ``set`` metric with its interval; raises :class:`NoValue` where there is none."""
        raise NotImplementedError

    def of_denoiser(self, probe: DenoiserProbe) -> Mapping[str, Floats]:
        """Values of a denoiser on B real images (metrics whose ``task`` is ``denoise``).

        Returns:
            Columns of the samples' rows, ``(B,)`` each: under the metric's ``key`` its values, of which the mean is reported;
            under other names that begin with it, what else is worth keeping.
        """
        raise NotImplementedError


def version_of(metric: Metric) -> str:
    """The version as results have it; of a third party's metric or extractor, with what tells it from others of its name."""
    kinds = [type(metric), *([type(metric.extractor())] if metric.features else [])]
    origins = [origin for kind in kinds if (origin := registry.origin(kind))]
    return f"{metric.version}+{fingerprint(origins)[:12]}" if origins else str(metric.version)


def sample_values(metric: Metric, features: Features) -> Floats:
    """A metric's value of each image ``(n,)``, NaN where it has none; :class:`NoValue` where it has none at all."""
    values, count = metric.per_sample(features), len(features.clusters)
    if values is None:
        raise NoValue("the metric gives none")
    if np.shape(values) != (count,):
        raise UserError(f"{metric.title}: per_sample: expected {count} values, one an image, found the shape {np.shape(values)}")
    return values
