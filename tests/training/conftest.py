"""Pairs on the disk and a training of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trainings import COUNT, written


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of several shapes, each with its caption beside it."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        size = (20 + 3 * (index % 3), 18 + index)
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"picture {index}\n")
    return folder


@pytest.fixture
def config(tmp_path: Path, tiny_group: Path, pictures: Path) -> Path:
    """A training of a few steps on tiny models."""
    return written(
        tmp_path / "my.yaml",
        group=str(tiny_group), data={"name": "folder", "path": str(pictures)}, size=16, validation=0, steps=2, batch=2, lr=0.002,
        trainable={"name": "afa", "hidden": 16}, log_every=1,
    )  # fmt: skip
