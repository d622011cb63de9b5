"""What a method is: something that turns the models of a group into one denoiser.

The denoiser stands in for ``pipe.unet`` of a stock diffusers pipeline (same call, same output, ``.config``, ``.dtype``,
``.device``), so that every scheduler and pipeline feature works on it and the harness has one sampling path for a base model, a
merge and an ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from afa_bench import registry
from afa_bench.denoiser import Denoiser
from afa_bench.models.load import Model
from afa_bench.reading import validated

if TYPE_CHECKING:
    from afa_bench.models.group import Group

__all__ = ["Denoiser", "Method", "Model", "O", "Options"]


class Options(BaseModel):
    """Base of every method's options: unknown keys are refused, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


O = TypeVar("O", bound=Options)  # noqa: E741 - the conventional one-letter name of a type variable


class Method(Generic[O]):
    """Base class of a method plug-in (entry-point group ``afa_bench.methods``).

    A plug-in sets ``name``, ``version`` (raised whenever its results change) and ``Options``, and implements :meth:`build`.
    ``needs_guidance`` says that its denoiser works on both halves of classifier-free guidance at once, the unconditional rows of
    a batch first: suites without guidance refuse it, and it has no denoising loss.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    needs_guidance: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = Options

    def read_options(self, given: Mapping[str, Any], where: str, folder: Path) -> O:
        """The options as a suite has them, checked.

        Args:
            given: the keys beside the harness' own.
            where: file and method, for the error's first words.
            folder: of the file that names the method, to which paths of plug-ins are relative.

        Raises:
            UserError: an option that is unknown, missing or wrong.
        """
        return cast(O, validated(self.Options, given, where, noun="option", folder=folder))

    def identity(self, options: O) -> dict[str, Any]:
        """What a cell's fingerprint holds of the method and its options: ``name``, ``version``, ``options``."""
        about = {"name": self.name, "version": self.version, "options": options.model_dump(mode="json")}
        return about | registry.origin(type(self))

    def variants(self, group: Group, options: O) -> Mapping[str, O]:
        """The rows that this method fills for a group: label -> options. One row under the method's name by default."""
        return {self.name: options}

    def weights(self, group: Group, options: O) -> Mapping[str, Path]:
        """Folders or files of weights beside the models' own (role -> path); their sha256 is part of a cell's identity."""
        return {}

    def evaluations(self, group: Group, options: O) -> int:
        """How many denoisers run at a step: for estimates of time."""
        return len(group.models)

    def build(self, group: Group, models: Sequence[Model], options: O) -> Denoiser:
        """The denoiser of one row. ``models`` are all of the group's, in its order, on their device, in eval mode."""
        raise NotImplementedError
