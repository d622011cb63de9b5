"""A plan as data: its cells, their samples and shards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from typing_extensions import override

from afa_bench.identity import fingerprint, sample_id, seed_of

if TYPE_CHECKING:
    from afa_bench.method import Method, Options
    from afa_bench.metrics.base import Metric
    from afa_bench.models.group import Group
    from afa_bench.prompts.base import Prompt, PromptSet
    from afa_bench.suite import Suite

SHARD = 32
"""Samples a shard. Fixed, so that a resumed run cuts its work as the first one did and repeats its very bytes."""

Task = Literal["generate", "denoise"]

T = TypeVar("T")


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


class Lazy(Sequence[T]):
    """A sequence whose items are made when they are asked for."""

    def item(self, index: int) -> T:
        """The item at a place that there is."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.item(place) for place in range(*index.indices(len(self)))]
        return self.item(range(len(self))[index])


@dataclass(frozen=True)
class Samples(Lazy[Sample]):
    """All samples of a plan: a million prompts take the room of their texts."""

    prompts: Sequence[Prompt]
    images_per_prompt: int
    repeats: int
    seed: int

    def __len__(self) -> int:
        return len(self.prompts) * self.images_per_prompt * self.repeats

    @override
    def item(self, index: int) -> Sample:
        place, repeat = divmod(index, self.repeats)
        prompt, image = divmod(place, self.images_per_prompt)
        return Sample(self.prompts[prompt], image, repeat, self.seed)


@dataclass(frozen=True)
class Shards(Lazy[Sequence[Sample]]):
    """Samples, cut into shards of ``size``."""

    samples: Sequence[Sample]
    size: int

    def __len__(self) -> int:
        return -(-len(self.samples) // self.size)

    @override
    def item(self, index: int) -> Sequence[Sample]:
        return self.samples[index * self.size : (index + 1) * self.size]


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
    def vae(self) -> str:
        """What stands for its group's VAE: the hash of its own, or of the single file that it is in."""
        pipeline = self.identity["group"]["pipeline"]
        return str(pipeline["vae"] if "vae" in pipeline else pipeline["file"])

    @property
    def title(self) -> str:
        """For whoever watches."""
        return f"{self.group.name} {self.label} {f'{self.steps} steps' if self.steps else 'denoiser'}"

    @property
    def name(self) -> str:
        """Its folder: readable, and unique by the fingerprint."""
        task = f"{self.steps:03d}" if self.steps else self.task
        return f"{folder_name(self.group.name, self.label)}.{task}.{self.fingerprint[:8]}"


def folder_name(group: str, label: str) -> str:
    """How a row's folders begin: readable, and another for every label in any script."""
    whole = f"{group}-{label}"
    readable = re.sub(r"[^A-Za-z0-9-]+", "_", whole)[:80]
    return readable if whole.isascii() else f"{readable}-{fingerprint(whole)[:6]}"


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
        return Shards(self.cell_samples(cell), self.shard_size)
