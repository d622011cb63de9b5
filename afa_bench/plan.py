"""A suite becomes a plan: cells (group x method x steps) and samples (prompt x image x repeat), each with its identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from afa_bench import registry
from afa_bench.cells import Cell, Plan, Samples, Task, folder_name
from afa_bench.checkpoints.hashing import hash_weights
from afa_bench.chosen import is_meant
from afa_bench.errors import NothingToDoError, UserError, suggest
from afa_bench.identity import fingerprint, fingerprint_of_rows
from afa_bench.images import stored as images
from afa_bench.log import LOG
from afa_bench.method import Method, Options
from afa_bench.metrics.base import Metric
from afa_bench.metrics.read import read_metric
from afa_bench.models.cut import cut_notes
from afa_bench.models.group import Group, read_group, read_group_file
from afa_bench.models.identity import changed_since, group_identity
from afa_bench.models.sampling import check_sampling
from afa_bench.prompts.base import Prompt, notes_of, read_prompts
from afa_bench.reading import Choice, validated
from afa_bench.suite import Suite

SQUARES = "as seen, the square in the centre"
"""How real images are denoised (:mod:`afa_bench.images.square`)."""


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
    prompts = read_prompts(prompt_set, folder, f"{suite.file}: prompts: {suite.prompts.name}")[: prompt_set.limit][:limit]
    if not prompts:
        raise NothingToDoError(f"{suite.file}: prompts: {suite.prompts.name}: no prompt left to work on")
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
        **{f"prompts_{key}": value for key, value in registry.origin(type(prompt_set)).items()},
    }
    # Where an image is no square, or there are several ways to read it, how it becomes one is part of what a loss is.
    real = [prompt.image for prompt in prompts if prompt.image is not None] if any(m.task == "denoise" for m in metrics) else []
    if not real and (measuring := [metric.title for metric in metrics if metric.task == "denoise"]):
        raise UserError(f"{suite.file}: metrics: {measuring[0]}: none of the prompts has an image to denoise")
    if real and suite.height != suite.width:
        raise UserError(f"{suite.file}: size: {suite.pixels}; expected one number, since real images are denoised")
    squares = {} if all(images.is_plain(image, square=True) for image in real) else {"images": SQUARES}
    chosen = [read_group(name, folder, f"{suite.file}: groups") for name in groups or suite.groups]
    _known(suite, chosen, only)
    counts = list(dict.fromkeys(steps or suite.steps))
    check_groups(suite, [group.name for group in chosen], groups)
    check_generation(suite, chosen, metrics, counts)
    cells = [cell for group in chosen for cell in _group_cells(suite, group, shared, metrics, counts, only, squares)]
    if not cells:
        raise NothingToDoError(f"{suite.file}: methods: none applies to the groups chosen")
    name = suite.name + (f"-size{suite.size}" if size else "") + (f"-limit{limit}" if limit is not None else "")
    unread = [*_unused_negatives(suite, prompts, chosen), *_cut(suite, prompts, chosen)]
    for note in unread:
        LOG.warning("%s", note)
    notes = [*notes_of(prompt_set, folder, prompts), *unread]
    return Plan(suite, name, prompt_set, samples, cells, metrics, whole=not (only or steps or groups), notes=notes)


def check_groups(suite: Suite, names: Sequence[str], instead: Sequence[str] = ()) -> None:
    """Make sure that every group has a name of its own, and that those which methods are restricted to are there.

    Args:
        suite: as read.
        names: of the groups chosen.
        instead: what was chosen in place of the suite's own groups.

    Raises:
        UserError: two groups of one name, which would share their results; or the name of a group that there is not.
    """
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{suite.file}: groups: two are called {name}; expected a name of its own for each")
    where = f"{suite.file}: groups"
    known = [*names, *(read_group_file(name, suite.file.parent, where).name for name in (suite.groups if instead else ()))]
    for choice in suite.methods:
        for name in choice.groups or ():
            if name not in known:
                raise UserError(f"{suite.file}: methods: {choice.name}: groups: unknown group {name!r}: {suggest(name, known)}")


def check_generation(suite: Suite, groups: Sequence[Group], metrics: Sequence[Metric], steps: Sequence[int]) -> None:
    """Make sure, before any work, that the groups' models can be sampled as the suite asks.

    Raises:
        UserError: a scheduler that there is not, too many steps, or a size that has no latents of its own.
    """
    generates = any(metric.task == "generate" for metric in metrics)
    for group in groups:
        try:
            check_sampling(group, suite.sampler, steps if generates else (), (suite.height, suite.width))
        except UserError as error:
            raise type(error)(f"{suite.file}: {error} (group {group.name})") from error


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
        kind = registry.load("methods", choice.name, where, choice.folder)
        method: Method[Any] = kind()
        if method.needs_guidance and suite.sampler.guidance <= 1:
            raise UserError(
                f"{where}: {choice.name}: needs sampler.guidance above 1, since it compares the conditional with the "
                f"unconditional prediction; the suite has {suite.sampler.guidance:g}"
            )
        options = method.read_options(choice.options, f"{where}: {choice.name}", choice.folder)
        variants = method.variants(group, options)
        if choice.label is not None and len(variants) > 1:
            raise UserError(f"{where}: {choice.name}: label: this method fills {len(variants)} rows, which name themselves")
        rows += [(choice.label or label, method, variant) for label, variant in variants.items()]
    _unique(suite, "methods", [label for label, _, _ in rows])
    folders: dict[str, str] = {}
    for label, method, options in rows:
        other = folders.setdefault(fingerprint([folder_name(group.name, label).casefold(), method.identity(options)]), label)
        if other != label:
            raise UserError(f"{suite.file}: methods: {other} and {label} are one and the same, in one folder; leave one out")
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
    changed = changed_since(group, suite.sampler.scheduler)
    drawn = {**models, "pipeline": {**models["pipeline"], "settings": changed}} if changed else models
    cells: list[Cell] = []
    rows = rows_of(suite, group)
    labels = [label for label, _, _ in rows]
    for order, (label, method, options) in enumerate(rows):
        if only and not is_meant(only, label, method.name, labels):
            continue
        weights = method.weights(group, options)
        about = method.identity(options)
        about["options"] = {key: value for key, value in about["options"].items() if key not in weights}
        about["weights"] = {role: hash_weights(path) for role, path in weights.items()}
        identity = {**shared, "group": models, "method": about}
        denoise = [metric.identity() for metric in metrics if metric.task == "denoise" and not method.needs_guidance]
        tasks: list[tuple[Task, int | None, dict[str, Any]]] = (
            [("denoise", None, {"denoise": denoise, **squares})] if denoise else []
        )
        if any(metric.task == "generate" for metric in metrics):
            tasks += [("generate", n, {"sampler": suite.sampler.identity(), "steps": n, "group": drawn}) for n in steps]
        for task, n, extra in tasks:
            cells.append(Cell(group, method, options, label, order, task, n, {**identity, "task": task, **extra}))
    return cells


def configured(suite: Suite, key: Literal["prompts", "metrics"], choice: Choice) -> Any:
    """The prompt set or metric that a suite chooses, with its options.

    Raises:
        UserError: an unknown name or option.
    """
    where = f"{suite.file}: {key}"
    choice.refuse(where, "groups", *(["label"] if key == "prompts" else []))
    if key == "metrics":
        return read_metric(choice.name, choice.options, where, choice.folder, choice.label)
    kind = registry.load(key, choice.name, where, choice.folder)
    return validated(kind, choice.options, f"{where}: {choice.name}", noun="option", folder=choice.folder)


def _unique(suite: Suite, key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{suite.file}: {key}: {name} is specified twice; give one a label")


def _known(suite: Suite, groups: Sequence[Group], only: Sequence[str]) -> None:
    rows = [row for group in groups for row in rows_of(suite, group)] if only else []
    known = dict.fromkeys([method.name for _, method, _ in rows] + [label for label, _, _ in rows])
    for name in only:
        if name not in known:
            raise UserError(f"--only: unknown method {name!r}: {suggest(name, known)}")


def _digest(prompts: Sequence[Prompt]) -> str:
    """Of what is drawn and compared with; negative prompts are part of it where there are any."""
    return fingerprint_of_rows(
        [prompt.id, prompt.text, prompt.image and images.identity(prompt.image)]
        + ([prompt.negative] if prompt.negative is not None else [])
        for prompt in prompts
    )


def _unused_negatives(suite: Suite, prompts: Sequence[Prompt], groups: Sequence[Group]) -> list[str]:
    """One line where negative prompts, the sampler's or the prompts' own, take no part, or none."""
    if not suite.sampler.negative_prompt and not any(prompt.negative for prompt in prompts):
        return []
    if (guidance := suite.sampler.guidance) <= 1:
        return [f"{suite.file}: negative prompts take no part: sampler.guidance is {guidance:g}, expected more than 1"]
    unguided = {group.name: group.family.title for group in groups if not group.family.classifier_free}
    if not unguided:
        return []
    said = f"negative prompts take no part in {', '.join(unguided)}"
    return [f"{suite.file}: {said}: {' and '.join(dict.fromkeys(unguided.values()))} has no unconditional half"]


def _cut(suite: Suite, prompts: Sequence[Prompt], groups: Sequence[Group]) -> Iterator[str]:
    """A line where texts are longer than what a group's text encoders read."""
    if suite.sampler.long_prompts == "cut":
        negatives = [suite.sampler.negative(prompt.negative) for prompt in prompts]
        for group in groups:
            guided = suite.sampler.guidance > 1 and group.family.classifier_free
            more = " (sampler.long_prompts: chunks reads all of them)" if group.family.in_pieces else ""
            for note in cut_notes(group, [prompt.text for prompt in prompts], negatives if guided else ()):
                yield note + more
