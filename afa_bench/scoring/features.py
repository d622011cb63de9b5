"""Features of images and texts: kept beside the images shard by shard, extracted where they are not there yet."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from afa_bench.errors import UserError
from afa_bench.extractors.base import POOL, Arrays, Extractor, Floats
from afa_bench.identity import fingerprint
from afa_bench.metrics.base import Metric, NoValue
from afa_bench.progress import SILENT, Progress
from afa_bench.scoring.extraction import BATCH, Extracted, Extraction, ImageRequest, TextRequest
from afa_bench.scoring.image_set import ImageSet, RealImages
from afa_bench.scoring.reconstruct import Reconstructor
from afa_bench.scoring.spool import Column, NamedRows
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import SampleRow, Store

C = TypeVar("C")

TOGETHER = 16 * BATCH
"""Texts, or real images, whose features are asked for and kept together."""


class FeatureStore:
    """All features that metrics ask for. :meth:`fill` extracts them in one pass; what it left out is extracted when asked for.

    Args:
        real: what generated images are compared with.
        store: where features of reference images are kept.
        extraction: what runs the networks.
    """

    def __init__(self, real: RealImages, store: Store, extraction: Extraction) -> None:
        self.real = real
        self.store = store
        self.extraction = extraction
        self._texts: defaultdict[str, NamedRows] = defaultdict(NamedRows)
        self._paired: defaultdict[str, NamedRows] = defaultdict(NamedRows)
        self._references: dict[tuple[str, str], Mapping[str, Column]] = {}
        self._broken: dict[tuple[str, str], UserError] = {}
        self._cut: dict[str, str] = {}
        self._of_part: dict[Path, Arrays] = {}  # of shards with an image that cannot be read: the next run is to find it again

    def fill(self, sets: Sequence[ImageSet], metrics: Sequence[Metric], progress: Progress = SILENT) -> None:
        """Extract, in one pass over the images, all features of them that ``metrics`` need and that are not there yet."""
        asked = [(metric, metric.extractor()) for metric in metrics if metric.features]
        all_of_them = {extractor.key: extractor for _, extractor in asked}
        of_texts = {extractor.key: extractor for metric, extractor in asked if "texts" in metric.needs}
        of_pairs = {extractor.key: extractor for metric, extractor in asked if "paired" in metric.needs}
        of_references = {(e.key, kind): e for metric, e in asked if isinstance(kind := getattr(metric, "reference", None), str)}

        def prompts(by: str) -> dict[str, str]:
            return {name: text for images in sets for name, text in images.prompts(by).items()}

        def images() -> Iterator[ImageRequest]:
            for each in sets:
                for shard in range(len(each.shards)):
                    yield from self._missing_of_shard(each, shard, list(all_of_them.values()))
            for extractor in of_pairs.values():
                yield from self._missing_pairs(extractor, prompts(self.real.by))
            for (_, kind), extractor in of_references.items():
                yield from self._missing_references(extractor, kind)

        readers = {**of_texts, **{key: extractor for key, extractor in all_of_them.items() if extractor.reads_captions}}
        captions = list(dict.fromkeys(prompts("prompt_id").values()))
        for extractor in readers.values() if captions else ():  # where every sample has failed there are none
            self._note_cut(extractor, captions)
        texts = [request for extractor in of_texts.values() for request in self._missing_texts(extractor, prompts("prompt_id"))]
        self._extract(images, texts, progress)

    def cut_notes(self) -> list[str]:
        """A line for each network that did not read some of the captions to their ends."""
        return list(self._cut.values())

    def _note_cut(self, extractor: Extractor, captions: Sequence[str]) -> None:
        cut, length = extractor.cut(captions)
        if cut:
            self.extraction.record.cut[extractor.name] = cut
            self._cut[extractor.key] = f"{extractor.name}: {cut} of {len(captions)} captions are cut: it reads {length} tokens"

    def of_shard(self, extractor: Extractor, images: ImageSet, shard: int) -> Arrays:
        """Features of a shard's good images: name -> ``(n, D)``, in the order of its rows."""
        path = _path(extractor, images, shard)
        arrays = self._of_part.get(path) or _read(path)
        if arrays is None:
            self._extract(lambda: self._missing_of_shard(images, shard, [extractor]))
            arrays = self._of_part.get(path) or _read(path)
        assert arrays is not None  # just kept
        return arrays

    def texts(self, extractor: Extractor, rows: Sequence[SampleRow]) -> Floats:
        prompts = {row["prompt_id"]: row["prompt"] for row in rows}
        self._extract(tuple, self._missing_texts(extractor, prompts))
        return self._texts[extractor.key].of("text", [row["prompt_id"] for row in rows])

    def paired(self, extractor: Extractor, name: str, rows: Sequence[SampleRow]) -> Floats:
        """Features of the prompts' own real images ``(n, D)``; NaN where there is none, or one that cannot be read."""
        self._extract(lambda: self._missing_pairs(extractor, {row[self.real.by]: row["prompt"] for row in rows}))
        seen = self._paired[extractor.key]
        if not seen.columns:
            raise NoValue(next(map(str, self._broken.values()), "no image has a real image of its own"))
        found = np.full((len(rows), named(seen.columns, name, extractor).mapped().shape[1]), np.nan)
        there = [index for index, row in enumerate(rows) if row[self.real.by] in seen]
        found[there] = seen.of(name, [rows[index][self.real.by] for index in there])
        return found

    def broken_pairs(self, extractor: Extractor) -> list[UserError]:
        """Why some of the real images could not be read, which were to be compared one by one."""
        return [error for (key, name), error in self._broken.items() if key == extractor.key and name in self.real.paired]

    def reference(self, extractor: Extractor, name: str, kind: str) -> Any:
        """Features of the reference images ``(m, D)``, or their moments where there is no more."""
        if self.real.moments is not None and name == POOL:
            return self.real.moments(extractor)
        if self.real.moments is not None:
            raise NoValue("takes the reference images themselves, not their statistics")
        if not self.real.has(kind):
            raise NoValue(
                "no VAE to reconstruct a reference with" if kind == "vae" and self.real.reference else "no reference images"
            )
        key = extractor.key, kind
        if key not in self._references:
            self._extract(lambda: self._missing_references(extractor, kind))
            if (extractor.key, f"all {kind}") in self._broken:
                raise self._broken[extractor.key, f"all {kind}"]
            columns: defaultdict[str, Column] = defaultdict(Column)
            for first in range(0, len(self.real.reference), TOGETHER):
                found = _read(self._reference_path(extractor, kind, first))
                if found is None:  # damaged, and gone now
                    return self.reference(extractor, name, kind)
                for column, rows in found.items():
                    columns[column].add(rows)
            self._references[key] = columns
        return named(self._references[key], name, extractor).whole()

    def _extract(
        self, images: Callable[[], Iterable[ImageRequest]], texts: Sequence[TextRequest] = (), progress: Progress = SILENT
    ) -> None:
        """Have networks see what is asked for, and keep what they give."""
        with closing(self.extraction.run(images, texts, progress)) as results:
            for found in results:
                found.request.keep(found)

    def _missing_of_shard(self, images: ImageSet, shard: int, extractors: Sequence[Extractor]) -> Iterator[ImageRequest]:
        paths = {extractor.key: _path(extractor, images, shard) for extractor in extractors}
        missing = [e for e in extractors if paths[e.key] not in self._of_part and not paths[e.key].is_file()]
        rows = images.good(shard)

        def keep(found: Extracted) -> None:
            for index, error in found.errors.items():
                rows[index]["error"] = str(error)
            for extractor in missing:
                if (arrays := found.features.get(extractor.key)) is None:
                    continue
                if found.errors:
                    self._of_part[_path(extractor, images, shard)] = arrays
                else:
                    _write(paths[extractor.key], arrays)

        if missing and rows:
            yield ImageRequest(images.inputs(rows), missing, keep, images.tolerant)

    def _missing_texts(self, extractor: Extractor, prompts: Mapping[str, str]) -> list[TextRequest]:
        known = self._texts[extractor.key]
        new = [name for name in prompts if name not in known]
        parts = [new[start : start + TOGETHER] for start in range(0, len(new), TOGETHER)]
        return [TextRequest([prompts[name] for name in part], extractor, partial(_add, known, part, extractor)) for part in parts]

    def _missing_pairs(self, extractor: Extractor, prompts: Mapping[str, str]) -> Iterator[ImageRequest]:
        known = self._paired[extractor.key]
        pairs = [name for name in prompts if self.real.paired.get(name) is not None]
        new = [name for name in pairs if name not in known and (extractor.key, name) not in self._broken]
        for start in range(0, len(new), TOGETHER):
            part = new[start : start + TOGETHER]
            inputs = self.real.paired_inputs({name: prompts[name] for name in part})
            yield ImageRequest(inputs, [extractor], partial(self._add_pairs, known, part, extractor), tolerant=True)

    def _missing_references(self, extractor: Extractor, kind: str) -> Iterator[ImageRequest]:
        try:
            if (extractor.key, f"all {kind}") in self._broken or not self.real.has(kind):
                return
        except UserError as error:
            self._broken[extractor.key, f"all {kind}"] = error
            return
        vae = Reconstructor(self.real.group, self.extraction.device) if kind == "vae" and self.real.group else None
        for first in range(0, len(self.real.reference), TOGETHER):
            path = self._reference_path(extractor, kind, first)
            if not path.is_file():
                inputs = self.real.reference_inputs(first, first + TOGETHER, vae)
                yield ImageRequest(inputs, [extractor], partial(self._save_reference, path, extractor, kind), tolerant=True)

    def _add_pairs(self, known: NamedRows, names: Sequence[str], extractor: Extractor, found: Extracted) -> None:
        for index, error in found.errors.items():
            self._broken[extractor.key, names[index]] = error
        good = [name for index, name in enumerate(names) if index not in found.errors]
        if good:
            known.add(good, found.features[extractor.key])

    def _save_reference(self, path: Path, extractor: Extractor, kind: str, found: Extracted) -> None:
        for error in found.errors.values():
            self._broken.setdefault((extractor.key, f"all {kind}"), error)
        if not found.errors:
            _write(path, found.features[extractor.key])

    def _reference_path(self, extractor: Extractor, kind: str, first: int) -> Path:
        """Where the features of the reference images from number ``first`` on are kept."""
        digest = fingerprint([extractor.identity, *self.real.reference_identity(kind, first, first + TOGETHER)])
        return self.store.references(f"{extractor.name}-{kind}-{digest[:8]}")


def _path(extractor: Extractor, images: ImageSet, shard: int) -> Path:
    """Where the features of a shard's images are kept: another image, another network or another caption is another file."""
    rows = images.good(shard)
    made_of: list[Any] = [extractor.identity, [row["sha256"] for row in rows]]
    if extractor.reads_captions:
        made_of.append([row["prompt"] for row in rows])
    if images.as_seen:
        made_of.append("as seen")
    return images.store.features(f"{extractor.name}-{fingerprint(made_of)[:8]}", shard)


def named(columns: Mapping[str, C], name: str, extractor: Extractor) -> C:
    """The features of that name.

    Raises:
        UserError: the extractor does not give them.
    """
    if name not in columns:
        raise UserError(f"{extractor.name}: gives no features {name!r}, only {', '.join(columns) or 'none'}")
    return columns[name]


def _add(known: NamedRows, names: Sequence[str], extractor: Extractor, found: Extracted) -> None:
    known.add(names, found.features[extractor.key])


def _read(path: Path) -> Arrays | None:
    """Arrays of an .npz file, or None where there is none; a damaged one is removed: it can be made again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        path.unlink(missing_ok=True)
        return None


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_bytes(path, buffer.getvalue())
