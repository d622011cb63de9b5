"""The presets of block weights that users of the web UIs know, under their names there.

The numbers are those of the two tools' published tables: sd-webui-supermerger's ``mbwpresets_master.txt`` and
sdweb-merge-block-weighted-gui's ``preset.tsv``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from afa_bench.errors import UserError, suggest

CLASSIC = 25
"""Blocks of SD 1.5's U-Net, for which the presets with numbered blocks are defined."""


def smoothstep(x: float) -> float:
    """From 0 to 1, flat at both ends."""
    return 3 * x**2 - 2 * x**3


def folded(x: float) -> float:
    """Up from 0 to 1, down again, and so on: what goes beyond 1 is thrown back."""
    return abs((x + 1) % 2 - 1)


CURVES: Mapping[str, Callable[[float], float]] = {
    "GRAD_V": lambda x: abs(1 - 2 * x),
    "GRAD_A": lambda x: 1 - abs(1 - 2 * x),
    "SMOOTHSTEP": smoothstep,
    "SMOOTHSTEP*2": lambda x: folded(2 * smoothstep(x)),
    "SMOOTHSTEP*3": lambda x: folded(3 * smoothstep(x)),
    "SMOOTHSTEP*4": lambda x: folded(4 * smoothstep(x)),
    "SMOOTHSTEP/2": lambda x: smoothstep(folded(2 * x)),
    "SMOOTHSTEP/3": lambda x: smoothstep(folded(3 * x)),
    "SMOOTHSTEP/4": lambda x: smoothstep(folded(4 * x)),
    "COSINE": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "TRUE_CUBIC_HERMITE": lambda x: 77 / 12 * x**3 - 77 / 8 * x**2 + 25 / 6 * x + 1 / 24 if x > 0 else 0.0,
    "FAKE_CUBIC_HERMITE": lambda x: 19 / 3 * x**3 - 19 / 2 * x**2 + 25 / 6 * x,
    "FAKE_HERMITE": lambda x: 6.3333 * x**3 - 9.5 * x**2 + 4.1667 * x,
    "FLAT_25": lambda x: 0.25,
    "FLAT_75": lambda x: 0.75,
    "ALL_A": lambda x: 0.0,
    "ALL_B": lambda x: 1.0,
}
"""Presets by formula; x goes from 0 at the first block to 1 at the last. FAKE_HERMITE is FAKE_CUBIC_HERMITE, rounded."""

RANGES: Mapping[str, Mapping[tuple[int, int], float]] = {
    "WRAP08": {(0, 3): 1.0, (21, 24): 1.0},
    "WRAP12": {(0, 5): 1.0, (19, 24): 1.0},
    "WRAP14": {(0, 6): 1.0, (18, 24): 1.0},
    "WRAP16": {(0, 7): 1.0, (17, 24): 1.0},
    "MID12_50": {(5, 18): 0.5},
    "OUT07": {(18, 24): 1.0},
    "OUT12": {(13, 24): 1.0},
    "OUT12_5": {(13, 24): 1.0, (12, 12): 0.5},
    "RING08_SOFT": {(6, 8): 1.0, (16, 18): 1.0, (5, 9): 0.5, (15, 19): 0.5},
    "RING08_5": {(6, 9): 1.0, (15, 18): 1.0},
    "RING10_5": {(5, 9): 1.0, (15, 19): 1.0},
    "RING10_3": {(6, 10): 1.0, (14, 18): 1.0},
}
"""Presets by ranges of blocks, first and last included, the first that a block is in; 0 elsewhere."""

CORRECTED = frozenset({"RING08_5", "RING10_5", "RING10_3"})
"""Presets whose numbers were others in earlier editions: what was made with them is known by the numbers, not by the name."""

BASES: Mapping[str, float] = {"ALL_A": 0.0, "ALL_B": 1.0}
"""Presets that say what BASE is, where the user does not."""


def preset(name: str, count: int = CLASSIC) -> tuple[float, ...]:
    """The weights of a named preset for ``count`` blocks.

    ``R_`` or ``REVERSE_`` before it gives one minus them, as do the tools' own names (``TRUE_REVERSE_CUBIC_HERMITE``).

    Raises:
        UserError: no such preset, or one whose blocks are numbered for 25 of them.
    """
    bare, reverse = parsed(name)
    if bare in CURVES:
        weights = tuple(CURVES[bare](i / (count - 1)) for i in range(count))
    elif count == CLASSIC:
        ranges = RANGES[bare].items()
        weights = tuple(next((value for (low, high), value in ranges if low <= i <= high), 0.0) for i in range(count))
    else:
        raise UserError(f"blocks: preset {name} is defined for {CLASSIC} blocks; this model has {count}")
    return tuple(1 - weight for weight in weights) if reverse else weights


def parsed(name: str) -> tuple[str, bool]:
    """A preset's own name, and whether it is reversed.

    Raises:
        UserError: there is none.
    """
    bare, count = re.subn(r"^(R_|REVERSE[_-])|(?<=_)REVERSE_", "", name)
    if count > 1 or not (bare in CURVES or bare in RANGES):
        raise UserError(f"blocks: unknown preset {name!r}: {suggest(bare, (*CURVES, *RANGES))}")
    return bare, bool(count)
