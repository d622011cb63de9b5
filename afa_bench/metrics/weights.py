"""Where the weights of metrics lie: in the hub's cache, or in a folder of one's own."""

from __future__ import annotations

import os
from pathlib import Path

from afa_bench.errors import UserError

FOLDER = "AFA_BENCH_WEIGHTS"
"""Environment variable: a folder which holds weight files as ``<owner>/<name>/<file>``."""


def weight_file(repository: str, file: str) -> Path:
    """A hub repository's file from :data:`FOLDER`, else from the hub's own cache (``HF_HOME``). Nothing is downloaded.

    Raises:
        UserError: it is in neither.
    """
    from huggingface_hub import try_to_load_from_cache

    own = Path(os.environ.get(FOLDER, "")) / repository / file
    if FOLDER in os.environ and own.is_file():
        return own
    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return Path(cached)
    raise UserError(
        f"{repository}: {file}: not in the hub's cache nor below ${FOLDER}; get it with: hf download {repository} {file}"
    )
