"""Any folder of images, this harness's or not: its numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from afa_bench import registry
from afa_bench.cells import SHARD
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.errors import UserError
from afa_bench.extractors.base import POOL, Extractor
from afa_bench.identity import fingerprint
from afa_bench.images.find import find_images
from afa_bench.images.stored import Picture, StoredImage, in_file
from afa_bench.log import LOG
from afa_bench.metrics.base import Metric
from afa_bench.metrics.gaussian import Gaussian
from afa_bench.metrics.read import read_metric
from afa_bench.metrics.reference import Statistics, read_statistics
from afa_bench.progress import SILENT, Progress
from afa_bench.scoring.captions import Carrier
from afa_bench.scoring.earlier import inputs_of, read_earlier
from afa_bench.scoring.extraction import Extraction
from afa_bench.scoring.features import FeatureStore
from afa_bench.scoring.folder_rows import read_folder
from afa_bench.scoring.image_set import ImageSet, RealImages
from afa_bench.scoring.summary import missing_weights, summarize, write_results
from afa_bench.store.layout import CellStore, SampleRow, Store

OPTION = re.compile(r":(?=[A-Za-z_]\w*=)")
"""What stands before an option of a metric; any other colon is part of the value before it."""


@dataclass(frozen=True)
class FolderScores:
    """What scoring a folder gave.

    Attributes:
        summary: metric key -> value, interval, version, weights, as in ``summary.json``.
        failed: file or caption -> why it has no values.
        missing: metrics whose weights are not here: a line each.
        damaged: metrics whose weights are other files than the pinned ones, or whose real images cannot be read: a line each.
        notes: what is to be said of how images and captions were read: a line each.
    """

    samples: int
    summary: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    missing: Sequence[str]
    damaged: Sequence[str]
    notes: Sequence[str] = ()


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
    return read_metric(name, options, "--metrics", words=isinstance(asked, str))


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


def name_of(images: Path) -> str:
    """A name for the scores of a folder, other than that of another folder: ``m1-images`` for ``m1/images``."""
    whole, here = images.resolve(), Path().resolve()
    parts = whole.relative_to(here).parts if whole.is_relative_to(here) else whole.parts[1:]
    name = "-".join(parts) or whole.name or "images"
    return name if len(name.encode(errors="replace")) <= 200 else f"{whole.name[:50]}-{fingerprint(str(whole))[:12]}"


def score_folder(
    images: Path,
    prompts: Path | None,
    metrics: Sequence[Metric],
    reference: Path | None,
    out: Path,
    extraction: Extraction,
    strict: bool = False,
    carrier: Carrier | None = None,
    images_per_prompt: int = 1,
    as_seen: bool = False,
    progress: Progress = SILENT,
) -> FolderScores:
    """Score a folder; write ``samples.parquet`` and ``summary.json`` to ``out``, and features on the way, so that it can resume.

    Scores of other metrics that are in ``out`` already stay there, beside the new ones.

    Args:
        images, prompts: as :func:`read_folder`.
        metrics: of images.
        reference: a folder of real images (those of the same names are pairs), or a file of statistics.
        out: a folder.
        extraction: what runs the networks.
        strict: whether weights that are not there are an error.
        carrier, images_per_prompt, as_seen: as :func:`read_folder`.
        progress: who watches.

    Raises:
        UserError: nothing can be scored as asked, or ``out`` holds other results, which would be lost.
    """
    _check_captions(metrics, bool(prompts or carrier))
    rows, notes = read_folder(images, prompts, carrier, images_per_prompt, as_seen)
    shards = [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]
    present, missing, damaged = _weights(metrics, strict)
    real, real_notes = read_reference(reference, rows, any("paired" in metric.needs for metric in metrics))
    for metric in present:
        if real.moments and metric.reads == POOL:
            real.moments(metric.extractor())  # or it is refused
    inputs = {metric.key: inputs_of(metric, real) for metric in present}
    earlier = read_earlier(out, rows, as_seen, inputs)
    Store(out).prepare()
    features = FeatureStore(real, Store(out), extraction)
    pictures = ImageSet(CellStore(out), images, shards, tolerant=True, as_seen=as_seen)
    with progress.stage("scoring", 0):
        features.fill([pictures], present, progress)
    summary, failed_metrics = summarize(pictures, metrics, features, {**missing, **damaged})
    for key, mark in inputs.items():
        summary[key]["inputs"] = None if key in failed_metrics else mark  # once the real images are whole, it is computed anew
    summary = earlier.added(summary, rows)
    notes += [*real_notes, *features.cut_notes()]
    for note in notes:
        LOG.warning("%s", note)
    about: dict[str, Any] = {"images": images.name, "reference": reference.name if reference else earlier.about.get("reference")}
    about |= {"as_seen": True} if as_seen else {}
    about |= {"notes": notes} if notes else {}
    write_results(CellStore(out), shards, summary, {**about, "scoring": asdict(extraction.record)})
    failed = {row["file"] or row["sample_id"]: row["error"] for row in rows if row["error"]}
    titles = {key: entry["title"] for key, entry in summary.items()}
    absent, broken = ([f"{titles[k]}: {why}" for k, why in part.items()] for part in (missing, {**damaged, **failed_metrics}))
    return FolderScores(len(rows), summary, failed, absent, broken, notes)


def read_reference(path: Path | None, rows: Sequence[SampleRow], paired: bool = True) -> tuple[RealImages, Sequence[str]]:
    """What ``--reference`` names: real images in a folder, or statistics in an .npz file; and what is to be said of it.

    Args:
        path: of them.
        rows: of the images that they are compared with.
        paired: whether images of the same name are to be pairs.

    Raises:
        UserError: neither; or two real images for one.
    """
    if path is None:
        return RealImages(), []
    if path.is_file() and path.suffix.lower() == ".npz":
        moments = partial(moments_of, read_statistics(path), path)
        return RealImages(moments=moments, moments_identity=hash_file(path)), []
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

    return RealImages(pairs, by="sample_id", find=pictures), found.notes


def moments_of(statistics: Statistics, file: Path, extractor: Extractor) -> Gaussian:
    """The moments of an extractor's features in a file.

    Raises:
        UserError: they are of another extractor's.
    """
    statistics.check(extractor, file)
    return statistics.gaussian


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
            missing |= missing_weights([metric], strict)
            if metric.key not in missing:
                present.append(metric)
        except UserError as error:
            if strict:
                raise
            damaged[metric.key] = str(error)
    return present, missing, damaged
