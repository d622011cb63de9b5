"""Two small real pipelines of each architecture that is merged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import sd15, sdxl


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pipelines ``sd15/A``, ``sd15/B``, ``sdxl/A``, ``sdxl/B``; not to be written to."""
    folder = tmp_path_factory.mktemp("small")
    for seed, name in enumerate("AB"):
        sd15(folder / "sd15" / name, seed)
        sdxl(folder / "sdxl" / name, seed, big_layers=2, layers=(1, 1, 2))
    return folder
