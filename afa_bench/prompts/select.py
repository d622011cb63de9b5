"""A seeded selection that depends on ids alone: not on their order, nor on any library's generator."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable


def select(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` ids at random (all, if there are fewer), in random order: those with the smallest sha256 of seed and id."""
    return heapq.nsmallest(count, ids, key=lambda identity: hashlib.sha256(f"{seed}/{identity}".encode()).digest())
