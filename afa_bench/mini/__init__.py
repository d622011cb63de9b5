"""The mini zoo: small diffusion models, really trained, that ship with the package.

``zoo()`` is where they lie; the recipe that made them is ``afa-bench mini build`` (the other modules of this package).
"""

from __future__ import annotations

from pathlib import Path


def zoo() -> Path:
    """The folder of the zoo that ships with the package."""
    return Path(__file__).parent / "zoo"
