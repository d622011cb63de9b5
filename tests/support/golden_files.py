"""Texts that a test compares byte by byte.

``AFA_BENCH_GOLDEN=write pytest tests/tables/test_formats.py tests/paper/test_tables.py`` writes them anew, to be read before they
are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
GROWN = {"rich": "txt", "markdown": "md", "latex": "tex", "html": "html", "csv": "csv", "json": "json"}


def check_golden(name: str, text: str) -> None:
    """Compare to a golden file."""
    file = GOLDEN / name
    if os.environ.get("AFA_BENCH_GOLDEN") == "write":
        file.write_bytes(text.encode())
    assert text.encode() == file.read_bytes()
