"""A suite becomes cells (group x method x steps) and samples (prompt x image x repeat), and both get their identity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, overload

from afa_bench import registry
from afa_bench.checkpoints.hashing import hash_weights
from afa_bench.errors import NOTHING_TO_DO, UserError
from afa_bench.identity import fingerprint, fingerprint_of_rows, sample_id, seed_of
from afa_bench.images import stored as images
from afa_bench.log import LOG
from afa_bench.method import Method, Options
from afa_bench.metrics.base import Metric
from afa_bench.models.group import Group, read_group
from afa_bench.models.identity import group_identity
from afa_bench.prompts.base import Prompt, PromptSet, notes_of
from afa_bench.reading import validated
from afa_bench.suite import Choice, Suite

SHARD = 32
"""Samples a shard. Fixed, so that a resumed run cuts its work as the first one did and repeats its very bytes."""

SQUARES = "as seen, the square in the centre"
"""How real images are denoised (:mod:`afa_bench.images.square`)."""

Task = Literal["generate", "denoise"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to make: which prompt, which of its images, which repeat, in a suite of which seed."""

    prompt: Prompt
    image_index: int
    repeat: int
    suite_seed: int

    @property
    def seed(self) -> int:
        """Of its initial noise, the same for all methods."""
        return seed_of(self.suite_seed, self.prompt.id, self.image_index, self.repeat)

    @property
    def id(self) -> str:
        """Unique in the suite, the same for all methods."""
        return sample_id(self.prompt.id, self.image_index, self.repeat)


@dataclass(frozen=True)
class Samples(Sequence[Sample]):
    """All samples of a plan, made when they are asked for: a million prompts take the room of their texts."""

    prompts: Sequence[Prompt]
    images_per_prompt: int
    repeats: int
    seed: int

    def __len__(self) -> int:
        return len(self.prompts) * self.images_per_prompt * self.repeats

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place, repeat = divmod(range(len(self))[index], self.repeats)
        prompt, image = divmod(place, self.images_per_prompt)
        return Sample(self.prompts[prompt], image, repeat, self.seed)


