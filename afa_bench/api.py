"""What the command line does, as functions.

Each takes what its caller has at hand: a path or a name, or the object itself. Nothing is printed; progress is drawn where it is
asked for; errors are :class:`afa_bench.errors.UserError`, each one line. No function imports torch unless it computes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from afa_bench.returned import Merged as Merged
from afa_bench.returned import Run as Run
from afa_bench.returned import Scores as Scores

if TYPE_CHECKING:
    from afa_bench.gate import Decision, Finding, Policy
    from afa_bench.generation.loop import Engine
    from afa_bench.merging.merge import PreparedMerge
    from afa_bench.merging.recipe import Recipe
    from afa_bench.metrics.base import Metric
    from afa_bench.scoring.captions import Carrier
    from afa_bench.suite import Suite
    from afa_bench.tables import Results, Table

PathOrName: TypeAlias = str | PathLike[str]
Names: TypeAlias = str | Iterable[str]
"""One name, several separated by commas, or a list of names."""


def run(
    suite: PathOrName | Mapping[str, Any] | Suite,
    *,
    limit: int | None = None,
    only: Names = (),
    steps: int | Iterable[int] = (),
    groups: Names = (),
    size: int | None = None,
    out: PathOrName = "results",
    device: str = "",
    batch_size: int | None = None,
    strict: bool = False,
    part: tuple[int, int] = (1, 1),
    engine: Engine | None = None,
    progress: bool = False,
) -> Run:
    """Generate what is missing of a suite's results, and score it. Call it again to resume; nothing is done twice.

    Args:
        suite: a file, the name of a packaged suite such as ``mini``, a suite's keys, or a suite.
        limit: only the first so many prompts; filed apart from the whole suite.
        only: methods, by name or by their row's label.
        steps: numbers of sampling steps in place of the suite's.
        groups: of models, in place of the suite's.
        size: of the images in pixels, in place of the suite's; filed apart.
        out: folder of all results, or its URL; this suite's are below, by name.
        device: a torch device; the best there is by default.
        batch_size: samples at once; by the images' size by default.
        strict: whether a metric's missing weights are an error.
        part: ``(I, N)``: only the I-th of N parts of the work.
        engine: how shards are done; in this process by default.
        progress: whether bars are drawn on standard error.

    Raises:
        UserError: a mistake in the suite, a model that does not load, results that cannot be written.
    """
    from afa_bench.devices import chosen_device
    from afa_bench.generation.inline import run_shards
    from afa_bench.plan import make_plan
    from afa_bench.refresh import refresh
    from afa_bench.run import run_plan
    from afa_bench.terminal import Bars
    from afa_bench.workspace import Share

    root = _results_to_write(out)
    counts = [steps] if isinstance(steps, int) else list(steps)
    plan = make_plan(_suite(suite), limit=limit, only=names(only), steps=counts, groups=names(groups), size=size)
    on, batch = chosen_device(device), batch_size or _batch_size(plan.suite.height * plan.suite.width)
    refresh(plan, root)
    outcome = run_plan(plan, root, on, batch, Bars(progress), strict, share=Share(*part), engine=engine or run_shards)
    return Run(root / plan.name, tuple(cell.name for cell in plan.cells), outcome)


def score(
    images: PathOrName,
    metrics: str | Iterable[str | Mapping[str, Any] | Metric],
    *,
    prompts: PathOrName | None = None,
    reference: PathOrName | None = None,
    out: PathOrName | None = None,
    preprocess: str = "",
    dtype: str = "",
    device: str = "",
    batch_size: int = 32,
    threads: int | None = None,
    strict: bool = False,
    captions: Carrier | None = None,
    images_per_prompt: int = 1,
    as_seen: bool = False,
    progress: bool = False,
) -> Scores:
    """Score a folder of images, from whatever source. Call it again to resume.

    Args:
        images: the folder; images in folders below it count, too.
        metrics: names, ``NAME:OPTION=VALUE``, mappings of a name and options, or metrics.
        prompts: a file with a caption a line in the order of the images' names, or a table of file and prompt.
        reference: a folder of real images (those of the same name are pairs), or a file of statistics.
        out: folder of the results, to which other metrics of the same images add; ``scores/`` and a name made of the path of
            ``images`` by default.
        preprocess: ``exact``, by PIL; or ``fast``, on the device.
        dtype: ``float32`` or ``bfloat16``.
        device: a torch device; the best there is by default.
        batch_size: images at once, at most.
        threads: that read and prepare images; one a core by default.
        strict: whether a metric's missing weights are an error.
        captions: in place of ``prompts``, where they are: see :func:`afa_bench.scoring.folder_rows.read_folder`.
        images_per_prompt: images of each line of ``prompts``, in the order of their names.
        as_seen: whether images are read as a viewer shows them, and not as the official loops read them.
        progress: whether a bar is drawn on standard error.

    Raises:
        UserError: nothing can be scored as asked.
    """
    from afa_bench.devices import chosen_device
    from afa_bench.outputs import new_folder
    from afa_bench.paths import expanded
    from afa_bench.scoring.extraction import Extraction
    from afa_bench.scoring.folder import name_of, read_metrics, score_folder
    from afa_bench.terminal import Bars

    chosen = read_metrics(_metrics(metrics), preprocess=preprocess, dtype=dtype)
    source = expanded(images)
    folder = new_folder(out or Path("scores") / name_of(source), "out")
    extraction = Extraction(chosen_device(device), batch_size, threads)
    texts, real = (expanded(path) if path is not None else None for path in (prompts, reference))
    outcome = score_folder(
        source, texts, chosen, real, folder, extraction, strict, captions, images_per_prompt, as_seen, Bars(progress)
    )
    return Scores(folder, outcome, extraction.record)


def merge(
    recipe: PathOrName | Mapping[str, Any] | Recipe | PreparedMerge,
    out: PathOrName,
    *,
    force: bool = False,
    progress: bool = False,
) -> Merged:
    """Merge checkpoints to one checkpoint, tensor by tensor.

    Args:
        recipe: a file, a recipe's keys, a recipe, or one whose models are open. Paths in it are relative to its file; else to the
            working folder.
        out: a .safetensors file (LDM's names), or a new folder (diffusers' layout).
        force: whether a file that exists is replaced.
        progress: whether a bar is drawn on standard error.

    Raises:
        UserError: a mistake in the recipe, models that do not fit, or ``out`` cannot be written.
    """
    from afa_bench.merging.write import destination, write_merge
    from afa_bench.paths import expanded
    from afa_bench.terminal import Bars

    target = destination(expanded(out), force)
    prepared, bars = _opened(recipe), Bars(progress)
    with bars.stage("merging", len(prepared.specs)):
        write_merge(prepared, target, partial(bars.advance, ""), force)
    return Merged(target, len(prepared.specs))


def load_results(results: PathOrName | Results | None = None, *, scored: bool = True) -> Results:
    """The results of a suite.

    Args:
        results: a folder such as ``results/mini`` (or one that holds nothing but this one), its URL, or a suite's name, here or
            among those that come with the package; the latest below ``./results`` by default.
        scored: whether there has to be a value; without, a run that is under way can be looked at before its first.

    Raises:
        NotFoundError: no such folder, and no suite of this name has results.
        NothingToDoError: nothing in it.
        UserError: files that are damaged or do not belong together.
    """
    from afa_bench.tables.find import find_results
    from afa_bench.tables.load import Results
    from afa_bench.tables.scores import open_results

    if isinstance(results, Results):
        return results
    return open_results(find_results(None if results is None else str(results)), scored=scored)


def table(
    results: PathOrName | Results | list[Any] | None = None,
    *,
    steps: int | Iterable[int] = (),
    metrics: Names = (),
    groups: Names = (),
    only: Names = (),
    versus: str | None = None,
    by: str | None = None,
    repeats: bool = False,
) -> Table:
    """A suite's results as a table, which ``str`` and :meth:`~afa_bench.tables.model.Table.render` write.

    Args:
        results: as :func:`load_results` takes them; several, such as the same methods on other prompts, stand side by side, and
            scores of several folders of images in a row each.
        steps, metrics, groups, only, versus, by, repeats: as :func:`afa_bench.tables.build.build_table` takes them.

    Raises:
        UserError: a name or a number that the results do not have.
    """
    from afa_bench.tables.build import build_table
    from afa_bench.tables.scores import together
    from afa_bench.tables.side import side_by_side

    found = together([load_results(part) for part in results] if isinstance(results, list | tuple) else [load_results(results)])
    options: dict[str, Any] = {"metrics": names(metrics), "groups": names(groups), "only": names(only)}
    counts = [steps] if isinstance(steps, int) else list(steps)
    options |= {"steps": counts, "versus": versus, "by": by, "repeats": repeats}
    return build_table(found[0], **options) if len(found) == 1 else side_by_side(found, **options)


def compare(
    base: PathOrName | Results,
    head: PathOrName | Results,
    *,
    metrics: Names = (),
    only: Names = (),
    groups: Names = (),
    steps: int | Iterable[int] = (),
) -> list[Finding]:
    """By how much HEAD is better or worse than BASE, paired by sample, with 95% intervals. Decides nothing: see :func:`gate`.

    Args:
        base, head: results of one suite, as :func:`load_results` takes them.
        metrics: keys; all by default, as of the others.
        only: methods, by name or by their row's label.
        groups: of models.
        steps: numbers of sampling steps.

    Raises:
        UserError: a name that neither has, or samples that are damaged.
    """
    from afa_bench.gate import Selection, compare_results, tell
    from afa_bench.tables.build import there

    before, after = load_results(base), load_results(head)
    known = {result.cell.steps for result in (*before, *after) if result.cell.steps is not None}
    counts = there([steps] if isinstance(steps, int) else list(steps), known) if steps else ()
    chosen = Selection(tuple(names(metrics)), tuple(names(only)), tuple(names(groups)), tuple(counts))
    chosen.check("", before, after)
    return [tell(comparison) for comparison in compare_results(before, after, chosen)]


def gate(
    base: PathOrName | Results,
    head: PathOrName | Results,
    policy: PathOrName | Mapping[str, Any] | Policy | None = None,
    *,
    strict: bool = False,
) -> Decision:
    """Whether HEAD is worse than BASE by more than a margin.

    Args:
        base, head: results of one suite, as :func:`load_results` takes them.
        policy: the margins: a file, its keys, or a policy; by default 2% of each per-sample metric's median in BASE.
        strict: whether what cannot be told fails, too.

    Raises:
        UserError: a mistake in the policy, or samples that are damaged.
    """
    from afa_bench.gate import Decision, about, compare_results, default_policy, judge

    held, where = _policy(policy)
    before, after = load_results(base), load_results(head)
    held = held or default_policy(before, after)
    held.selection.check(where, before, after)
    findings = judge(compare_results(before, after, held.selection, level=1 - held.alpha), held)
    folders = str(before.folder), str(after.folder)
    return Decision(before.suite, before.revision, *folders, about(before, after), held, strict, tuple(findings))


def names(text: Names) -> list[str]:
    """The names of a list, or of a text in which commas stand between them, without duplicates."""
    parts = text.split(",") if isinstance(text, str) else text
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _suite(suite: PathOrName | Mapping[str, Any] | Suite) -> Suite:
    from afa_bench.suite import Suite, as_suite, find_suite, read_suite

    if isinstance(suite, Suite):
        return suite if suite.file != Path() else suite.model_copy(update={"file": Path("suite")})
    return as_suite(suite) if isinstance(suite, Mapping) else read_suite(find_suite(str(suite)))


def _results_to_write(out: PathOrName) -> Path:
    from afa_bench.outputs import new_folder
    from afa_bench.store.locate import place
    from afa_bench.store.place import storage

    folder = place(str(out))
    return folder if storage(folder) is not None else new_folder(folder, "out")


def _metrics(metrics: str | Iterable[str | Mapping[str, Any] | Metric]) -> Sequence[Any]:
    return names(metrics) if isinstance(metrics, str) else list(metrics)


def _opened(recipe: PathOrName | Mapping[str, Any] | Recipe | PreparedMerge) -> PreparedMerge:
    from afa_bench.merging.merge import PreparedMerge, prepare
    from afa_bench.merging.recipe import Recipe, as_recipe, read_recipe
    from afa_bench.paths import expanded

    if isinstance(recipe, PreparedMerge):
        return recipe
    if isinstance(recipe, Recipe | Mapping):
        return prepare(recipe if isinstance(recipe, Recipe) else as_recipe(recipe, "recipe"), Path())
    file = expanded(recipe)
    return prepare(read_recipe(file), file.parent)


def _policy(policy: PathOrName | Mapping[str, Any] | Policy | None) -> tuple[Policy | None, str]:
    """The policy, and the first words of errors in it."""
    from afa_bench.gate.policy import Policy, as_policy, read_policy
    from afa_bench.paths import expanded

    if policy is None or isinstance(policy, Policy):
        return policy, ""
    if isinstance(policy, Mapping):
        return as_policy(policy, "policy"), "policy: "
    file = expanded(policy)
    return read_policy(file), f"{file}: "


def _batch_size(pixels: int) -> int:
    """Samples at once: as many pixels as 8 images of 512 px, at most 32."""
    return max(1, min(32, 8 * 512**2 // pixels))
