"""The most memory that a piece of work adds to what is there already."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def added_peak(work: Callable[[], object], device: str) -> int | None:
    """Run ``work`` and return the bytes that it added at its peak; None where the system does not tell (no CUDA, no Linux)."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    if not _start():
        work()
        return None
    resident = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - resident)


def _start() -> bool:
    """Give freed memory back to the system and let the kernel count the peak anew."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        CLEAR.write_text("5")
    except (OSError, AttributeError):
        return False
    return STATUS.exists()


def _status(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
