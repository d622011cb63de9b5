"""Tiny real models in the diffusers layout, and a suite on them: everything that a run needs, in a fraction of a second."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml
from tiny import tiny_pipeline, tiny_unet

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start: several tests run at once


@pytest.fixture(scope="session")
def tiny_group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group file with three models of random weights, beside their folders."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline(folder)
    for seed, name in enumerate(("one", "two", "three"), start=1):
        tiny_unet(seed).save_pretrained(folder / name / "unet")
    file = folder / "tiny.yaml"
    file.write_text("pipeline: base\nmodels: {one: one, two: two, three: three}\n")
    return file


@pytest.fixture
def tiny_suite(tmp_path: Path, tiny_group: Path) -> Path:
    """A suite of 5 prompts of the user's own, all methods without training, two steps; scored by the lite0 features."""
    (tmp_path / "prompts.txt").write_text("a red dog\n\na 'quoted' / \"slashed\" prompt\n狗\nx\n" + "very " * 1000 + "long\n")
    suite = {
        "name": "tiny",
        "groups": [str(tiny_group)],
        "prompts": {"name": "file", "path": "prompts.txt"},
        "methods": ["base", "merge", "noise-average", "block-average"],
        "metrics": [{"name": "is", "features": "lite0", "splits": 1}],
        "sampler": {"guidance": 2.0},
        "steps": [2],
        "size": 8,
        "images_per_prompt": 2,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path
