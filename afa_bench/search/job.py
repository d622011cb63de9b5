"""A search of a suite's group from end to end: what is searched, the search, and the files that it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from afa_bench import registry
from afa_bench.architectures.layout import BASE
from afa_bench.cells import Sample
from afa_bench.errors import UserError, suggest
from afa_bench.log import LOG
from afa_bench.merging.method import MergeMethod, find_merge_method
from afa_bench.merging.recipe import plain
from afa_bench.metrics.base import Metric
from afa_bench.models.cut import cut_notes
from afa_bench.models.group import Group, ModelRef, read_group
from afa_bench.models.identity import group_identity
from afa_bench.models.load import load_group
from afa_bench.plan import check_generation, configured
from afa_bench.prompts.base import PromptSet, notes_of
from afa_bench.reading import Choice
from afa_bench.search.auto_mbw import Budget, Found, Rules, Search
from afa_bench.search.log import Log
from afa_bench.search.picture import picture
from afa_bench.search.scoring import ImageJudge
from afa_bench.search.space import Kind, Space, Weights, block_groups, models_space, number_space
from afa_bench.store.atomic import write_bytes, write_json
from afa_bench.suite import Suite

MBW = "mbw"


@dataclass(frozen=True)
class Job:
    """What is searched.

    Attributes:
        suite: whose sampler, size and prompts are used.
        group: whose models are merged.
        scorer: a metric of one value an image.
        samples: what is drawn of every candidate.
        steps: of the sampler.
        models: in the merge method's order.
        method: how they are merged.
        space: what of it is searched.
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
    models: Sequence[ModelRef]
    method: MergeMethod
    space: Space
    together: int
    base: bool
    rules: Rules
    budget: Budget
    warnings: Sequence[str]

    def about(self) -> dict[str, Any]:
        """All that fixes the scores and the order of the candidates: the first line of the log. More sweeps go on from fewer."""
        about = {
            "search": "autoMBW",
            "version": 1,
            "suite": self.suite.name,
            "group": group_identity(self.group),
            "scorer": self.scorer.identity(),
            "samples": [[sample.id, sample.seed] for sample in self.samples],
            "sampler": {**self.suite.sampler.identity(), "steps": self.steps, "size": self.suite.size},
            "dtype": self.suite.dtype,
            "form": self.space.kind,
            "together": self.together,
            "base": self.base,
            "rules": {"images": list(self.rules.images), "clearly": self.rules.clearly},
        }
        if self.method.name != MBW or self.models != list(self.group.models):
            about |= {"method": self.method.title, "setting": self.space.names, "models": [model.name for model in self.models]}
            about |= registry.origin(self.method.function)
        return about


