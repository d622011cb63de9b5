"""afa-bench: a benchmark and evaluation harness for ensembles and merges of diffusion models.

What a library user needs is here, and is imported when it is first asked for: ``import afa_bench`` itself imports nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afa_bench.afa.pipeline import AFAPipeline as AFAPipeline
    from afa_bench.afa.sabw import SABW as SABW
    from afa_bench.api import Merged as Merged
    from afa_bench.api import Run as Run
    from afa_bench.api import Scores as Scores
    from afa_bench.api import compare as compare
    from afa_bench.api import gate as gate
    from afa_bench.api import load_results as load_results
    from afa_bench.api import merge as merge
    from afa_bench.api import run as run
    from afa_bench.api import score as score
    from afa_bench.api import table as table
    from afa_bench.ensembles.aggregator import Aggregator as Aggregator
    from afa_bench.errors import NotFetchedError as NotFetchedError
    from afa_bench.errors import NotFoundError as NotFoundError
    from afa_bench.errors import NothingToDoError as NothingToDoError
    from afa_bench.errors import UserError as UserError
    from afa_bench.extractors.base import Extractor as Extractor
    from afa_bench.gate import Decision as Decision
    from afa_bench.gate import Finding as Finding
    from afa_bench.gate import Policy as Policy
    from afa_bench.gate import Verdict as Verdict
    from afa_bench.merging.method import merge_method as merge_method
    from afa_bench.merging.recipe import Recipe as Recipe
    from afa_bench.method import Denoiser as Denoiser
    from afa_bench.method import Method as Method
    from afa_bench.method import Model as Model
    from afa_bench.method import Options as Options
    from afa_bench.metrics.base import Features as Features
    from afa_bench.metrics.base import Metric as Metric
    from afa_bench.prompts.base import Prompt as Prompt
    from afa_bench.prompts.base import PromptSet as PromptSet
    from afa_bench.suite import Suite as Suite
    from afa_bench.tables import Results as Results
    from afa_bench.tables import Table as Table
    from afa_bench.training.trainable import Learner as Learner
    from afa_bench.training.trainable import Trainable as Trainable

__version__ = "0.1.0"

_HOMES = {
    "afa.pipeline": ("AFAPipeline",),
    "afa.sabw": ("SABW",),
    "api": ("Merged", "Run", "Scores", "compare", "gate", "load_results", "merge", "run", "score", "table"),
    "ensembles.aggregator": ("Aggregator",),
    "errors": ("NotFetchedError", "NotFoundError", "NothingToDoError", "UserError"),
    "extractors.base": ("Extractor",),
    "gate": ("Decision", "Finding", "Policy", "Verdict"),
    "merging.method": ("merge_method",),
    "merging.recipe": ("Recipe",),
    "method": ("Denoiser", "Method", "Model", "Options"),
    "metrics.base": ("Features", "Metric"),
    "prompts.base": ("Prompt", "PromptSet"),
    "suite": ("Suite",),
    "tables": ("Results", "Table"),
    "training.trainable": ("Learner", "Trainable"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME]  # the one list of names is above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """``run`` and ``gate`` are functions here, and modules below: importing one of these leaves the function in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
