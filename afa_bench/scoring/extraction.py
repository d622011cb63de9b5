"""The scoring pass: every image is read and decoded once for all networks, on threads beside them.

A pass holds as many networks as the device has room for; those that do not fit take part in a later pass over the same images.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Arrays, Extractor
from afa_bench.memory import free, in_batches, is_out_of_memory

BATCH = 64
"""Images or texts at once, at most (on a CPU, an extractor's own number); a task's images are never mixed with another's."""

AHEAD = 2
"""Tasks that are being prepared while the networks work on one: what bounds the memory."""

Prepared = dict[str, Any] | UserError


@dataclass(frozen=True)
class Item:
    """One image: how it is read (its errors are UserErrors) and what its caption is."""

    read: Callable[[], Image.Image]
    caption: str = ""


@dataclass(frozen=True)
class Task:
    """Images whose features belong together, such as a shard's.

    Attributes:
        items: in order.
        extractors: the networks that are still to see them.
        keep: takes an extractor's features of all items that could be read.
        failed: takes the index of an item that could not, and why; without it the error is raised.
    """

    items: Sequence[Item]
    extractors: Sequence[Extractor]
    keep: Callable[[Extractor, Arrays], None]
    failed: Callable[[int, UserError], None] | None = None


@dataclass(frozen=True)
class Texts:
    """Texts for an extractor's text tower; ``keep`` takes their embeddings ``(n, D)``."""

    texts: Sequence[str]
    extractor: Extractor
    keep: Callable[[np.ndarray[Any, Any]], None]


@dataclass
class Record:
    """What scoring did: never part of an identity.

    Attributes:
        images: decoded.
        seconds: in all.
        passes: the networks in memory in each pass.
        batches: extractor -> the batch that its memory allowed, where it had to be halved.
    """

    device: str
    threads: int
    images: int = 0
    seconds: float = 0.0
    passes: list[list[str]] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)


