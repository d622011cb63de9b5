"""What to do when memory runs out: halve the batch, and give back what is not needed; and which errors are the device's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_batches(count: int, batch: int, work: Callable[[slice], T]) -> tuple[list[T], int]:
    """Work on ``count`` things in batches, which are halved as often as the memory asks for.

    Args:
        count: how many there are.
        batch: at most so many at once.
        work: does a part of them.

    Returns:
        What each batch came to, in order, and the size of a batch that fits.

    Raises:
        MemoryError: not one fits.
    """
    results: list[T] = []
    start = 0
    while start < count:
        size = min(batch, count - start)
        try:
            results.append(work(slice(start, start + size)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(str(error)) from error
            batch = size // 2
        else:
            start += size
            continue
        free()  # after the error is gone, and with it the tensors that it holds
    return results, batch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on any device."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def is_of_device(error: BaseException) -> bool:
    """Whether an error is a device's own, or its driver's: nothing that follows on it would be a sample's fault."""
    return (
        re.search(r"\b(CUDA|HIP|cuDNN|CUBLAS|MIOpen|XPU|MPS)[ _](driver |runtime |backend )?(error|status)", str(error), re.I)
        is not None
    )


def free() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
