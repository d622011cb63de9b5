"""A search of a suite's group from end to end: what is searched, the search, and the files that it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from afa_bench.architectures.layout import BASE, layout_of_unet
from afa_bench.errors import UserError
from afa_bench.metrics.base import Metric
from afa_bench.models.group import Group, read_group
from afa_bench.models.identity import group_identity
from afa_bench.models.load import load_group
from afa_bench.plan import Sample, configured
from afa_bench.prompts.base import PromptSet, notes_of
from afa_bench.search.auto_mbw import Budget, Found, Rules, Search
from afa_bench.search.log import Log
from afa_bench.search.picture import picture
from afa_bench.search.scoring import ImageJudge
from afa_bench.search.space import Form, Weights, block_groups, stages, start
from afa_bench.store.atomic import write_bytes, write_json
from afa_bench.suite import Choice, Suite


@dataclass(frozen=True)
class Job:
    """What is searched.

    Attributes:
        suite: whose sampler, size and prompts are used.
        group: whose models are merged.
        scorer: a metric of one value an image.
        samples: what is drawn of every candidate.
        steps: of the sampler.
        form: points of the simplex, or the strict two-model form, one model after the other.
        together: blocks of a group.
        base: whether BASE is searched.
        rules, budget: see :mod:`auto_mbw`.
        warnings: what makes the result look better than it is.
    """

    suite: Suite
    group: Group
    scorer: Metric
    samples: Sequence[Sample]
    steps: int
    form: Form
    together: int
    base: bool
    rules: Rules
    budget: Budget
    warnings: Sequence[str]

    @property
    def names(self) -> list[str]:
        """Of the models."""
        return [model.name for model in self.group.models]

    def about(self) -> dict[str, Any]:
        """All that fixes the scores and the order of the candidates: the first line of the log."""
        return {
            "search": "autoMBW",
            "version": 1,
            "suite": self.suite.name,
            "group": group_identity(self.group),
            "scorer": self.scorer.identity(),
            "samples": [[sample.id, sample.seed] for sample in self.samples],
            "sampler": {**self.suite.sampler.model_dump(), "steps": self.steps, "size": self.suite.size},
            "dtype": self.suite.dtype,
            "form": self.form,
            "together": self.together,
            "base": self.base,
            "rules": {**asdict(self.rules), "images": list(self.rules.images)},
        }


def make_job(
    suite: Suite,
    scorer: Choice,
    group: str,
    *,
    steps: int | None = None,
    form: Form = "simplex",
    together: int = 2,
    base: bool = False,
    rules: Rules,
    budget: Budget,
) -> Job:
    """Read what a search needs and check it; no model is loaded.

    Args:
        suite: as read.
        scorer: a metric's name and options; one that the suite reports may be named alone.
        group: of the suite or any other; the suite's first by default (``""``).
        steps: of the sampler; the suite's smallest number by default.
        form, together, base, rules, budget: see :class:`Job`.

    Raises:
        UserError: an unknown name, a metric that is none of an image, too few models or prompts.
    """
    reported: list[Metric] = [configured(suite, "metrics", choice) for choice in suite.metrics]
    known = [choice for choice in suite.metrics if choice.name == scorer.name]
    metric: Metric = configured(suite, "metrics", known[0] if known and not scorer.options else scorer)
    if metric.kind != "per-sample" or metric.task != "generate":
        raise UserError(f"--scorer: {metric.title} is no metric of one image; expected one such as clip-t")
    found = read_group(group or suite.groups[0], suite.file.parent, f"{suite.file}: groups")
    if len(found.models) < 2:
        raise UserError(f"search: group {found.name} has one model; expected two or more to merge")
    if found.architecture not in ("sd15", "sdxl"):
        raise UserError(
            f"search: group {found.name} is {found.architecture}; expected models of SD 1.5 or SDXL, which have MBW's blocks"
        )
    warnings = []
    if metric.key in {one.key for one in reported}:
        warnings.append(f"{metric.title} is searched for and reported by suite {suite.name}: there it is no independent measure")
    count = rules.images[-1]
    prompt_set: PromptSet = configured(suite, "prompts", suite.prompts)
    everything = prompt_set.prompts(suite.file.parent)
    prompts = everything[prompt_set.limit : prompt_set.limit + count] if prompt_set.limit else []
    if len(prompts) < count:
        prompts = everything[:count]
        warnings.append(f"the suite leaves no {count} prompts over: the search sees prompts that the suite reports on")
    if len(prompts) < count:
        raise UserError(f"--images: {count}; the suite has {len(prompts)} prompts")
    notes_of(prompt_set, suite.file.parent, prompts)
    samples = [Sample(prompt, 0, 0, suite.seed) for prompt in prompts]
    return Job(suite, found, metric, samples, steps or min(suite.steps), form, together, base, rules, budget, warnings)


def run_job(job: Job, out: Path, device: str, report: Callable[[Mapping[str, Any]], None]) -> Found:
    """Search, and write ``recipe.yaml``, ``search.json`` and ``blocks.png`` beside ``log.jsonl``. Run again to go on.

    Args:
        job: what to search.
        out: a folder.
        device: a torch device.
        report: told each candidate's line of the log.

    Raises:
        UserError: a log of another search, models that do not load or cannot be merged, a budget of nothing.
    """
    log = Log(out / "log.jsonl", job.about())
    loaded = load_group(job.group, device, getattr(torch, job.suite.dtype))
    judge = ImageJudge(loaded, job.suite, job.samples, job.scorer, job.steps, device)
    layout = layout_of_unet(loaded.models[0].unet.config)  # type: ignore[arg-type]
    groups = block_groups(layout, job.together, job.base)
    found = Search(judge, groups, stages(job.names, job.form), job.rules, job.budget, log, report).run(
        start(layout, len(job.names), job.form)
    )
    log.close()
    write_bytes(out / "recipe.yaml", recipe_text(job, found.best.weights, layout.blocks, out).encode())
    write_json(out / "search.json", {**summary(found), "budget": asdict(job.budget), "warnings": list(job.warnings)})
    title = f"autoMBW on {job.group.name}, {job.scorer.title}"
    picture(found.best.weights, (BASE, *layout.blocks), job.names, title).save(out / "blocks.png", optimize=True)
    return found


def recipe_text(job: Job, weights: Weights, blocks: Sequence[str], folder: Path) -> str:
    """The MBW recipe, for ``afa-bench merge`` and for the option ``recipe`` of the method ``mbw``; paths relative to it."""

    def place(path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()

    document = {
        "models": {model.name: place(model.path) for model in job.group.models},
        "form": "mbw",
        "like": place(job.group.pipeline),
        "base": list(weights[BASE]),
        "simplex": [list(weights[block]) for block in blocks],
    }
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)


def summary(found: Found) -> dict[str, Any]:
    """What a search found and spent."""
    return {
        "reason": found.reason,
        "merges": found.spent.merges,
        "images": found.spent.images,
        "seconds": round(found.spent.seconds, 1),
        "start": {"mean": found.first.mean, "scores": list(found.first.scores)},
        "best": {"mean": found.best.mean, "scores": list(found.best.scores)},
    }
