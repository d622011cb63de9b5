"""afa-bench: a benchmark and evaluation harness for ensembles and merges of diffusion models.

What a library user needs is here, and is imported when it is first asked for: ``import afa_bench`` itself imports nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afa_bench.afa.pipeline import AFAPipeline
    from afa_bench.afa.sabw import SABW
    from afa_bench.api import Merged, Run, Scores, compare, gate, load_results, merge, run, score, table
    from afa_bench.errors import NotFetchedError, NotFoundError, NothingToDoError, UserError
    from afa_bench.extractors.base import Extractor
    from afa_bench.gate import Decision, Finding, Policy, Verdict
    from afa_bench.merging.recipe import Recipe
    from afa_bench.method import Denoiser, Method, Model, Options
    from afa_bench.metrics.base import Features, Metric
    from afa_bench.prompts.base import Prompt, PromptSet
    from afa_bench.suite import Suite
    from afa_bench.tables import Results, Table
    from afa_bench.training.trainable import Learner, Trainable

__version__ = "0.1.0"

__all__ = [
    "SABW",
    "AFAPipeline",
    "Decision",
    "Denoiser",
    "Extractor",
    "Features",
    "Finding",
    "Learner",
    "Merged",
    "Method",
    "Metric",
    "Model",
    "NotFetchedError",
    "NotFoundError",
    "NothingToDoError",
    "Options",
    "Policy",
    "Prompt",
    "PromptSet",
    "Recipe",
    "Results",
    "Run",
    "Scores",
    "Suite",
    "Table",
    "Trainable",
    "UserError",
    "Verdict",
    "__version__",
    "compare",
    "gate",
    "load_results",
    "merge",
    "run",
    "score",
    "table",
]

_HOMES = {
    "afa.pipeline": ("AFAPipeline",),
    "afa.sabw": ("SABW",),
    "api": ("Merged", "Run", "Scores", "compare", "gate", "load_results", "merge", "run", "score", "table"),
    "errors": ("NotFetchedError", "NotFoundError", "NothingToDoError", "UserError"),
    "extractors.base": ("Extractor",),
    "gate": ("Decision", "Finding", "Policy", "Verdict"),
    "merging.recipe": ("Recipe",),
    "method": ("Denoiser", "Method", "Model", "Options"),
    "metrics.base": ("Features", "Metric"),
    "prompts.base": ("Prompt", "PromptSet"),
    "suite": ("Suite",),
    "tables": ("Results", "Table"),
    "training.trainable": ("Learner", "Trainable"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


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
