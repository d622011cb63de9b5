"""Any folder of images, this harness's or not: what is in it, which caption belongs to which image, and its numbers."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afa_bench import registry
from afa_bench.errors import NOTHING_TO_DO, UserError
from afa_bench.images.find import SUFFIXES
from afa_bench.images.stored import Picture, in_file
from afa_bench.metrics.base import Metric
from afa_bench.plan import SHARD
from afa_bench.prompts.rows import read_rows
from afa_bench.reading import validated
from afa_bench.scoring.extraction import Passes
from afa_bench.scoring.features import FeatureBank, ImageSet, Reals, Row
from afa_bench.scoring.score import Missing, missing_weights, score_images, write_results
from afa_bench.store.layout import CellStore, Store

OPTION = re.compile(r":(?=[A-Za-z_]\w*=)")
"""What stands before an option of a metric; any other colon is part of the value before it."""


@dataclass(frozen=True)
class Outcome:
    """What scoring a folder gave.

    Attributes:
        summary: metric key -> value, interval, version, weights, as in ``summary.json``.
        failed: file or caption -> why it has no values.
        missing: metrics whose weights are not here: a line each.
        damaged: metrics whose weights are other files than the pinned ones: a line each.
        notes: what is to be said of how images and captions were read: a line each.
    """

    samples: int
    summary: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    missing: Sequence[str]
    damaged: Sequence[str]
    notes: Sequence[str] = ()


def read_metrics(text: Sequence[str], **settings: str) -> list[Metric]:
    """Metrics as a command line names them: ``clip-t``, ``hpsv2:release=v2.1``, ``fid:features=lite0``.

    Args:
        text: one metric each; ``:`` begins an option where ``OPTION=`` follows, elsewhere it is part of the value before it.
        settings: options of all of them, unless one has its own; empty ones are left out.

    Raises:
        UserError: an unknown name or option, a metric of denoisers, or a metric or an option that is there twice.
    """
    metrics: list[Metric] = []
    for part in text:
        name, own = choice(part)
        options = {key: value for key, value in settings.items() if value} | own
        metric = validated(registry.load("metrics", name, "--metrics"), options, f"--metrics: {name}", noun="option")
        if metric.task != "generate":
            raise UserError(f"--metrics: {name}: measures a denoiser, not images")
        if metric.key in [known.key for known in metrics]:
            raise UserError(f"--metrics: {metric.title} is there twice")
        metrics.append(metric)
    return metrics


def choice(text: str) -> tuple[str, dict[str, str]]:
    """The name of a metric and its options, of a command line's ``NAME:OPTION=VALUE:OPTION=VALUE``.

    Raises:
        UserError: something else, or an option that is there twice.
    """
    name, *pairs = OPTION.split(text)
    if ":" in name:
        raise UserError(f"--metrics: {text}: expected NAME:OPTION=VALUE, found {name.partition(':')[2]!r} without an option")
    options: dict[str, str] = {}
    for key, _, value in (pair.partition("=") for pair in pairs):
        if key in options:
            raise UserError(f"--metrics: {text}: {key} is there twice")
        options[key] = value
    return name, options


def read_folder(
    images: Path,
    prompts: Path | None = None,
    carrier: Carrier | None = None,
    images_per_prompt: int = 1,
    as_seen: bool = False,
) -> tuple[list[Row], list[str]]:
    """One row an image, in the order of their names, with captions, and what is to be said of them, a line each.

    What is amiss is in a row's ``error``.

    Args:
        images: a folder; images in folders below it count too.
        prompts: a text file with a caption a line (an empty one is an empty caption), in the order of the images; or a table with
            the columns ``file``, relative to the folder, and ``prompt``.
        carrier: where captions are in place of ``prompts``.
        images_per_prompt: how many images a line of a text file stands for.
        as_seen: whether images are to be scored as a person sees them.

    Raises:
        UserError: no folder, no image in it, captions that cannot be read, or of which it is not plain whose they are.
    """
    if prompts and carrier:
        raise UserError(f"--captions {carrier}: expected this or --prompts, not both")
    if images_per_prompt != 1 and not prompts:
        raise UserError("--images-per-prompt: expected --prompts with a text file")
    found = find_images(images)
    if not found.files:
        hidden = f"; {found.notes[0]}" if found.notes else ""
        raise UserError(f"{images}: no image in it (expected {', '.join(SUFFIXES)}){hidden}", NOTHING_TO_DO)
    captions = Captions()
    if prompts:
        captions = in_file(found.files, prompts, images_per_prompt)
    elif carrier:
        captions = carried(images, found.files, carrier)
    rows = [_row(file, captions.texts.get(file, ""), captions.errors.get(file)) for file in found.files]
    rows += [_row(None, lost.caption, lost.error, lost.name) for lost in captions.lost]
    notes = [*found.notes, *captions.notes, *_read_files(images, rows, as_seen)]
    notes += syntax_notes(captions.texts.values(), "captions")
    first: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        row["prompt_id"] = first.setdefault(row["prompt"], row["sample_id"]) if prompts or carrier else row["sample_id"]
        row["image_index"] = seen[row["prompt_id"]]
        seen[row["prompt_id"]] += 1
        if row["file"] in captions.clusters:
            row["cluster"] = captions.clusters[row["file"]]
    return rows, notes


def score_folder(
    images: Path,
    prompts: Path | None,
    metrics: Sequence[Metric],
    reference: Path | None,
    out: Path,
    passes: Passes,
    strict: bool = False,
    advance: Callable[[int], None] = lambda count: None,
    begin: Callable[[int], None] = lambda total: None,
    carrier: Carrier | None = None,
    images_per_prompt: int = 1,
    as_seen: bool = False,
) -> Outcome:
    """Score a folder; write ``samples.parquet`` and ``summary.json`` to ``out``, and features on the way, so that it can resume.

    Args:
        images, prompts: as :func:`read_folder`.
        metrics: of images.
        reference: a folder of real images (those of the same names are pairs), or a file of statistics.
        out: a folder.
        passes: what runs the networks.
        strict: whether weights that are not there are an error.
        advance: called with the number of images just done.
        begin: called before each pass with the number of its images.
        carrier, images_per_prompt, as_seen: as :func:`read_folder`.

    Raises:
        UserError: nothing can be scored as asked.
    """
    Store(out).prepare()
    _check_captions(metrics, bool(prompts or carrier))
    rows, notes = read_folder(images, prompts, carrier, images_per_prompt, as_seen)
    shards = [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]
    present, missing, damaged = _weights(metrics, strict)
    reals = read_reference(reference, rows, any("paired" in metric.needs for metric in metrics))
    bank = FeatureBank(reals, Store(out), passes)
    pictures = ImageSet(CellStore(out), images, shards, tolerant=True, as_seen=as_seen)
    bank.fill([pictures], present, advance, begin)
    summary = score_images(pictures, metrics, bank, Missing({**missing, **damaged}))
    for order, metric in enumerate(metrics):
        summary[metric.key]["order"] = order
    about = {"images": images.name, "reference": reference.name if reference else None, "scoring": asdict(passes.record)}
    write_results(CellStore(out), shards, summary, about)
    failed = {row["file"] or row["sample_id"]: row["error"] for row in rows if row["error"]}
    titles = {metric.key: metric.title for metric in metrics}
    lines = [[f"{titles[key]}: {reason}" for key, reason in reasons.items()] for reasons in (missing, damaged)]
    return Outcome(len(rows), summary, failed, *lines)


def read_reference(path: Path | None, rows: Sequence[Row], paired: bool = True) -> Reals:
    """What ``--reference`` names: real images in a folder, or statistics in an .npz file.

    Args:
        path: of them.
        rows: of the images that they are compared with.
        paired: whether images of the same name are to be pairs.

    Raises:
        UserError: neither; or two real images for one.
    """
    if path is None:
        return Reals()
    if path.is_file() and path.suffix.lower() == ".npz":
        return Reals(statistics=path)
    if not path.is_dir():
        raise UserError(f"{path}: --reference: expected a folder of images, or an .npz file of afa-bench stats")
    found = find_images(path, "--reference")
    if not found.files:
        raise UserError(f"{path}: --reference: no image in it")
    names: defaultdict[str, list[str]] = defaultdict(list)
    for file in found.files:
        names[_stem(file)].append(file)
    pairs: dict[str, Picture] = {}
    for row in rows if paired else ():
        real = names.get(_stem(row["file"])) if row["file"] else None
        if real and len(real) > 1:
            raise UserError(f"{path}: --reference: {real[0]} and {real[1]}: expected one real image for {row['file']}")
        if real:
            pairs[row["sample_id"]] = StoredImage(path / real[0], "", "")  # its features are kept by its name alone

    def pictures() -> list[Picture]:
        return [in_file(file) for file in found.paths]

    return Reals(pairs, by="sample_id", find=pictures, notes=found.notes)


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def _check_captions(metrics: Sequence[Metric], captioned: bool) -> None:
    for metric in metrics:
        reads = "texts" in metric.needs or (metric.features and metric.extractor().reads_captions)
        if reads and not captioned:
            raise UserError(f"--prompts: {metric.title} compares images with their captions: expected a file of captions")


def _weights(metrics: Sequence[Metric], strict: bool) -> tuple[list[Metric], dict[str, str], dict[str, str]]:
    """The metrics that can be computed, and why others cannot: no weights, or other bytes than the pinned ones."""
    present: list[Metric] = []
    missing: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for metric in metrics:
        try:
            missing |= missing_weights([metric], strict).reasons
            if metric.key not in missing:
                present.append(metric)
        except UserError as error:
            if strict:
                raise
            damaged[metric.key] = str(error)
    return present, missing, damaged


def _row(file: str | None, prompt: str, error: str | None, name: str = "") -> Row:
    known = {"sample_id": file or name, "prompt_id": "", "prompt": prompt, "category": "", "image_index": 0, "repeat": 0}
    return {**known, "file": file, "sha256": None, "error": error}


def _read_files(images: Path, rows: Sequence[Row], as_seen: bool) -> list[str]:
    """Fill in the rows' hashes; returns one line that says how many images are not scored as they are seen, or none."""

    def read(row: Row) -> Sequence[str]:
        if row["error"] is not None:
            return ()
        try:
            data = (images / row["file"]).read_bytes()
        except OSError as error:
            row["error"] = f"{images / row['file']}: cannot be read: {error.strerror}"
            return ()
        row["sha256"] = hashlib.sha256(data).hexdigest()
        return [trait for trait in traits(data) if trait == "animated" or not as_seen]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(read, rows))
    if not any(found):
        return []
    counts = Counter(trait for own in found for trait in own)
    kinds = ", ".join(f"{counts[trait]} {words}" for trait, words in TRAITS.items() if counts[trait])
    mend = "the first frame is scored" if as_seen else "--as-seen scores them as a person sees them"
    return [f"{images}: {sum(map(bool, found))} of {len(rows)} images are not scored as they are seen ({kinds}): {mend}"]
