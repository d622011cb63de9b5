"""What methods cost: counted on models without weights, measured on small ones, and read by the paper's tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from afa_bench.bench.methods import Case, cases_of
from afa_bench.bench.report import run_methods
from afa_bench.errors import UserError
from afa_bench.paper import paper_table


def runs(file: Path) -> dict[tuple[str, int, int, int], dict[str, float]]:
    """A file's rows by method, models, images and steps."""
    rows = json.loads(file.read_text())["runs"]
    return {(row["method"], row["n_models"], row["images"], row["steps"]): row for row in rows}


def test_the_base_model_goes_first_and_alone() -> None:
    assert cases_of(["afa", "base", "afa"], [2, 3], [1], [50, 20]) == [
        Case(method, count, 1, steps) for method, count in (("base", 1), ("afa", 2), ("afa", 3)) for steps in (50, 20)
    ]


@pytest.mark.slow
def test_counted_without_weights(tmp_path: Path) -> None:
    file = tmp_path / "methods.json"
    text = run_methods("mini-1", ["noise-average", "afa"], [2], [1, 2], [20, 10], rounds=0, out=file)
    found = runs(file)
    base, noise, afa = (found[key] for key in (("base", 1, 1, 20), ("noise-average", 2, 1, 20), ("afa", 2, 1, 20)))
    assert noise["parameters"] == 2 * base["parameters"]
    assert afa["parameters"] > noise["parameters"]
    half = found["noise-average", 2, 1, 10]["tflops"]
    rest = 2 * half - noise["tflops"]  # text and decoder: once, however many steps
    assert 0 < rest < half
    assert 1.9 < (noise["tflops"] - rest) / (base["tflops"] - rest) < 2.1
    assert found["base", 1, 2, 20]["tflops"] == pytest.approx(2 * base["tflops"], rel=0.02)
    assert afa["train_tflops"] > 0
    assert base["train_tflops"] is base["seconds"] is base["peak_bytes"] is None
    assert "no device (counted, not run)" in text
    assert "noise-average        2" in " ".join(text.split("\n"))


@pytest.mark.slow
def test_measured_beside_the_base_model(tmp_path: Path) -> None:
    file = tmp_path / "methods.json"
    text = run_methods("mini-1", ["weighted", "noise-average"], [3], [1], [2, 1], rounds=2, device="cpu", out=file)
    found = runs(file)
    base, noise = found["base", 1, 1, 2], found["noise-average", 3, 1, 2]
    assert base["ratio"] == 1.0
    assert noise["ratio"] == pytest.approx(noise["seconds"] / base["seconds"])
    assert noise["seconds_low"] <= noise["seconds"] <= noise["seconds_high"]
    assert noise["peak_bytes"] is None or noise["peak_bytes"] > 4 * noise["parameters"]
    assert found["weighted", 3, 1, 2]["parameters"] == base["parameters"]
    assert found["weighted", 3, 1, 2]["tflops"] == base["tflops"]
    assert text.startswith("mini-1, random weights, 32 px, float32; CPU (")
    table = paper_table(9, file)
    assert "random weights at 32 px in float32 on CPU" in " ".join(table.notes)
    (merging,) = (row for row in table.sections[0].rows if row.label == "Merging Method")
    assert merging.cells[3].value == pytest.approx(base["parameters"] / 1e6)


@pytest.mark.slow
def test_true_sizes(tmp_path: Path) -> None:
    """Stable Diffusion 1.5 under 2 and 3 models: the parameters of tables 6 and 9, and of appendix B where they differ."""
    file = tmp_path / "methods.json"
    run_methods("sd15", ["magicfusion", "afa"], [2, 3], [1], [50], rounds=0, out=file)
    millions = {key[:2]: row["parameters"] / 1e6 for key, row in runs(file).items()}
    assert millions["base", 1] == pytest.approx(859.52, abs=0.01)
    assert millions["magicfusion", 3] == pytest.approx(2578.56, abs=0.01)
    assert millions["afa", 2] == pytest.approx(1761.47, abs=0.01)
    assert millions["afa", 3] == pytest.approx(2623.70, abs=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "sd16"}, "sd16: unknown architecture: did you mean 'sd15'"),
        ({"methods": ["afaa"]}, "--methods: unknown method 'afaa'"),
        ({"models": [0]}, "--models: expected whole numbers from 1"),
        ({"rounds": -1}, "--rounds: -1"),
        ({"dtype": "float61", "rounds": 1, "device": "cpu"}, "unknown number format 'float61'"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, object], words: str) -> None:
    asked = {"architecture": "mini-1", "methods": ["afa"], "models": [2], "images": [1], "steps": [1], "rounds": 0, **options}
    with pytest.raises(UserError, match=words):
        run_methods(**asked)  # type: ignore[arg-type]
