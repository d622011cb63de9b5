"""What a checkpoint's denoiser predicts, and of which noise schedule: models of two kinds are not merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from afa_bench.checkpoints.safetensors import Spec
from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json

EPSILON, VELOCITY, EDM = "epsilon", "v_prediction", "EDM"
V_MARK, ZERO_MARK, EDM_MARK = "v_pred", "ztsnr", "edm_"
"""Names by which single files say that they predict velocity, and that they know a signal-to-noise ratio of zero; and what begins
those of EDM's numbers (``edm_mean``, ``edm_vpred.sigma_max``)."""

EMPTY = Spec(torch.float32, (0,))
"""What a mark without numbers is."""

SCHEDULER = "scheduler/scheduler_config.json"
SPEC = "modelspec.prediction_type"


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        prediction: ``epsilon``, ``v_prediction``, ``EDM`` or ``EDM v_prediction``.
        zero_snr: whether its schedule ends at a signal-to-noise ratio of zero.
        schedule: the numbers of EDM's.
    """

    prediction: str = EPSILON
    zero_snr: bool = False
    schedule: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __str__(self) -> str:
        numbers = "".join(f", {name} {list(values)}" for name, values in self.schedule)
        return self.prediction + (" with zero SNR" if self.zero_snr else "") + numbers

    @property
    def marks(self) -> Mapping[str, Spec]:
        """The tensors by which a single file says it, EDM's numbers aside."""
        wanted = {V_MARK: self.prediction.endswith(VELOCITY), ZERO_MARK: self.zero_snr}
        return {mark: EMPTY for mark, there in wanted.items() if there}


def is_mark(key: str) -> bool:
    """Whether a tensor of a single file says the kind of the model."""
    return key in (V_MARK, ZERO_MARK) or key.startswith(EDM_MARK)


def kind_of_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Kind:
    """The kind of a single file.

    Args:
        tensors: its marks.
        metadata: its header's texts.
    """
    schedule = {key: tuple(value.flatten().tolist()) for key, value in tensors.items() if key.startswith(EDM_MARK)}
    velocity = V_MARK in tensors or metadata.get(SPEC, "").lower() in ("v", "v_prediction", "v-prediction")
    prediction = (f"{EDM} {VELOCITY}" if velocity else EDM) if schedule else VELOCITY if velocity else EPSILON
    return Kind(prediction, ZERO_MARK in tensors, tuple(sorted(schedule.items())))


def kind_of_folder(folder: Path) -> Kind | None:
    """The kind of a folder in the diffusers layout, by its scheduler; None without one."""
    settings = read_json(folder / SCHEDULER)
    if not isinstance(settings, Mapping):
        return None
    if str(settings.get("_class_name", "")).startswith("EDM"):
        return Kind(EDM)
    return Kind(str(settings.get("prediction_type", EPSILON)), settings.get("rescale_betas_zero_snr") is True)


def common_kind(kinds: Mapping[str, Kind | None], prediction: str | None, zero_snr: bool | None) -> Kind | None:
    """The kind of all models, of which some do not say it.

    Args:
        kinds: by the models' names.
        prediction, zero_snr: what the recipe says of all of them.

    Raises:
        UserError: they contradict each other.
    """

    def stated(kind: Kind) -> Kind:
        schedule = kind.schedule if prediction is None else ()
        return Kind(prediction or kind.prediction, kind.zero_snr if zero_snr is None else zero_snr, schedule)

    known = {name: stated(kind) for name, kind in kinds.items() if kind is not None}
    if prediction is not None and not known:
        return Kind(prediction, bool(zero_snr))
    first = next(iter(known), "")
    for name, kind in known.items():
        if kind != known[first]:
            raise UserError(
                f"merge: {first} is of the kind {known[first]}, {name} {kind}; expected models of one kind (where files say "
                "nothing, prediction_type and zero_snr in the recipe say it for all)"
            )
    return known.get(first)


def fitted(settings: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """A scheduler's settings for models of a kind."""
    wanted: dict[str, Any] = {"prediction_type": kind.prediction, "rescale_betas_zero_snr": kind.zero_snr}
    silent: dict[str, Any] = {"prediction_type": EPSILON, "rescale_betas_zero_snr": False}
    return {**settings, **{key: value for key, value in wanted.items() if settings.get(key, silent[key]) != value}}
