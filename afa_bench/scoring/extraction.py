"""Images to features: every image is read and decoded once for all networks, on threads beside them.

A pass holds as many networks as the device has room for; those that do not fit take part in a later pass over the same images.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Arrays, Extractor
from afa_bench.memory import free, in_batches, is_out_of_memory
from afa_bench.progress import SILENT, Progress

BATCH = 64
"""Images or texts at once, at most (on a CPU, an extractor's own number); a request's images are never mixed with another's."""

AHEAD = 2
"""Batches that are being prepared while the networks work on one: what bounds the memory."""

Prepared = dict[str, Any] | UserError


@dataclass(frozen=True)
class ImageInput:
    """One image: how it is read (its errors are UserErrors) and what its caption is."""

    read: Callable[[], Image.Image]
    caption: str = ""


@dataclass(frozen=True)
class ImageRequest:
    """Images whose features belong together, such as a shard's.

    Attributes:
        images: in order.
        extractors: the networks that are still to see them.
        keep: what is to be done with what was found; never called here.
        tolerant: whether an image that cannot be read is told with the features of the others; otherwise its error is raised.
    """

    images: Sequence[ImageInput]
    extractors: Sequence[Extractor]
    keep: Callable[[Extracted], None] = lambda found: None
    tolerant: bool = False


@dataclass(frozen=True)
class TextRequest:
    texts: Sequence[str]
    extractor: Extractor
    keep: Callable[[Extracted], None] = lambda found: None


@dataclass(frozen=True)
class Extracted:
    """What a pass found for a request.

    Attributes:
        features: an extractor's key -> name -> ``(n, D)``, of all images that could be read; ``text`` of texts.
        errors: the index of an image that could not be read -> why.
    """

    request: ImageRequest | TextRequest
    features: Mapping[str, Arrays]
    errors: Mapping[int, UserError] = field(default_factory=dict)


@dataclass
class ExtractionRecord:
    """What an extraction did: never part of an identity.

    Attributes:
        images: decoded.
        seconds: in all.
        passes: the networks in memory in each pass.
        batches: extractor -> the batch that its memory allowed, where it had to be halved.
        cut: extractor -> captions that are longer than what it reads.
    """

    device: str
    threads: int
    images: int = 0
    seconds: float = 0.0
    passes: list[list[str]] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)


