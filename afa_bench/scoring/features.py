"""Image features: extracted in one pass over the images, kept beside them shard by shard, read by the metrics."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Arrays, Extractor, Floats
from afa_bench.identity import fingerprint
from afa_bench.images.decode import decode
from afa_bench.images.stored import Picture, identity, shown
from afa_bench.metrics.base import Metric
from afa_bench.models.group import Group
from afa_bench.scoring.extraction import BATCH, Item, Passes, Task, Texts
from afa_bench.scoring.reconstruct import Batch, Reconstructor
from afa_bench.scoring.spool import Column, NamedRows
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import CellStore, Store

Row = dict[str, Any]

PART = 16 * BATCH
"""Texts, or reference images, whose features are kept together."""


@dataclass(frozen=True)
class Reals:
    """The real images that metrics compare generated ones with.

    Attributes:
        paired: prompt id -> that prompt's own real image, where it has one.
        by: the column of a row that ``paired`` is looked up with.
        find: the reference images of the distribution; asked once, and only if a metric needs them.
        group: whose VAE reconstructs them.
        vae: the VAE's sha256.
        size: of the generated images in pixels.
        statistics: a file of statistics in place of reference images.
    """

    paired: Mapping[str, Picture | None] = field(default_factory=dict)
    by: Literal["prompt_id", "sample_id"] = "prompt_id"
    find: Callable[[], Sequence[Picture]] = tuple
    group: Group | None = None
    vae: str | None = None
    size: int | None = None
    statistics: Path | None = None

    @cached_property
    def reference(self) -> Sequence[Picture]:
        """The reference images."""
        return self.find()

    @cached_property
    def identities(self) -> list[str]:
        """What stands for the reference images' bytes."""
        return [identity(picture) for picture in self.reference]


@dataclass(frozen=True)
class ImageSet:
    """Images to score: a cell's of a run, or those of a folder.

    Attributes:
        store: where their features are kept.
        images: the folder that their rows' ``file`` is relative to.
        shards: rows by shard; those with an error take no part. A plain list where rows may still fail (``tolerant``).
        tolerant: whether an image that cannot be read becomes an error in its row; otherwise it stops the run.
    """

    store: CellStore
    images: Path
    shards: Sequence[Sequence[Row]]
    tolerant: bool = False

    def good(self, shard: int) -> list[Row]:
        """The rows of a shard that have an image."""
        return [row for row in self.shards[shard] if row["error"] is None]


