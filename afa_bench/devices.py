"""Which device computes where nobody has said."""

from __future__ import annotations


def best_device() -> str:
    """The fastest kind of device that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
