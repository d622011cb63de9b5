"""Which device computes, and whether it is there."""

from __future__ import annotations

from afa_bench.errors import UserError


def chosen_device(asked: str = "") -> str:
    """The device asked for, or the fastest kind that is there; found out before anything is loaded.

    Raises:
        UserError: no such device here.
    """
    import torch

    if not asked:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise UserError(f"--device: {asked}: no such device here, expected one of {', '.join(there)}") from error
    if torch.device(asked).type == "meta":
        raise UserError(f"--device: {asked}: computes nothing; expected cpu, cuda, cuda:1 or mps")
    return asked
