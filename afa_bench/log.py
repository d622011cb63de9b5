"""The package's logger: what was done in place of what was asked, and old names. Silent until somebody listens to it."""

from __future__ import annotations

import logging
from functools import cache

LOG = logging.getLogger("afa_bench")
LOG.addHandler(logging.NullHandler())


@cache  # once a process and name
def deprecated(old: str, new: str) -> None:
    """Say that a name which users write is an old one.

    Args:
        old: the name as it was written, such as ``methods: weighted``.
        new: what to write in its place.
    """
    LOG.warning("%s is the old name of %s; write the new one", old, new)