def make_job(
    suite: Suite,
    scorer: Choice,
    group: str,
    *,
    steps: int | None = None,
    method: str = MBW,
    setting: str | None = None,
    models: Sequence[str] = (),
    kind: Kind = "simplex",
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
        method: a merge method.
        setting: which of its numbers is searched; the first by default. ``mbw`` has none: its models' weights are searched.
        models: names in the merge method's order; by default all of the group's, in its order.
        kind: of ``mbw``: points of the simplex, or the strict two-model form, one model after the other.
        together, base, rules, budget: see :class:`Job`.

    Raises:
        UserError: an unknown name, a metric that is none of an image, too few models or prompts, more steps than can be sampled.
    """
    reported: list[Metric] = [configured(suite, "metrics", choice) for choice in suite.metrics]
    name = registry.anchored(scorer.name, scorer.folder)
    known = [choice for choice in suite.metrics if registry.anchored(choice.name, choice.folder) == name]
    metric: Metric = configured(suite, "metrics", known[0] if known and not scorer.options else scorer)
    if metric.kind != "per-sample" or metric.task != "generate":
        raise UserError(f"--scorer: {metric.title} is no metric of one image; expected one such as clip-t")
    if suite.sampler.long_prompts != "cut":
        raise UserError(f"{suite.file}: sampler.long_prompts: {suite.sampler.long_prompts}; expected cut: a search reads no more")
    found = read_group(group or suite.groups[0], suite.file.parent, f"{suite.file}: groups")
    chosen, merged = _models(found, models), find_merge_method(method, "--method")
    if len(chosen) < 2:
        raise UserError(f"search: group {found.name} has one model; expected two or more to merge")
    space = _space(merged, setting, [model.name for model in chosen], kind)
    found.family.require_layout(f"search: group {found.name}")
    steps = steps or min(suite.steps)
    check_generation(suite, [found], [metric], [steps])
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
    warnings += cut_notes(found, [prompt.text for prompt in prompts], [suite.sampler.negative(each.negative) for each in prompts])
    samples = [Sample(prompt, 0, 0, suite.seed) for prompt in prompts]
    return Job(suite, found, metric, samples, steps, chosen, merged, space, together, base, rules, budget, warnings)


def _models(group: Group, names: Sequence[str]) -> list[ModelRef]:
    known = {model.name: model for model in group.models}
    for name in names:
        if name not in known:
            raise UserError(f"--models: unknown model {name!r}: {suggest(name, known)}")
    return [known[name] for name in names] or list(group.models)


def _space(method: MergeMethod, setting: str | None, names: Sequence[str], kind: Kind) -> Space:
    if method.name == MBW:
        if setting is not None:
            raise UserError("--setting: mbw's models' weights are searched; expected another --method beside it")
        return models_space(names, kind)
    if not method.numbers:
        raise UserError(f"--method: {method.name} has no setting that may differ by block")
    if setting is not None and setting not in method.numbers:
        raise UserError(f"--setting: unknown setting {setting!r} of {method.name}: {suggest(setting, method.numbers)}")
    method.require_fit(len(names), {}, "search")
    name = setting or method.numbers[0]
    return number_space(name, method.defaults[name])


def run_job(job: Job, out: Path, device: str, report: Callable[[Mapping[str, Any]], None]) -> Found:
    """Search, and write ``recipe.yaml``, ``search.json`` and ``blocks.png`` beside ``log.jsonl``. Run again to go on.

    Interrupted, it leaves the recipe of the best so far, and says so.

    Args:
        job: what to search.
        out: a folder.
        device: a torch device.
        report: told each candidate's line of the log.

    Raises:
        UserError: a log of another search, or one that another process is writing; models that do not load or cannot be merged; a
            budget of nothing.
    """
    log = Log(out / "log.jsonl", job.about())
    try:
        return _run(job, log, out, device, report)
    finally:
        log.close()


def _run(job: Job, log: Log, out: Path, device: str, report: Callable[[Mapping[str, Any]], None]) -> Found:
    loaded = load_group(job.group, device, getattr(torch, job.suite.dtype))
    models = [next(model for model in loaded.models if model.name == ref.name) for ref in job.models]
    judge = ImageJudge(loaded, models, job.suite, job.samples, job.scorer, job.steps, job.method, job.space, device)
    layout = judge.rewriter.layout
    groups = block_groups(layout, job.together, job.base)
    search = Search(judge, groups, job.space.stages, job.rules, job.budget, log, report)
    try:
        found = search.run(job.space.begin(layout.blocks))
    except BaseException:
        if search.begun:
            write_bytes(out / "recipe.yaml", recipe_text(job, search.best.weights, layout.blocks, out).encode())
            LOG.warning("%s has the best so far, %.4f; the same command goes on", out / "recipe.yaml", search.best.mean)
        raise
    write_bytes(out / "recipe.yaml", recipe_text(job, found.best.weights, layout.blocks, out).encode())
    write_json(out / "search.json", {**summary(found), "budget": asdict(job.budget), "warnings": list(job.warnings)})
    title = f"autoMBW on {job.group.name}, {job.scorer.title}"
    picture(found.best.weights, (BASE, *layout.blocks), job.space.names, title).save(out / "blocks.png", optimize=True)
    return found


def recipe_text(job: Job, weights: Weights, blocks: Sequence[str], folder: Path) -> str:
    """The recipe, for ``afa-bench merge`` and for the option ``recipe`` of the method ``merge``; paths relative to it."""

    def place(path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()

    document = {
        "models": {model.name: place(model.path) for model in job.models},
        "method": registry.relative(job.method.name, folder),
        "like": place(job.group.pipeline),
        **({"architecture": job.group.architecture} if job.group.family.identity() else {}),
        **plain(job.space.settings(weights, blocks)),
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
