"""A published network as an extractor: built from a configuration, filled from its weight file, fed with batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Extractor
from afa_bench.extractors.pixels import Fit, Pixels, fitted, prepared_by
from afa_bench.fetch import Source, locate

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

State: TypeAlias = "Mapping[str, Tensor]"


@dataclass
class Network(Extractor):
    """Base class of extractors around one published network.

    A subclass says what the network is (:meth:`build`), how its file's tensors become the network's (:meth:`adapt`), how images
    are fitted (:meth:`fit`) and what comes out (:meth:`run`). By :meth:`from_state` any other width of the same architecture,
    with any tensors, runs in the same code.

    Attributes:
        config: of the published network, as :meth:`build` takes it.
        source: its weight file.
    """

    config: ClassVar[Mapping[str, Any]]
    variants: ClassVar[bool] = True
    cpu_batch: ClassVar[int] = 4  # the activations of more leave the caches: a batch of 64 is a seventh slower

    _given: State | None = None

    @property
    def source(self) -> Source:
        """The weight file."""
        raise NotImplementedError

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """The network of a configuration; its parameters' values do not matter."""
        raise NotImplementedError

    def adapt(self, state: State) -> State:
        """The tensors of the published file, under the names of :meth:`build`'s network."""
        return state

    def fit(self) -> Fit:
        """How images come to the network's size."""
        raise NotImplementedError

    def run(self, pixels: Tensor, captions: Sequence[str]) -> Mapping[str, Tensor]:
        """Features of a batch ``(B, 3, H, W)`` in 0..255."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: State | Path, config: Mapping[str, Any] | None = None, **settings: Any) -> Self:
        """An extractor with tensors of one's own in place of the published file's; :meth:`load` it as any other.

        Args:
            state: tensors under the published file's names, or a safetensors file with them.
            config: where the network is not of the published size.
            settings: ``preprocess``, ``dtype`` and what else the extractor has.
        """
        from safetensors.torch import load_file

        extractor = cls(**settings)
        extractor._given = load_file(state) if isinstance(state, Path) else state
        if config is not None:
            extractor.config = config  # type: ignore[misc] # an instance's own in place of the published one
        return extractor

    def sources(self) -> Sequence[Source]:
        """The weight file."""
        return (self.source,)

    def weights(self) -> Mapping[str, Path]:
        """The fetched file.

        Raises:
            UserError: it is not there, or not the published one.
        """
        return {self.name: locate(self.source)}

    def hashes(self) -> dict[str, str]:
        """sha256 of the file, or of the tensors given."""
        if self._given is None:
            return super().hashes()
        digest = sha256()
        for name, tensor in sorted(self._given.items()):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.float().cpu().contiguous().numpy().tobytes())
        return {self.name: digest.hexdigest()}

    def load(self, device: str) -> None:
        """Bring the network into memory.

        Raises:
            UserError: no such file, or its tensors are not this network's.
        """
        from accelerate import init_empty_weights

        where = self.source.id
        state = self._given
        if state is None:
            path = self.weights()[self.name]
            where, state = str(path), read_tensors(path)
        with init_empty_weights():  # nothing is drawn at random only to be overwritten
            model = self.build(self.config)
        try:
            model.load_state_dict(self.adapt(state), assign=True)
        except (RuntimeError, KeyError) as error:
            raise UserError(f"{where}: expected the tensors of {self.name}'s network: {str(error)[:300]}") from error
        self.model: Any = model.float().eval().requires_grad_(False).to(device)
        self.device = device

    def prepare(self, image: Image.Image) -> Pixels:
        """The image at the network's size for ``exact``, as it is for ``fast``."""
        return prepared_by(self.fit(), self.preprocess, image)

    def encode(self, prepared: Sequence[Pixels], captions: Sequence[str] = ()) -> Mapping[str, NDArray[np.float32]]:
        """Features of prepared images."""
        import torch

        with torch.inference_mode(), self.precision():
            features = self.run(fitted(prepared, self.fit(), self.preprocess, self.device), captions)
            return {name: array.float().cpu().numpy() for name, array in features.items()}

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast where ``dtype`` is another than float32."""
        import torch

        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, getattr(torch, self.dtype))


def lengths(tokenizer: Any, texts: Sequence[str], most: int) -> list[int]:
    """How many tokens of a tokenizer of transformers texts are, with its marks; ``most`` where they are more."""
    return [len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=most).input_ids]


def read_tensors(path: Path) -> State:
    """The tensors of a safetensors file, or of a pickle that holds nothing else.

    Raises:
        UserError: neither.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not a file of tensors: {str(error)[:300]}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if state is None or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: expected tensors by name")
    return dict(state)
