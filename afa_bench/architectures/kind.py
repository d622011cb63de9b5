"""What models predict, and of which noise schedule: as they say it themselves, compared, and as schedulers are set for it.

Sampling, training, the denoising loss and merging ask here, so that one place decides it. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from afa_bench.checkpoints.header import read_header
from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json

EPSILON, VELOCITY, SAMPLE, EDM, FLOW = "epsilon", "v_prediction", "sample", "EDM", "flow"
STATED = {"eps": EPSILON, "v": VELOCITY, "v-prediction": VELOCITY, "x0": SAMPLE, "edm": EDM}
"""How headers write what models predict, beside the names here."""
V_MARK, ZERO_MARK, EDM_MARK = "v_pred", "ztsnr", "edm_"
"""Names by which single files say that they predict velocity, and that they know a signal-to-noise ratio of zero; and what begins
those of EDM's numbers (``edm_mean``, ``edm_vpred.sigma_max``)."""

SCHEDULER = "scheduler/scheduler_config.json"
SPEC = "modelspec.prediction_type"
OTHERS = {
    "EDM": EDM, "CosineDPM": EDM, "CMStochastic": "consistency", "ConsistencyDecoder": "consistency", "SCM": "consistency",
    "ScoreSdeVe": "variance exploding", "KarrasVe": "variance exploding", "VQDiffusion": "discrete", "Amused": "discrete",
    "DDPMWuerstchen": "Wuerstchen's", "UnCLIP": "unCLIP's", "CogVideoX": "CogVideoX'", "IPNDM": "IPNDM's",
}  # fmt: skip
"""How the names of schedulers begin whose models are of other kinds, and what these are called."""

USUAL: Mapping[str, Any] = {"prediction_type": EPSILON, "rescale_betas_zero_snr": False}
"""What a scheduler does by itself, where its settings have no such key."""


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        prediction: ``epsilon``, ``v_prediction``, ``sample``, ``flow``, ``EDM`` or ``EDM v_prediction``.
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
    def marks(self) -> list[str]:
        """The tensors by which a single file says it."""
        wanted = {V_MARK: self.prediction.endswith(VELOCITY), ZERO_MARK: self.zero_snr}
        return [*(mark for mark, there in wanted.items() if there), *(name for name, _ in self.schedule)]

    @property
    def discrete(self) -> bool:
        """Whether schedulers of the usual noise schedule sample it, set by :func:`changes`."""
        return self.prediction in (EPSILON, VELOCITY, SAMPLE)


def is_mark(key: str) -> bool:
    """Whether a tensor of a single file says the kind of the model."""
    return key in (V_MARK, ZERO_MARK) or key.startswith(EDM_MARK)


def kind_of_marks(marks: Mapping[str, tuple[float, ...]], metadata: Mapping[str, str]) -> Kind:
    """The kind of a single file.

    Args:
        marks: its tensors of which :func:`is_mark` is true, and their numbers.
        metadata: its header's texts.
    """
    schedule = {key: values for key, values in marks.items() if key.startswith(EDM_MARK)}
    written = metadata.get(SPEC, "").strip().lower() or EPSILON
    stated = VELOCITY if V_MARK in marks else STATED.get(written, written)
    prediction = (f"{EDM} {VELOCITY}" if stated == VELOCITY else EDM) if schedule else stated
    return Kind(prediction, ZERO_MARK in marks, tuple(sorted(schedule.items())))


def kind_of_settings(settings: Mapping[str, Any]) -> Kind:
    """The kind of the models that a scheduler with these settings samples."""
    name, prediction = str(settings.get("_class_name", "")), str(settings.get("prediction_type") or EPSILON)
    if other := next((kind for start, kind in OTHERS.items() if name.startswith(start)), ""):
        return Kind(other)
    if "FlowMatch" in name or prediction == "flow_prediction":
        return Kind(FLOW)
    return Kind(prediction, settings.get("rescale_betas_zero_snr") is True)


def kind_of_folder(folder: Path) -> Kind | None:
    """The kind of a folder in the diffusers layout, by its scheduler; None without one."""
    settings = read_json(folder / SCHEDULER)
    return kind_of_settings(settings) if isinstance(settings, Mapping) else None


def stated_kind(path: Path) -> Kind | None:
    """The kind that a single file or a folder says it is; None where it says nothing.

    Raises:
        UserError: damaged.
    """
    if not path.is_file():
        return kind_of_folder(path)
    header = read_header(path)
    marks: dict[str, tuple[float, ...]] = {name: () for name in header.tensors if is_mark(name)}
    return kind_of_marks(marks, header.metadata) if marks or SPEC in header.metadata else None


def common_kind(where: str, kinds: Mapping[str, Kind | None], prediction: str | None, zero_snr: bool | None) -> Kind | None:
    """The kind of all models, of which some do not say it.

    Args:
        where: begins the error.
        kinds: by the models' names.
        prediction, zero_snr: what the user says of all of them.

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
                f"{where}: {first} is of the kind {known[first]}, {name} {kind}; expected models of one kind (where they do not "
                "say it, or not rightly, prediction_type and zero_snr say it for all)"
            )
    return known.get(first)


def require_sampled(where: str, kind: Kind, flow: bool) -> None:
    """Raise a UserError for models that an architecture's pipelines cannot sample.

    Args:
        where: begins the error.
        kind: of the models.
        flow: whether the architecture's models are trained by flow matching.
    """
    if flow != (kind.prediction == FLOW) or not (flow or kind.discrete):
        expected = "models trained by flow matching" if flow else "epsilon or v_prediction"
        raise UserError(f"{where}: the models are of the kind {kind}; expected {expected}")
    if kind.zero_snr and kind.prediction == EPSILON:
        raise UserError(
            f"{where}: the models are of the kind {kind}; expected v_prediction, since where there is no signal the noise that "
            "they see is all that they could predict (prediction_type and zero_snr say what they are)"
        )


def changes(settings: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What a scheduler's settings have to have for models of a kind, where they have something else.

    With a signal-to-noise ratio of zero, sampling has to begin there: at the last timestep, hence ``trailing``.
    """
    if not kind.discrete:
        return {}
    wanted = {"prediction_type": kind.prediction, "rescale_betas_zero_snr": kind.zero_snr}
    found = {key: value for key, value in wanted.items() if settings.get(key, USUAL[key]) != value}
    if kind.zero_snr and settings.get("timestep_spacing") != "trailing":
        found["timestep_spacing"] = "trailing"
    return found


def require_known(where: str, scheduler: str, settings: Mapping[str, Any]) -> None:
    """Raise a UserError for a scheduler that would sample models as if they were of another kind.

    Args:
        where: begins the error.
        scheduler: its class's name in diffusers, which leaves out the settings that a class does not know.
        settings: those that it would be made with.
    """
    needed = [key for key, usual in USUAL.items() if settings.get(key, usual) != usual]
    if not needed:
        return
    import diffusers

    kind = getattr(diffusers, scheduler, None)
    for key in needed:
        if kind is not None and key not in signature(kind).parameters:
            raise UserError(f"{where}: {scheduler} has no {key}; expected one that has, since the models need {settings[key]}")
