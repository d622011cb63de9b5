"""Models in memory merged into one. The sources stay as they are and are shared; only the result is new."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from afa_bench.architectures.alike import require_alike
from afa_bench.architectures.base import Architecture
from afa_bench.architectures.layout import BASE, Layout, Part, modern
from afa_bench.architectures.text import PLACES, encoders_of
from afa_bench.merging.method import MergeMethod
from afa_bench.merging.place import Place, places_of
from afa_bench.merging.tensors import merge_tensor, require_same_keys
from afa_bench.models.load import Model


@dataclass(frozen=True)
class _Slot:
    """A tensor of the result and the sources' tensors."""

    place: Place
    target: Tensor
    sources: Sequence[Tensor]


class MergedModel:
    """A denoiser and, where the models have their own, a text encoder, whose weights are a merge of the models'.

    Args:
        models: of one architecture.
        architecture: this one.

    Attributes:
        unet, text_encoder: the result; until :meth:`write`, the first model's weights. A module that all models share is not
            merged, but that very module.

    Raises:
        UserError: they differ in their architecture or their tensors.
    """

    def __init__(self, models: Sequence[Model], architecture: Architecture) -> None:
        unets, encoders = [model.unet for model in models], [model.text_encoder for model in models]
        require_alike(unets)
        self.count = len(models)
        self.architecture, self.layout = architecture, architecture.layout_in_memory(unets[0])
        self.unet, self.text_encoder = _own(unets), _own(encoders)
        names = [model.name for model in models]
        blocks: dict[str | None, list[_Slot]] = {}
        slots = [*_slots(self.unet, unets, names, self._of_unet), *_slots(self.text_encoder, encoders, names, self._of_text)]
        for slot in slots:
            blocks.setdefault(slot.place.block, []).append(slot)
        self.blocks: Mapping[str | None, Sequence[_Slot]] = blocks

    def write(self, method: MergeMethod, settings: Mapping[str, Any], blocks: Collection[str | None] | None = None) -> None:
        """Make the result the merge, always from the sources.

        Args:
            method: how.
            settings: as given.
            blocks: only these; all by default.

        Raises:
            UserError: settings that do not fit the architecture or the number of models.
        """
        chosen = {block: slots for block, slots in self.blocks.items() if blocks is None or block in blocks}
        method.require_fit(self.count, settings, method.name, [slots[0].place for slots in chosen.values()])
        for slots in chosen.values():
            for slot in slots:
                slot.target.copy_(merge_tensor(slot.sources, method, settings, slot.place))

    def _of_unet(self, key: str) -> Place:
        return _place(self.architecture.denoiser[0], key, self.layout, self.layout, None)

    def _of_text(self, key: str) -> Place:
        first, *_ = encoders = list(self.architecture.encoders)
        if len(encoders_of(self.text_encoder)) == 1:
            return _place(first, key, self.architecture.layout, self.layout, BASE)
        module, _, rest = key.partition(".")
        return _place(encoders[PLACES.index(module)], rest, self.architecture.layout, self.layout, BASE)


def _place(part: Part, key: str, names: Layout | None, layout: Layout | None, block: str | None) -> Place:
    """The place of a tensor that diffusers calls ``key``; ``block`` is where it is if LDM has no name for it."""
    link = names.of_diffusers(part, key) if names is not None else None
    if link is None or names is None:
        return Place(f"{part}.{key}", block, layout)
    return replace(places_of(link, names)[link.diffusers.index(modern(part, key))], layout=layout)


def _own(modules: Sequence[nn.Module]) -> nn.Module:
    first = modules[0]
    return first if all(module is first for module in modules) else deepcopy(first)


def _slots(
    target: nn.Module, sources: Sequence[nn.Module], names: Sequence[str], place: Callable[[str], Place]
) -> Iterator[_Slot]:
    if target is sources[0]:
        return
    states = [source.state_dict() for source in sources]
    require_same_keys(states, names)
    for key, tensor in target.state_dict().items():
        yield _Slot(place(key), tensor, [state[key] for state in states])
