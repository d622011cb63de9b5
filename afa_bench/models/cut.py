"""Texts that are longer than what a group's text encoders read: the rest of them takes no part, which is to be said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from afa_bench.errors import UserError
from afa_bench.models.load import tokenizers_of
from afa_bench.store.atomic import read_json

if TYPE_CHECKING:
    from afa_bench.models.group import Group

LENGTH, MOST = 77, 512
"""Tokens that CLIP reads, and that others are given at most."""


def cut_notes(group: Group, prompts: Sequence[str], negatives: Sequence[str] = (), noun: str = "prompts") -> list[str]:
    """A line for each number of tokens at which texts are cut, with how many of them are.

    Args:
        group: whose tokenizers are asked, where a text may be too long; none is loaded for short ones.
        prompts: the prompts' texts.
        negatives: of negative prompts that take part.
        noun: what the texts are called.
    """
    room = min((_length(group, part) for part in group.family.tokenizers), default=LENGTH) - 2
    long = [[text for text in texts if not text.isascii() or len(text) > room] for texts in (prompts, dict.fromkeys(negatives))]
    if not any(long):
        return []
    try:
        tokenizers = tokenizers_of(group)
    except UserError:  # whoever loads the models says why
        return []
    found: dict[str, list[str]] = {}
    for part, tokenizer in tokenizers.items():
        length = min(int(tokenizer.model_max_length), MOST)
        cut, free = (sum(_tokens(text, tokenizer) > length for text in texts) for texts in long)
        counted = [f"{cut:,} of {len(prompts):,} {noun}"] if cut else []
        counted += [f"{free:,} negative prompt{'s' if free > 1 else ''}"] if free else []
        if counted:
            found.setdefault(f"{' and '.join(counted)} cut at {length} tokens", []).append(part)
    return [f"group {group.name}: {line} by its {' and '.join(parts)}" for line, parts in found.items()]


def _tokens(text: str, tokenizer: Any) -> int:
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


def _length(group: Group, part: str) -> int:
    """A tokenizer's length by its configuration; CLIP's where there is none."""
    with suppress(UserError):
        settings = None if group.pipeline.is_file() else read_json(group.pipeline / part / "tokenizer_config.json")
        length = settings.get("model_max_length") if isinstance(settings, dict) else None
        return min(length, MOST) if isinstance(length, int) else LENGTH
    return LENGTH