class FeatureBank:
    """All features that metrics ask for. :meth:`fill` extracts them in one pass; what it left out is extracted when asked for.

    Args:
        reals: what generated images are compared with.
        store: where features of reference images are kept.
        passes: what runs the networks.
    """

    def __init__(self, reals: Reals, store: Store, passes: Passes) -> None:
        self.reals = reals
        self.store = store
        self.passes = passes
        self._read_texts: defaultdict[str, NamedRows] = defaultdict(NamedRows)
        self._seen_pairs: defaultdict[str, NamedRows] = defaultdict(NamedRows)
        self._seen_references: dict[tuple[str, str], dict[str, Column]] = {}
        self._unkept: dict[Path, Arrays] = {}

    def fill(
        self,
        sets: Sequence[ImageSet],
        metrics: Sequence[Metric],
        advance: Callable[[int], None] = lambda count: None,
        begin: Callable[[int], None] = lambda total: None,
    ) -> None:
        """Extract, in one pass over the images, all features of them that ``metrics`` need and that are not there yet.

        ``advance`` and ``begin`` are told the images done and those of each pass: see :meth:`Passes.run`.
        """
        asked = [(metric, metric.extractor()) for metric in metrics if metric.features]
        extractors = {extractor.key: extractor for _, extractor in asked}
        readers = {extractor.key: extractor for metric, extractor in asked if "texts" in metric.needs}
        pairers = {extractor.key: extractor for metric, extractor in asked if "paired" in metric.needs}
        kinds = {(e.key, kind): e for metric, e in asked if isinstance(kind := getattr(metric, "reference", None), str)}

        def prompts(by: str = "prompt_id") -> dict[str, str]:
            shards = (images.good(shard) for images in sets for shard in range(len(images.shards)))
            return {row[by]: row["prompt"] for shard in shards for row in shard}

        def tasks() -> Iterator[Task]:
            for images in sets:
                for shard in range(len(images.shards)):
                    yield from self._of_shard(images, shard, list(extractors.values()))
            for extractor in pairers.values():
                yield from self._paired(extractor, prompts(self.reals.by))
            for (_, kind), extractor in kinds.items():
                yield from self._references(extractor, kind)

        texts = [job for extractor in readers.values() for job in self._texts(extractor, prompts())]
        self.passes.run(tasks, texts, advance, begin)

    def of_shard(self, extractor: Extractor, images: ImageSet, shard: int) -> Arrays:
        """Features of a shard's good images: name -> ``(n, D)``, in the order of its rows."""
        path = _path(extractor, images, shard)
        arrays = self._unkept.get(path) or _read(path)
        if arrays is None:
            path.unlink(missing_ok=True)  # damaged: only a cache
            self.passes.run(lambda: self._of_shard(images, shard, [extractor]))
            arrays = self._unkept.get(path) or _read(path)
        assert arrays is not None  # the pass has just kept it
        return arrays

    def texts(self, extractor: Extractor, rows: Sequence[Row]) -> Floats:
        """Text embeddings of the rows' prompts ``(n, D)``."""
        if jobs := self._texts(extractor, {row["prompt_id"]: row["prompt"] for row in rows}):
            self.passes.run(tuple, jobs)
        return self._read_texts[extractor.key].of("text", [row["prompt_id"] for row in rows])

    def paired(self, extractor: Extractor, name: str, rows: Sequence[Row]) -> Floats | None:
        """Features of the prompts' own real images ``(n, D)``, or None unless all have one."""
        prompts = {row[self.reals.by]: row["prompt"] for row in rows}
        if any(self.reals.paired.get(prompt) is None for prompt in prompts):
            return None
        self.passes.run(lambda: self._paired(extractor, prompts))
        return self._seen_pairs[extractor.key].of(name, [row[self.reals.by] for row in rows])

    def reference(self, extractor: Extractor, name: str, kind: str) -> Any:
        """Features of the reference images ``(m, D)``, their moments where a file has no more, or None where there are none."""
        if self.reals.statistics is not None:
            return self._statistics(extractor, self.reals.statistics) if name == "pool" else None
        if not self.reals.reference or (kind == "vae" and self.reals.group is None):
            return None
        key = extractor.key, kind
        if key not in self._seen_references:
            self.passes.run(lambda: self._references(extractor, kind))
            columns: defaultdict[str, Column] = defaultdict(Column)
            for start in range(0, len(self.reals.reference), PART):
                path = self._reference_path(extractor, kind, start)
                found = _read(path)
                if found is None:
                    path.unlink(missing_ok=True)  # damaged: only a cache
                    return self.reference(extractor, name, kind)
                for column, rows in found.items():
                    columns[column].add(rows)
            self._seen_references[key] = columns
        return self._seen_references[key][name].whole()

    def _statistics(self, extractor: Extractor, path: Path) -> Any:
        from afa_bench.metrics.reference import read_statistics

        statistics = read_statistics(path)
        statistics.check(extractor, path)
        return statistics.gaussian

    def _of_shard(self, images: ImageSet, shard: int, extractors: Sequence[Extractor]) -> Iterable[Task]:
        """The task of a shard's images, unless all is there."""
        paths = {extractor.key: _path(extractor, images, shard) for extractor in extractors}
        missing = [e for e in extractors if paths[e.key] not in self._unkept and not paths[e.key].is_file()]
        rows = images.good(shard)
        if not missing or not rows:
            return
        items = [Item(partial(_stored, images.images / row["file"], row["sha256"]), row["prompt"]) for row in rows]
        errors: list[int] = []

        def failed(index: int, error: UserError) -> None:
            rows[index]["error"] = str(error)
            errors.append(index)

        def keep(extractor: Extractor, arrays: Arrays) -> None:
            if errors:  # the next run is to find the error again
                self._unkept[_path(extractor, images, shard)] = arrays
            else:
                _write(paths[extractor.key], arrays)

        yield Task(items, missing, keep, failed if images.tolerant else None)

    def _texts(self, extractor: Extractor, prompts: Mapping[str, str]) -> list[Texts]:
        """The texts that the extractor has not read yet."""
        known = self._read_texts[extractor.key]
        new = [prompt for prompt in prompts if prompt not in known]
        chunks = [new[start : start + PART] for start in range(0, len(new), PART)]

        def keep(chunk: Sequence[str], embeddings: Any) -> None:
            known.add(chunk, {"text": embeddings})

        return [Texts([prompts[prompt] for prompt in chunk], extractor, partial(keep, chunk)) for chunk in chunks]

    def _paired(self, extractor: Extractor, prompts: Mapping[str, str]) -> Iterator[Task]:
        """The prompts' own images that the extractor has not seen yet."""
        seen = self._seen_pairs[extractor.key]
        pictures = {prompt: picture for prompt in prompts if (picture := self.reals.paired.get(prompt)) is not None}
        new = [prompt for prompt in pictures if prompt not in seen]
        for start in range(0, len(new), BATCH):
            chunk = new[start : start + BATCH]
            items = [Item(partial(shown, pictures[prompt], prompt), prompts[prompt]) for prompt in chunk]

            def keep(extractor: Extractor, arrays: Arrays, chunk: Sequence[str] = chunk) -> None:
                seen.add(chunk, arrays)

            yield Task(items, [extractor], keep)

    def _references(self, extractor: Extractor, kind: str) -> Iterator[Task]:
        """The reference images whose features are not there; those of a part are written when its last image is done."""
        pictures = self.reals.reference
        if self.reals.statistics is not None or (kind == "vae" and self.reals.group is None):
            return
        vae = Reconstructor(self.reals.group, self.passes.device) if kind == "vae" and self.reals.group else None
        for first in range(0, len(pictures), PART):
            path = self._reference_path(extractor, kind, first)
            if path.is_file():
                continue
            last = min(first + PART, len(pictures))
            part = _Part(path, last - first)
            for start in range(first, last, BATCH):
                chunk = pictures[start : min(start + BATCH, last)]
                names = [f"reference image {start + index}" for index in range(len(chunk))]
                if vae:
                    batch = Batch(chunk, names, vae)
                    items = [Item(partial(batch.image, index)) for index in range(len(chunk))]
                else:
                    items = [Item(partial(shown, picture, name)) for picture, name in zip(chunk, names, strict=True)]
                yield Task(items, [extractor], part.keep)

    def _reference_path(self, extractor: Extractor, kind: str, first: int) -> Path:
        """Where the features of the part that begins with the image ``first`` are kept."""
        vae = self.reals.vae if kind == "vae" else None
        part = self.reals.identities[first : first + PART]
        digest = fingerprint([extractor.identity, kind, vae, self.reals.size, part])
        return self.store.references(f"{extractor.name}-{kind}-{digest[:8]}")


@dataclass
class _Part:
    """Reference images whose features are written when the last of them is done."""

    path: Path
    count: int
    done: list[Arrays] = field(default_factory=list)

    def keep(self, extractor: Extractor, arrays: Arrays) -> None:
        """Take the features of some of them, in order."""
        self.done.append(arrays)
        if sum(len(next(iter(each.values()))) for each in self.done) == self.count:
            _write(self.path, {name: np.concatenate([each[name] for each in self.done]) for name in arrays})


def _path(extractor: Extractor, images: ImageSet, shard: int) -> Path:
    """Where the features of a shard's images are kept: another image, another network or another caption is another file."""
    rows = images.good(shard)
    made_of: list[Any] = [extractor.identity, [row["sha256"] for row in rows]]
    if extractor.reads_captions:
        made_of.append([row["prompt"] for row in rows])
    return images.store.features(f"{extractor.name}-{fingerprint(made_of)[:8]}", shard)


def _stored(path: Path, sha256: str) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path}: not the image that was generated (its sha256 is another); delete it and run again")
    return decode(data, str(path))


def _read(path: Path) -> Arrays | None:
    """Arrays of an .npz file, or None where there is none or a damaged one."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_bytes(path, buffer.getvalue())