@dataclass(frozen=True)
class Shards(Sequence[Sequence[Sample]]):
    """Samples, cut into shards of ``size``."""

    samples: Sequence[Sample]
    size: int

    def __len__(self) -> int:
        return -(-len(self.samples) // self.size)

    @overload
    def __getitem__(self, index: int) -> Sequence[Sample]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sequence[Sample]]: ...

    def __getitem__(self, index: int | slice) -> Sequence[Sample] | list[Sequence[Sample]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = range(len(self))[index] * self.size
        return self.samples[start : start + self.size]


@dataclass(frozen=True)
class Cell:
    """One row of a table at one number of steps: a method on a group.

    A ``denoise`` cell measures the denoiser itself on real images; it has no steps and makes no image.
    """

    group: Group
    method: Method[Any]
    options: Options
    label: str
    order: int
    task: Task
    steps: int | None
    identity: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that fixes this cell's results."""
        return fingerprint(self.identity)

    @property
    def title(self) -> str:
        """For whoever watches."""
        return f"{self.group.name} {self.label} {f'{self.steps} steps' if self.steps else 'denoiser'}"

    @property
    def name(self) -> str:
        """Its folder: readable, and unique by the fingerprint."""
        task = f"{self.steps:03d}" if self.steps else self.task
        readable = re.sub(r"[^A-Za-z0-9-]+", "_", f"{self.group.name}-{self.label}")[:80]
        return f"{readable}.{task}.{self.fingerprint[:8]}"


@dataclass(frozen=True)
class Plan:
    """Everything that a run does, known before it starts.

    Attributes:
        name: of the results' folder.
        whole: whether these are all cells of the suite.
        notes: what is to be said of the prompts, a line each.
    """

    suite: Suite
    name: str
    prompts: PromptSet
    samples: Samples
    cells: Sequence[Cell]
    metrics: Sequence[Metric]
    whole: bool = True
    shard_size: int = SHARD
    notes: Sequence[str] = ()

    def cell_samples(self, cell: Cell) -> Sequence[Sample]:
        """The samples of a cell: a denoiser is measured once a prompt."""
        return self.samples if cell.task == "generate" else replace(self.samples, images_per_prompt=1, repeats=1)

    def shards(self, cell: Cell) -> Sequence[Sequence[Sample]]:
        """A cell's samples, cut into shards."""
        return Shards(self.cell_samples(cell), self.shard_size)


def make_plan(
    suite: Suite,
    *,
    limit: int | None = None,
    only: Sequence[str] = (),
    steps: Sequence[int] = (),
    groups: Sequence[str] = (),
    size: int | None = None,
) -> Plan:
    """Plan a suite, or a part of it.

    Args:
        suite: as read.
        limit: the first so many prompts; the results are filed apart (``<suite>-limit<N>``), since they answer another question.
        only: method or row names to keep.
        steps: numbers of steps in place of the suite's.
        groups: group names in place of the suite's.
        size: of the images in place of the suite's, for models of another size; filed apart (``<suite>-size<N>``).

    Raises:
        UserError: an unknown name or option, a missing folder, or nothing left to do.
    """
    folder = suite.file.parent
    suite = suite if size is None else suite.model_copy(update={"size": size})
    prompt_set = configured(suite, "prompts", suite.prompts)
    prompts = list(prompt_set.prompts(folder))[: prompt_set.limit][:limit]
    if not prompts:
        raise UserError(f"{suite.file}: prompts: {suite.prompts.name}: no prompt left to work on", NOTHING_TO_DO)
    metrics = [configured(suite, "metrics", choice) for choice in suite.metrics]
    _unique(suite, "metrics", [metric.key for metric in metrics])
    samples = Samples(prompts, suite.images_per_prompt, suite.repeats, suite.seed)
    shared = {
        "suite": suite.name,
        "revision": suite.revision,
        "prompts": _digest(prompts),
        "seed": suite.seed,
        "images_per_prompt": suite.images_per_prompt,
        "repeats": suite.repeats,
        "size": suite.size,
        "dtype": suite.dtype,
    }
    # Where an image is no square, or there are several ways to read it, how it becomes one is part of what a loss is.
    real = [prompt.image for prompt in prompts if prompt.image is not None] if any(m.task == "denoise" for m in metrics) else []
    squares = {} if all(images.is_plain(image, square=True) for image in real) else {"images": SQUARES}
    chosen = [read_group(name, folder, f"{suite.file}: groups") for name in groups or suite.groups]
    _known(suite, chosen, only)
    counts = list(dict.fromkeys(steps or suite.steps))
    cells = [cell for group in chosen for cell in _group_cells(suite, group, shared, metrics, counts, only, squares)]
    if not cells:
        raise UserError(f"{suite.file}: methods: none applies to the groups chosen", NOTHING_TO_DO)
    name = suite.name + (f"-size{suite.size}" if size else "") + (f"-limit{limit}" if limit is not None else "")
    unused = _unused_negatives(suite, prompts, chosen)
    for note in unused:
        LOG.warning("%s", note)
    notes = [*notes_of(prompt_set, folder, prompts), *unused]
    return Plan(suite, name, prompt_set, samples, cells, metrics, whole=not (only or steps or groups), notes=notes)


def rows_of(suite: Suite, group: Group) -> list[tuple[str, Method[Any], Options]]:
    """The rows of a suite's table for a group: label, method, options. No weights are read.

    Raises:
        UserError: an unknown method or option, or one that does not fit the suite or the group.
    """
    rows: list[tuple[str, Method[Any], Options]] = []
    for choice in suite.methods:
        if choice.groups is not None and group.name not in choice.groups:
            continue
        where = f"{suite.file}: methods"
        kind = registry.load("methods", choice.name, where)
        method: Method[Any] = kind()
        if method.needs_guidance and suite.sampler.guidance <= 1:
            raise UserError(
                f"{where}: {choice.name}: needs sampler.guidance above 1, since it compares the conditional with the "
                f"unconditional prediction; the suite has {suite.sampler.guidance:g}"
            )
        options = validated(kind.Options, choice.options, f"{where}: {choice.name}", noun="option")
        variants = method.variants(group, options)
        if choice.label is not None and len(variants) > 1:
            raise UserError(f"{where}: {choice.name}: label: this method fills {len(variants)} rows, which name themselves")
        rows += [(choice.label or label, method, variant) for label, variant in variants.items()]
    _unique(suite, "methods", [label for label, _, _ in rows])
    return rows


def _group_cells(
    suite: Suite,
    group: Group,
    shared: Mapping[str, Any],
    metrics: Sequence[Metric],
    steps: Sequence[int],
    only: Sequence[str],
    squares: Mapping[str, str],
) -> list[Cell]:
    models = group_identity(group)
    cells: list[Cell] = []
    for order, (label, method, options) in enumerate(rows_of(suite, group)):
        if only and method.name not in only and label not in only:
            continue
        weights = method.weights(group, options)
        identity = {
            **shared,
            "group": models,
            "method": {
                "name": method.name,
                "version": method.version,
                "options": options.model_dump(mode="json", exclude=set(weights)),
                "weights": {role: hash_weights(path) for role, path in weights.items()},
            },
        }
        denoise = [metric.identity() for metric in metrics if metric.task == "denoise" and not method.needs_guidance]
        tasks: list[tuple[Task, int | None, dict[str, Any]]] = (
            [("denoise", None, {"denoise": denoise, **squares})] if denoise else []
        )
        if any(metric.task == "generate" for metric in metrics):
            tasks += [("generate", n, {"sampler": suite.sampler.model_dump(), "steps": n}) for n in steps]
        for task, n, extra in tasks:
            cells.append(Cell(group, method, options, label, order, task, n, {**identity, "task": task, **extra}))
    return cells


def configured(suite: Suite, key: Literal["prompts", "metrics"], choice: Choice) -> Any:
    """The prompt set or metric that a suite chooses, with its options.

    Raises:
        UserError: an unknown name or option.
    """
    where = f"{suite.file}: {key}"
    return validated(registry.load(key, choice.name, where), choice.options, f"{where}: {choice.name}", noun="option")


def _unique(suite: Suite, key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{suite.file}: {key}: {name} is there twice; give one a label")


def _known(suite: Suite, groups: Sequence[Group], only: Sequence[str]) -> None:
    rows = [row for group in groups for row in rows_of(suite, group)] if only else []
    known = dict.fromkeys([method.name for _, method, _ in rows] + [label for label, _, _ in rows])
    for name in only:
        if name not in known:
            raise UserError(f"--only: unknown method {name!r}: {registry.suggest(name, known)}")


def _digest(prompts: Sequence[Prompt]) -> str:
    """Of what is drawn and compared with; negative prompts are part of it where there are any."""
    return fingerprint_of_rows(
        [prompt.id, prompt.text, prompt.image and images.identity(prompt.image)]
        + ([prompt.negative] if prompt.negative is not None else [])
        for prompt in prompts
    )


def _unused_negatives(suite: Suite, prompts: Sequence[Prompt], groups: Sequence[Group]) -> list[str]:
    """One line where the prompts have negative prompts that take no part, or none."""
    if not any(prompt.negative for prompt in prompts):
        return []
    if (guidance := suite.sampler.guidance) <= 1:
        return [f"{suite.file}: negative prompts take no part: sampler.guidance is {guidance:g}, expected more than 1"]
    unguided = ", ".join(group.name for group in groups if group.architecture == "flux")
    return [f"{suite.file}: negative prompts take no part in {unguided}: FLUX has no unconditional half"] if unguided else []
