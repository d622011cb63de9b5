"""Any folder of images, this harness's or not: what is in it, which caption belongs to which image, and its numbers."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from afa_bench import registry
from afa_bench.errors import NotFoundError, NothingToDoError, UserError
from afa_bench.extractors.base import Extractor
from afa_bench.images.stored import SUFFIXES, Picture, in_file
from afa_bench.metrics.base import Metric, read_metric
from afa_bench.metrics.gaussian import Gaussian
from afa_bench.metrics.reference import Statistics, read_statistics
from afa_bench.plan import SHARD
from afa_bench.prompts.rows import read_rows
from afa_bench.scoring.extraction import Extraction
from afa_bench.scoring.features import FeatureStore
from afa_bench.scoring.image_set import ImageSet, RealImages
from afa_bench.scoring.summary import missing_weights, summarize, write_results
from afa_bench.store.layout import CellStore, SampleRow, Store

OPTION = re.compile(r":(?=[A-Za-z_]\w*=)")
"""What stands before an option of a metric; any other colon is part of the value before it."""

NO_FILE = "no image for this caption"


@dataclass(frozen=True)
class FolderScores:
    """What scoring a folder gave.

    Attributes:
        summary: metric key -> value, interval, version, weights, as in ``summary.json``.
        failed: file or caption -> why it has no values.
        missing: metrics whose weights are not here: a line each.
        damaged: metrics whose weights are other files than the pinned ones: a line each.
    """

    samples: int
    summary: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    missing: Sequence[str]
    damaged: Sequence[str]


def read_metrics(asked: Iterable[str | Mapping[str, Any] | Metric], **settings: str) -> list[Metric]:
    """Metrics as a command line names them: ``clip-t``, ``hpsv2:release=v2.1``, ``fid:features=lite0``, ``./mine.py:Mine``.

    Args:
        asked: one metric each: a text, in which ``:`` begins an option where ``OPTION=`` follows and is part of the value before
            it elsewhere; a mapping of its ``name`` and options, as in a suite; or a metric as it is.
        settings: options of all of them, unless one has its own; empty ones are left out.

    Raises:
        UserError: an unknown name or option, a metric of denoisers, or a metric or an option that is specified twice.
    """
    metrics: list[Metric] = []
    for part in asked:
        metric = part if isinstance(part, Metric) else _read_metric(part, settings)
        name = part if isinstance(part, str) else metric.label
        if metric.task != "generate":
            raise UserError(f"--metrics: {name}: measures a denoiser, not images")
        if metric.key in [known.key for known in metrics]:
            raise UserError(f"--metrics: {metric.title} is specified twice")
        metrics.append(metric)
    return metrics


def _read_metric(asked: str | Mapping[str, Any], settings: Mapping[str, str]) -> Metric:
    if isinstance(asked, str):
        name, own = choice(asked)
    elif isinstance(asked.get("name"), str):
        name, own = asked["name"], {key: value for key, value in asked.items() if key != "name"}
    else:
        raise UserError(f"--metrics: {dict(asked)}: expected a mapping with a name")
    options = {key: value for key, value in settings.items() if value} | own
    return read_metric(name, options, "--metrics")


def choice(text: str) -> tuple[str, dict[str, str]]:
    """The name of a metric and its options, of a command line's ``NAME:OPTION=VALUE:OPTION=VALUE``.

    Raises:
        UserError: something else, or an option that is specified twice.
    """
    name, *pairs = OPTION.split(text)
    if ":" in name and not registry.FILE.fullmatch(name):
        raise UserError(f"--metrics: {text}: expected NAME:OPTION=VALUE, found {name.partition(':')[2]!r} without an option")
    options: dict[str, str] = {}
    for key, _, value in (pair.partition("=") for pair in pairs):
        if key in options:
            raise UserError(f"--metrics: {text}: {key} is specified twice")
        options[key] = value
    return name, options


def read_folder(images: Path, prompts: Path | None) -> list[SampleRow]:
    """One row an image, in the order of their names, with captions; what is amiss is in a row's ``error``.

    Args:
        images: a folder; images in folders below it count too.
        prompts: a text file with a caption a line (an empty one is an empty caption), in the order of the images; or a table with
            the columns ``file``, relative to the folder, and ``prompt``.

    Raises:
        UserError: no folder, no image in it, or captions that cannot be read.
    """
    if not images.is_dir():
        raise NotFoundError(f"{images}: no such folder")
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = [path.relative_to(images).as_posix() for path in found]
    if not files:
        raise NothingToDoError(f"{images}: no image in it (expected {', '.join(SUFFIXES)})")
    if prompts is None:
        rows = [_row(file, None, None) for file in files]
    elif prompts.suffix == ".txt":
        rows = _by_line(files, prompts)
    else:
        rows = _by_name(files, prompts)
    _read_hashes(images, rows)
    first: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        row["prompt_id"] = first.setdefault(row["prompt"], row["sample_id"]) if prompts else row["sample_id"]
        row["image_index"] = seen[row["prompt_id"]]
        seen[row["prompt_id"]] += 1
    return rows


def score_folder(
    images: Path,
    prompts: Path | None,
    metrics: Sequence[Metric],
    reference: Path | None,
    out: Path,
    extraction: Extraction,
    strict: bool = False,
    advance: Callable[[int], None] = lambda count: None,
    begin: Callable[[int], None] = lambda total: None,
) -> FolderScores:
    """Score a folder; write ``samples.parquet`` and ``summary.json`` to ``out``, and features on the way, so that it can resume.

    Args:
        images, prompts: as :func:`read_folder`.
        metrics: of images.
        reference: a folder of real images (those of the same names are pairs), or a file of statistics.
        out: a folder.
        extraction: what runs the networks.
        strict: whether weights that are not there are an error.
        advance: called with the number of images just done.
        begin: called before each pass with the number of its images.

    Raises:
        UserError: nothing can be scored as asked.
    """
    Store(out).prepare()
    _check_captions(metrics, prompts)
    rows = read_folder(images, prompts)
    shards = [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]
    present, missing, damaged = _weights(metrics, strict)
    features = FeatureStore(read_reference(reference, rows), Store(out), extraction)
    pictures = ImageSet(CellStore(out), images, shards, tolerant=True)
    features.fill([pictures], present, advance, begin)
    summary = summarize(pictures, metrics, features, {**missing, **damaged})
    for order, metric in enumerate(metrics):
        summary[metric.key]["order"] = order
    about = {"images": images.name, "reference": reference.name if reference else None, "scoring": asdict(extraction.record)}
    write_results(CellStore(out), shards, summary, about)
    failed = {row["file"] or row["sample_id"]: row["error"] for row in rows if row["error"]}
    titles = {metric.key: metric.title for metric in metrics}
    lines = [[f"{titles[key]}: {reason}" for key, reason in reasons.items()] for reasons in (missing, damaged)]
    return FolderScores(len(rows), summary, failed, *lines)


def read_reference(path: Path | None, rows: Sequence[SampleRow]) -> RealImages:
    """What ``--reference`` names: real images in a folder, or statistics in an .npz file.

    Raises:
        UserError: neither.
    """
    if path is None:
        return RealImages()
    if path.is_file() and path.suffix == ".npz":
        return RealImages(moments=partial(moments_of, read_statistics(path), path))
    if not path.is_dir():
        raise UserError(f"{path}: --reference: expected a folder of images, or an .npz file of afa-bench stats")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path}: --reference: no image in it")
    names = {file.relative_to(path).with_suffix("").as_posix(): file for file in files}
    pairs = {row["sample_id"]: names.get(Path(row["file"]).with_suffix("").as_posix()) for row in rows if row["file"]}

    def pictures() -> list[Picture]:
        return [in_file(file) for file in files]

    return RealImages({name: in_file(file) for name, file in pairs.items() if file}, by="sample_id", find=pictures)


def moments_of(statistics: Statistics, file: Path, extractor: Extractor) -> Gaussian:
    """The moments of an extractor's features in a file.

    Raises:
        UserError: they are of another extractor's.
    """
    statistics.check(extractor, file)
    return statistics.gaussian


def _check_captions(metrics: Sequence[Metric], prompts: Path | None) -> None:
    for metric in metrics:
        reads = "texts" in metric.needs or (metric.features and metric.extractor().reads_captions)
        if reads and prompts is None:
            raise UserError(f"--prompts: {metric.title} compares images with their captions: expected a file of captions")


def _weights(metrics: Sequence[Metric], strict: bool) -> tuple[list[Metric], dict[str, str], dict[str, str]]:
    """The metrics that can be computed, and why others cannot: no weights, or other bytes than the pinned ones."""
    present: list[Metric] = []
    missing: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for metric in metrics:
        try:
            missing |= missing_weights([metric], strict)
            if metric.key not in missing:
                present.append(metric)
        except UserError as error:
            if strict:
                raise
            damaged[metric.key] = str(error)
    return present, missing, damaged


def _row(file: str | None, prompt: str | None, error: str | None, name: str = "") -> SampleRow:
    known = {"sample_id": file or name, "prompt_id": "", "prompt": prompt or "", "category": "", "image_index": 0, "repeat": 0}
    return {**known, "file": file, "sha256": None, "error": error}


def _by_line(files: Sequence[str], prompts: Path) -> list[SampleRow]:
    try:
        lines = prompts.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{prompts}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{prompts}: cannot be read as UTF-8: {error}") from error
    few = f"no caption: {prompts.name} has {len(lines)} lines for {len(files)} images"
    rows = [_row(file, line, None) for file, line in zip(files, lines, strict=False)]
    rows += [_row(file, None, few) for file in files[len(lines) :]]
    extra = enumerate(lines[len(files) :], start=len(files) + 1)
    return rows + [_row(None, line, NO_FILE, f"{prompts.name} line {number}") for number, line in extra]


def _by_name(files: Sequence[str], prompts: Path) -> list[SampleRow]:
    captions: dict[str, str] = {}
    for number, row in enumerate(read_rows(prompts, ["file", "prompt"]), start=1):
        if not isinstance(row["file"], str) or not isinstance(row["prompt"], str):
            raise UserError(f"{prompts}: row {number}: file, prompt: expected texts")
        captions[row["file"]] = row["prompt"]
    few = f"no caption: not in {prompts.name}"
    rows = [_row(file, captions.get(file), None if file in captions else few) for file in files]
    gone = sorted(set(captions) - set(files))
    return rows + [_row(None, captions[file], NO_FILE, f"{prompts.name} {file}") for file in gone]


def _read_hashes(images: Path, rows: Sequence[SampleRow]) -> None:
    def read(row: SampleRow) -> None:
        if row["error"] is not None:
            return
        try:
            row["sha256"] = hashlib.sha256((images / row["file"]).read_bytes()).hexdigest()
        except OSError as error:
            row["error"] = f"{images / row['file']}: cannot be read: {error.strerror}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(read, rows))
