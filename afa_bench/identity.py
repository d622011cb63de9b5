"""What makes two results the same: canonical JSON, fingerprints, sample ids and seeds.

Everything here is versioned by :data:`IDENTITY`; a golden test holds the values, since a change would orphan every stored result.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable
from typing import Any

IDENTITY = 1


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, non-ASCII kept and NaN refused (``ValueError``): equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """sha256 over the canonical JSON of ``value``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical([IDENTITY, value]).encode()).hexdigest()


def fingerprint_of_rows(rows: Iterable[Any]) -> str:
    """:func:`fingerprint` of the list of ``rows``, of which only one is in memory at a time."""
    digest = hashlib.sha256(canonical([IDENTITY, []])[:-2].encode())
    for index, row in enumerate(rows):
        digest.update(("," if index else "").encode() + canonical(row).encode())
    digest.update(b"]]")
    return digest.hexdigest()


def seed_of(suite_seed: int, *key: str | int) -> int:
    """A 63-bit seed for one source of randomness: a pure function of the suite's seed and a key (prompt id, image, repeat).

    Methods, batches, shards and engines are no part of the key: the same sample starts from the same noise everywhere.
    """
    digest = hashlib.sha256(canonical([IDENTITY, suite_seed, *key]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sample_id(prompt_id: str, image_index: int, repeat: int) -> str:
    """The name of a sample within a suite: ``<prompt id>/<image index>/<repeat>``."""
    return f"{prompt_id}/{image_index}/{repeat}"


def select(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` ids at random (all, if there are fewer), in random order: those with the smallest sha256 of seed and id."""
    return heapq.nsmallest(count, ids, key=lambda identity: hashlib.sha256(f"{seed}/{identity}".encode()).digest())
