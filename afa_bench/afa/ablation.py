"""What SABW can do without."""

from __future__ import annotations

from typing import Literal, TypeAlias

Ablation: TypeAlias = Literal["spatial", "timestep", "text"]
"""One weight for all pixels; no time embedding; no cross-attention to the text (the paper, table 3)."""
