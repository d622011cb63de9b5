"""``afa-bench bench metrics`` where the official packages are not; tests/oracle measures where they are."""

from __future__ import annotations

import sys

import pytest
import torch
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--official", sys.executable, "--images", "1"], "the official packages do not run there: ModuleNotFoundError"),
        (["--official", "/nowhere/python"], "/nowhere/python: cannot be run: No such file or directory"),
        (["--official", "python", "--size", "large"], "--size: unknown size 'large'"),
        (["--official", "python", "--device", "cuda:1"], "--device: unknown device 'cuda:1': did you mean 'cuda'"),
        (["--official", "python", "--dtype", "float16"], "--dtype: unknown dtype 'float16'"),
        (["--official", "python", "--preprocess", "none"], "--preprocess: unknown preprocess 'none'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: list[str], expected: str) -> None:
    before = torch.get_num_threads()
    shown = CliRunner().invoke(app(), ["bench", "metrics", *options, "--threads", "2"])
    assert isinstance(shown.exception, UserError)
    assert expected in str(shown.exception)
    assert torch.get_num_threads() == before, "what a measurement sets is its own"
