"""The readers of all that users write under damage: a short form of ``python tests/support/fuzz.py SECONDS``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz import KINDS, fuzz

from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.suite import packaged_suites, read_suite

FEW = ("suites", "results", "single_files", "groups", "policies", "statistics", "checkpoints", "hashes")
"""Of whose damage little can be read."""


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "single_files" else ()) for kind in KINDS])
def test_damage_never_ends_in_a_traceback_or_in_another_value(kind: str) -> None:
    counts, findings = fuzz(trials=120, seed=1, chosen=[kind])
    assert not findings, "\n\n".join(findings)
    assert counts[f"{kind}: error"] > 5 or kind == "items"  # which are encoded again
    assert counts[f"{kind}: value"] > 5 or kind in FEW


def with_long_texts(document: Any) -> Iterator[Any]:
    """A document with each of its texts in turn as long as no name of a file may be."""
    if isinstance(document, str):
        yield document + "x" * 5_000
    elif isinstance(document, dict | list):
        places = document.items() if isinstance(document, dict) else enumerate(document)
        for place, part in places:
            for changed in with_long_texts(part):
                whole = document.copy()
                whole[place] = changed
                yield whole


@pytest.mark.parametrize("name", ["mini", "drawbench", "table16_training_coco2017"])
def test_texts_that_are_too_long_for_a_name_are_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    for document in with_long_texts(yaml.safe_load(packaged_suites()[name].read_text())):
        file.write_text(yaml.safe_dump(document))
        with contextlib.suppress(UserError):  # all else is raised
            estimate(read_suite(file))
