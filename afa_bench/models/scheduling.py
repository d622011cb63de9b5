"""The scheduler that images are sampled with: of the pipeline's settings, of what the models need, and of the sampler's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from afa_bench.architectures.kind import USUAL, kind_of_settings, require_known
from afa_bench.errors import UserError, suggest
from afa_bench.models.sampler_names import SIGMAS
from afa_bench.models.trial import FAILS, fault, set_steps

if TYPE_CHECKING:
    from afa_bench.architectures.base import Architecture

SPACINGS = ("linspace", "leading", "trailing")


def scheduler_class(name: str, architecture: Architecture) -> Any:
    """A scheduler's class in diffusers.

    Raises:
        UserError: there is none of that name, a library that it needs is not installed, or it is for other models than these.
    """
    import diffusers

    diffusers.utils.logging.set_verbosity_error()  # what one scheduler has and another does not know is no news
    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        libraries = getattr(kind, "_backends", ()) if name.endswith("Scheduler") else ()  # of what stands in for the class
        if lacking := [library for library in libraries if find_spec(library) is None]:
            raise UserError(f"sampler.scheduler: {name} needs {' and '.join(lacking)}, which is not installed")
        hint = suggest(name, [word for word in dir(diffusers) if word.endswith("Scheduler")])
        raise UserError(f"sampler.scheduler: {name!r} is not a scheduler of diffusers {diffusers.__version__}: {hint}")
    if not architecture.fits(name):
        raise UserError(f"sampler.scheduler: {name} does not fit {architecture.name}; its own is {architecture.scheduler}")
    return kind


def make_scheduler(architecture: Architecture, settings: Mapping[str, Any], name: str, chosen: Mapping[str, str]) -> Any:
    """A scheduler for models.

    Args:
        architecture: of the models.
        settings: of the pipeline's scheduler, changed for what the models predict.
        name: its class in diffusers.
        chosen: the sampler's own settings: ``sigmas`` and ``timestep_spacing``.

    Raises:
        UserError: no such scheduler, one that samples other models than these, or that does not have a setting.
    """
    kind = scheduler_class(name, architecture)
    require_known("sampler.scheduler", name, settings)
    made = made_of(kind, {**settings, **_settings(kind, chosen, settings)})
    require_sampler("sampler.scheduler", made, settings, architecture.class_of(architecture.scheduler))
    _require_effect(kind, made, chosen)
    return made


def require_sampler(where: str, scheduler: Any, settings: Mapping[str, Any], usual: Any) -> None:
    """Raise a UserError for a scheduler that does not sample models.

    Args:
        where: begins the error.
        scheduler: to be tried; it stays as it is.
        settings: of a scheduler for the models.
        usual: the class of one that samples them.
    """
    predicted, kind = kind_of_settings(settings).prediction, type(scheduler)
    if why := fault(made_of(kind, scheduler.config), predicted, made_of(usual, settings)):
        raise UserError(
            f"{where}: {kind.__name__} does not sample models that predict {predicted} ({why}); {usual.__name__} does"
        )


def made_of(kind: Any, settings: Mapping[str, Any]) -> Any:
    """A scheduler of a class with such of the settings as it knows.

    Raises:
        UserError: it cannot be made.
    """
    try:
        return kind.from_config(dict(settings))
    except FAILS as error:
        raise UserError(f"sampler.scheduler: {kind.__name__} cannot be made: {error}") from error


def _settings(kind: Any, chosen: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler's settings as the scheduler names them."""
    known, found = signature(kind).parameters, dict[str, Any]()
    if spacing := chosen.get("timestep_spacing"):
        found["timestep_spacing"] = spacing
        if settings.get("rescale_betas_zero_snr", USUAL["rescale_betas_zero_snr"]) and spacing != "trailing":
            raise UserError(f"sampler.timestep_spacing: {spacing}; expected trailing, since the models have zero SNR")
    if sigmas := chosen.get("sigmas"):
        found |= {_flag(each): each == sigmas for each in SIGMAS if each == sigmas or _flag(each) in known}
    for key in found:
        if key not in known:
            option = "timestep_spacing" if key == "timestep_spacing" else "sigmas"
            raise UserError(f"sampler.{option}: {kind.__name__} has no {key}; expected a scheduler that has")
    return found


def _flag(sigmas: str) -> str:
    return f"use_{sigmas}_sigmas"


def _require_effect(kind: Any, made: Any, chosen: Mapping[str, str]) -> None:
    """Raise a UserError for a setting that a scheduler has, and does not go by."""
    others: dict[str, list[dict[str, Any]]] = {"timestep_spacing": [{"timestep_spacing": each} for each in SPACINGS]}
    if "sigmas" in chosen:
        others["sigmas"] = [{}, {_flag(chosen["sigmas"]): False}]
    for key in chosen:
        steps = {_steps(made_of(kind, {**made.config, **other})) for other in others[key]}
        if len(steps) == 1:
            raise UserError(f"sampler.{key}: {chosen[key]} changes nothing in {kind.__name__}; expected one that goes by it")


def _steps(scheduler: Any) -> tuple[float, ...]:
    try:
        set_steps(scheduler, 10)
    except FAILS:  # with another spacing than the one that is tried
        return ()
    sigmas = getattr(scheduler, "sigmas", None)
    return tuple(float(each) for values in (scheduler.timesteps, () if sigmas is None else sigmas) for each in values)