class Passes:
    """Runs tasks.

    Args:
        device: a torch device.
        batch: images at once.
        threads: that read, decode and prepare images; by default one a core, at most 8.
    """

    def __init__(self, device: str, batch: int = BATCH, threads: int | None = None) -> None:
        self.device = device
        self.batch = batch
        self.record = Record(device, threads or min(8, os.cpu_count() or 1))

    def run(
        self,
        tasks: Callable[[], Iterable[Task]],
        texts: Sequence[Texts] = (),
        advance: Callable[[int], None] = lambda count: None,
        begin: Callable[[int], None] = lambda total: None,
    ) -> None:
        """Do all tasks. Extractors with the same key are one.

        Args:
            tasks: what is left to do, image by image; asked again for every pass.
            texts: to be embedded.
            advance: called with the number of images just done.
            begin: called before each pass with the number of its images.

        Raises:
            UserError: an image that cannot be read where no one asked for its error; a network that does not fit at all.
        """
        begun = time.perf_counter()
        asked: dict[str, Extractor] = {}
        sizes: list[tuple[set[str], int]] = []
        for task in tasks():
            own = {extractor.key: extractor for extractor in task.extractors}
            asked |= own
            sizes.append((set(own), len(task.items)))
        waiting = list((asked | {job.extractor.key: job.extractor for job in texts}).values())
        while waiting:
            loaded, waiting = self._load(waiting)
            self.record.passes.append([extractor.name for extractor in loaded])
            present = {extractor.key for extractor in loaded}
            begin(sum(size for keys, size in sizes if keys & present))
            try:
                for job in texts:
                    for extractor in loaded:
                        if extractor.key == job.extractor.key:
                            job.keep(self._texts(extractor, job.texts))
                waiting = self._images(tasks(), loaded, advance) + waiting
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

    def _images(self, tasks: Iterable[Task], loaded: Sequence[Extractor], advance: Callable[[int], None]) -> list[Extractor]:
        """Run the tasks through the networks in memory; those which have no room to work beside the others come back."""
        present = {extractor.key: extractor for extractor in loaded}
        crowded: dict[str, Extractor] = {}
        with ThreadPoolExecutor(self.record.threads) as pool:
            try:
                for task, prepared in self._prepared(pool, tasks, present):
                    good = [index for index, result in enumerate(prepared) if not isinstance(result, UserError)]
                    captions = [task.items[index].caption for index in good]
                    for own in task.extractors:
                        extractor = present.get(own.key)
                        if extractor is None or own.key in crowded or not good:
                            continue
                        arrays = [prepared[index][own.key] for index in good]  # type: ignore[index] # good ones are no errors
                        try:
                            task.keep(own, self._encode(extractor, arrays, captions))
                        except MemoryError:
                            if len(present) - len(crowded) == 1:
                                raise UserError(f"{own.name}: not one image fits into the memory of {self.device}") from None
                            crowded[own.key] = own
                            extractor.unload()
                            free()
                    advance(len(task.items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return list(crowded.values())

    def _prepared(
        self, pool: ThreadPoolExecutor, tasks: Iterable[Task], present: dict[str, Extractor]
    ) -> Iterator[tuple[Task, list[Prepared]]]:
        """Tasks with their images prepared for each network in memory, some tasks ahead of the networks."""
        queue: deque[tuple[Task, list[Future[Prepared]]]] = deque()

        def results(entry: tuple[Task, list[Future[Prepared]]]) -> tuple[Task, list[Prepared]]:
            task, futures = entry
            found = [future.result() for future in futures]
            for index, error in enumerate(found):
                if isinstance(error, UserError):
                    if task.failed is None:
                        raise error
                    task.failed(index, error)
            self.record.images += len(found)
            return task, found

        for task in tasks:
            wanted = [present[own.key] for own in task.extractors if own.key in present]
            if wanted:
                queue.append((task, [pool.submit(_prepare, item, wanted) for item in task.items]))
            if len(queue) > AHEAD:
                yield results(queue.popleft())
        while queue:
            yield results(queue.popleft())

    def _encode(self, extractor: Extractor, arrays: Sequence[Any], captions: Sequence[str]) -> Arrays:
        """Features in batches; the batch is halved, for good, as often as the memory asks for.

        Raises:
            MemoryError: not one image fits.
        """
        batch = self.record.batches.get(extractor.name, self._most(extractor))
        chunks, fits = in_batches(len(arrays), batch, lambda part: _encoded(extractor, arrays[part], captions[part]))
        if fits < batch:
            self.record.batches[extractor.name] = fits
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def _texts(self, extractor: Extractor, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        size = self._most(extractor)
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        return np.concatenate([_row_each(extractor, "texts", extractor.texts(part), len(part)) for part in parts])

    def _most(self, extractor: Extractor) -> int:
        """How many images or texts at once, while the memory suffices."""
        return min(self.batch, extractor.cpu_batch) if self.device == "cpu" else self.batch


def _encoded(extractor: Extractor, arrays: Sequence[Any], captions: Sequence[str]) -> Arrays:
    found = extractor.encode(arrays, captions)
    return {name: _row_each(extractor, f"encode: {name}", rows, len(arrays)) for name, rows in found.items()}


def _row_each(extractor: Extractor, name: str, rows: Any, count: int) -> Any:
    if np.ndim(rows) != 2 or len(rows) != count:
        raise UserError(f"extractor {extractor.name}: {name}: expected the shape ({count}, D), found {np.shape(rows)}")
    return rows


def _prepare(item: Item, extractors: Sequence[Extractor]) -> Prepared:
    try:
        image = item.read()
        return {extractor.key: extractor.prepare(image) for extractor in extractors}
    except UserError as error:
        return error
    except (OSError, ValueError, SyntaxError) as error:  # what a decoder or a conversion finds late
        return UserError(f"an image that cannot be converted: {error}")
