"""Aggregators in the configuration of a saved ensemble."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from diffusers.configuration_utils import ConfigMixin

from afa_bench.errors import UserError

CLASS = "class"
OWN = "afa_bench."


def described(aggregator: Any) -> dict[str, Any]:
    """Its class, ``module:name``, and its settings; its weights are the ensemble's.

    Raises:
        UserError: it does not say its settings.
    """
    if isinstance(aggregator, ConfigMixin):
        settings = {key: value for key, value in json.loads(aggregator.to_json_string()).items() if not key.startswith("_")}
    elif is_dataclass(aggregator) and not isinstance(aggregator, type):
        settings = asdict(aggregator)
    else:
        kind = type(aggregator).__name__
        raise UserError(
            f"the aggregator {kind} cannot be saved; expected a dataclass, or a model of diffusers with a configuration"
        )
    return {CLASS: f"{type(aggregator).__module__}:{type(aggregator).__qualname__}", **settings}


def aggregator_of(about: Mapping[str, Any]) -> Any:
    """The aggregator of a saved ensemble, with fresh weights.

    Raises:
        UserError: none, or one of a class that is neither this package's nor of a module which is imported already.
    """
    settings = dict(about.get("aggregator") or {})
    module, _, name = str(settings.pop(CLASS, "")).partition(":")
    if module.startswith(OWN):
        importlib.import_module(module)
    kind = getattr(sys.modules.get(module), name, None)
    if not isinstance(kind, type):
        raise UserError(f"config.json: aggregator: class: {module}:{name}: no such class; import {module or 'its module'} first")
    return kind(**settings)