class Extraction:
    """Runs images and texts through networks.

    Args:
        device: a torch device.
        batch: images at once.
        threads: that read, decode and prepare images; by default one a core, at most 8.
    """

    def __init__(self, device: str, batch: int = BATCH, threads: int | None = None) -> None:
        self.device = device
        self.batch = batch
        self.record = ExtractionRecord(device, threads or min(8, os.cpu_count() or 1))

    def run(
        self,
        images: Callable[[], Iterable[ImageRequest]],
        texts: Sequence[TextRequest] = (),
        progress: Progress = SILENT,
    ) -> Generator[Extracted, None, None]:
        """The features of all requests, one after the other; each pass over the images gives those of its networks.

        Extractors with the same key are one.

        Args:
            images: what is left to do; asked again for every pass.
            texts: to be embedded.
            progress: every pass is told as a beginning, with its images as steps.

        Raises:
            UserError: an image that cannot be read where that is not tolerated; a network that does not fit at all.
        """
        begun = time.perf_counter()
        asked: dict[str, Extractor] = {}
        sizes: list[tuple[set[str], int]] = []
        for request in images():
            own = {extractor.key: extractor for extractor in request.extractors}
            asked |= own
            sizes.append((set(own), len(request.images)))
        waiting = list((asked | {request.extractor.key: request.extractor for request in texts}).values())
        while waiting:
            loaded, waiting = self._load(waiting)
            self.record.passes.append([extractor.name for extractor in loaded])
            present = {extractor.key: extractor for extractor in loaded}
            progress.begin(sum(size for keys, size in sizes if keys & present.keys()))
            try:
                for text in texts:
                    if extractor := present.get(text.extractor.key):
                        yield Extracted(text, {extractor.key: {"text": self._texts(extractor, text.texts)}})
                waiting = (yield from self._images(images(), present, progress)) + waiting
            finally:
                for extractor in loaded:
                    extractor.unload()
            if waiting:
                free()
        self.record.seconds += time.perf_counter() - begun

    def _load(self, waiting: list[Extractor]) -> tuple[list[Extractor], list[Extractor]]:
        """As many networks as there is room for, and the others."""
        loaded: list[Extractor] = []
        for index, extractor in enumerate(waiting):
            try:
                extractor.load(self.device)
            except (RuntimeError, MemoryError) as error:
                extractor.unload()
                if not is_out_of_memory(error):
                    raise
                if not loaded:
                    raise UserError(f"{extractor.name}: the network does not fit into the memory of {self.device}") from error
                free()
                return loaded, waiting[index:]
            loaded.append(extractor)
        return loaded, []

    def _images(
        self, requests: Iterable[ImageRequest], present: Mapping[str, Extractor], progress: Progress
    ) -> Generator[Extracted, None, list[Extractor]]:
        """Run the images through the networks in memory; those which have no room to work beside the others come back."""
        crowded: dict[str, Extractor] = {}
        found: defaultdict[str, list[Arrays]] = defaultdict(list)
        errors: dict[int, UserError] = {}
        with ThreadPoolExecutor(self.record.threads) as pool:
            try:
                for request, start, prepared in self._prepared(pool, requests, present):
                    errors |= {start + index: each for index, each in enumerate(prepared) if isinstance(each, UserError)}
                    if errors and not request.tolerant:
                        raise next(iter(errors.values()))
                    good = [index for index, each in enumerate(prepared) if not isinstance(each, UserError)]
                    captions = [request.images[start + index].caption for index in good]
                    for own in request.extractors:
                        extractor = present.get(own.key)
                        if extractor is None or own.key in crowded or not good:
                            continue
                        arrays = [prepared[index][own.key] for index in good]  # type: ignore[index] # good ones are no errors
                        try:
                            found[own.key].append(self._encode(extractor, arrays, captions))
                        except MemoryError:
                            if len(present) - len(crowded) == 1:
                                raise UserError(f"{own.name}: not one image fits into the memory of {self.device}") from None
                            crowded[own.key] = own
                            found.pop(own.key, None)
                            extractor.unload()
                            free()
                    if start + len(prepared) == len(request.images):
                        yield Extracted(request, {key: _joined(parts) for key, parts in found.items()}, errors)
                        found.clear()
                        errors = {}
                    progress.advance("", len(prepared))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return list(crowded.values())

    def _prepared(
        self, pool: ThreadPoolExecutor, requests: Iterable[ImageRequest], present: Mapping[str, Extractor]
    ) -> Iterator[tuple[ImageRequest, int, list[Prepared]]]:
        """Requests batch by batch: the place of its first image, and the images prepared for each network in memory.

        Some batches are ahead of the networks.
        """
        queue: deque[tuple[ImageRequest, int, list[Future[Prepared]]]] = deque()

        def finished() -> tuple[ImageRequest, int, list[Prepared]]:
            request, start, futures = queue.popleft()
            self.record.images += len(futures)
            return request, start, [future.result() for future in futures]

        for request in requests:
            wanted = [present[own.key] for own in request.extractors if own.key in present]
            if not wanted:
                continue
            for start in range(0, len(request.images), BATCH):
                batch = request.images[start : start + BATCH]
                queue.append((request, start, [pool.submit(_prepare, image, wanted) for image in batch]))
                if len(queue) > AHEAD:
                    yield finished()
        while queue:
            yield finished()

    def _encode(self, extractor: Extractor, arrays: Sequence[Any], captions: Sequence[str]) -> Arrays:
        """Features in batches; the batch is halved, for good, as often as the memory asks for.

        Raises:
            MemoryError: not one image fits.
        """
        batch = self.record.batches.get(extractor.name, self._most(extractor))
        parts, fits = in_batches(len(arrays), batch, lambda part: _encoded(extractor, arrays[part], captions[part]))
        if fits < batch:
            self.record.batches[extractor.name] = fits
        return _joined(parts)

    def _texts(self, extractor: Extractor, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        size = self._most(extractor)
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        return np.concatenate([_row_each(extractor, "texts", extractor.texts(part), len(part)) for part in parts])

    def _most(self, extractor: Extractor) -> int:
        """How many images or texts at once, while the memory suffices."""
        return min(self.batch, extractor.cpu_batch) if self.device == "cpu" else self.batch


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _encoded(extractor: Extractor, arrays: Sequence[Any], captions: Sequence[str]) -> Arrays:
    found = extractor.encode(arrays, captions)
    return {name: _row_each(extractor, f"encode: {name}", rows, len(arrays)) for name, rows in found.items()}


def _row_each(extractor: Extractor, name: str, rows: Any, count: int) -> Any:
    if np.ndim(rows) != 2 or len(rows) != count:
        raise UserError(f"extractor {extractor.name}: {name}: expected the shape ({count}, D), found {np.shape(rows)}")
    return rows


def _prepare(source: ImageInput, extractors: Sequence[Extractor]) -> Prepared:
    try:
        image = source.read()
        return {extractor.key: extractor.prepare(image) for extractor in extractors}
    except UserError as error:
        return error
    except (OSError, ValueError, SyntaxError, MemoryError) as error:  # what a conversion finds late
        return UserError(f"an image that cannot be converted: {error or type(error).__name__}")
