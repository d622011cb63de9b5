"""How texts are read where it is not as an architecture does by itself: by fewer layers, in pieces, nothing as zeros or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from afa_bench.architectures.base import Architecture


@dataclass(frozen=True)
class Reading:
    """How a model's text encoders read.

    Attributes:
        clip_skip: so many of their last layers are left out, but for the negative text: as in the stock pipelines.
        chunks: texts that are too long are read in pieces, whose states stand one after the other; what is said of a text as a
            whole (a pooled embedding) is said of its first piece. A shorter text is followed by empty pieces.
        zeros: whether zeros stand for an empty negative text, where the architecture has them; None: as the architecture does.
    """

    clip_skip: int | None = None
    chunks: bool = False
    zeros: bool | None = None

    def conditions(
        self,
        architecture: Architecture,
        texts: Sequence[str],
        tokenizers: Sequence[Any],
        encoders: Sequence[nn.Module],
        negative: str = "",
        guided: bool = False,
    ) -> dict[str, Tensor]:
        """As :meth:`Architecture.conditions`; all texts as long as the longest, ``prompt_embeds`` ``(B, pieces * L, N * D)``."""
        count = max(pieces(text, tokenizers) for text in (*texts, negative)) if self.chunks else 1
        found = self._read(architecture, texts, tokenizers, encoders, count, self.clip_skip or 0)
        if guided and architecture.classifier_free:
            own = {} if negative or self.zeros is False else architecture.unconditional(tokenizers, encoders)
            if own and count == 1:
                free = own
            elif own and not any(bool(value.any()) for value in own.values()):
                free = {name: value.new_zeros(1, *value.shape[1:]) for name, value in found.items()}
            else:
                free = self._read(architecture, [negative], tokenizers, encoders, count, 0)
            found |= {f"negative_{name}": value.expand(len(texts), *value.shape[1:]) for name, value in free.items()}
        return found

    def lengths(self, texts: Sequence[tuple[str, str]], tokenizers: Sequence[Any]) -> list[int]:
        """How many pieces each text and its negative one take: those of one length can be read and drawn together."""
        return [max(pieces(text, tokenizers) for text in both) if self.chunks else 1 for both in texts]

    def _read(
        self,
        architecture: Architecture,
        texts: Sequence[str],
        tokenizers: Sequence[Any],
        encoders: Sequence[nn.Module],
        count: int,
        skipped: int,
    ) -> dict[str, Tensor]:
        import torch

        from afa_bench.architectures.text import side_by_side

        def read(own: Sequence[nn.Module]) -> dict[str, Tensor]:
            fewer: Any = [_Fewer(encoder, skipped) for encoder in own] if skipped else own
            if count == 1:
                return architecture.encode(texts, tokenizers, fewer)
            pieces = [architecture.encode(texts, [_Piece(each, n) for each in tokenizers], fewer) for n in range(count)]
            return {**pieces[0], "prompt_embeds": torch.cat([each["prompt_embeds"] for each in pieces], dim=1)}

        return side_by_side(encoders, read)


def pieces(text: str, tokenizers: Sequence[Any]) -> int:
    """How many times the tokenizers' lengths a text takes."""
    return max(-(-max(len(_words(text, each)), 1) // _room(each)) for each in tokenizers)


def _words(text: str, tokenizer: Any) -> list[int]:
    """A text's token ids, without those that begin and end it."""
    ids: list[int] = tokenizer(text, truncation=False, verbose=False).input_ids
    return ids[1:-1]


def _room(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length) - 2


class _Piece:
    """A CLIP tokenizer that gives the n-th piece of a text, padded to the tokenizer's length."""

    def __init__(self, tokenizer: Any, number: int) -> None:
        self.tokenizer, self.number, self.model_max_length = tokenizer, number, tokenizer.model_max_length

    def __call__(self, texts: Sequence[str], **_: Any) -> Any:
        import torch

        return SimpleNamespace(input_ids=torch.tensor([self._row(text) for text in texts]))

    def _row(self, text: str) -> list[int]:
        own, room = self.tokenizer, _room(self.tokenizer)
        words = _words(text, own)[self.number * room : (self.number + 1) * room]
        return [own.bos_token_id, *words, own.eos_token_id, *[own.pad_token_id] * (room - len(words))]


class _Fewer:
    """A CLIP text encoder without its last layers; the last norm follows the last one that is left."""

    def __init__(self, encoder: nn.Module, skipped: int) -> None:
        self.encoder, self.skipped = encoder, skipped
        self.parameters: Callable[..., Any] = encoder.parameters

    def __call__(self, ids: Tensor, **_: Any) -> Any:
        output = self.encoder(ids, output_hidden_states=True)
        hidden = output.hidden_states[: -self.skipped]
        norm: Any = getattr(self.encoder, "text_model", self.encoder).final_layer_norm
        return type(output)(**{**output, "last_hidden_state": norm(hidden[-1]), "hidden_states": hidden})
