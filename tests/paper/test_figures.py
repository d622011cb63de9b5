"""The paper's figures from results: what is drawn, what is refused, and that the bytes are always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from results_factory import write_cell, write_results
from typer.testing import CliRunner

from afa_bench.cli.figure import figure
from afa_bench.errors import NothingToDoError, UserError
from afa_bench.paper.figures import draw_figure, images, lines
from afa_bench.paper.figures.style import AFA, styled
from afa_bench.tables import build_table, load_results


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "tiny", (10, 20, 30))


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with an image for each sample of two methods: a grey that tells method and steps."""
    root = tmp_path_factory.mktemp("results") / "pictured"
    for order, method in enumerate(("base", "afa")):
        for steps in (10, 20):
            cell = write_cell(root, method=method, order=order, steps=steps)
            rows = pd.read_parquet(cell.samples)
            rows["file"] = [f"{place}.png" for place in range(len(rows))]
            rows.to_parquet(cell.samples)
            cell.images.mkdir()
            for name in rows["file"]:
                Image.new("RGB", (8, 8), (100 * order + steps,) * 3).save(cell.images / name)
    return root


def test_a_panel_a_group_and_a_line_a_row(tiny: Path) -> None:
    with styled():
        drawn = lines.against_steps(build_table(load_results(tiny), metrics=["clip_t_mini"], only=["base", "afa"]))
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["mini-1", "mini-2"]
    assert drawn.axes[0].get_ylabel() == "CLIP-T (mini) ↑"
    bars = {bar.get_label(): bar.lines[0] for bar in drawn.axes[0].containers}
    assert list(bars) == ["base: people", "base: R&B_50%|x*", "afa"]
    table = build_table(load_results(tiny), metrics=["clip_t_mini"], only=["afa"], groups=["mini-1"])
    assert bars["afa"].get_ydata().tolist() == [cell.value for cell in table.sections[0].rows[0].cells]
    assert bars["afa"].get_color() == AFA
    names = [text.get_text() for text in drawn.axes[0].texts]
    assert sorted(names) == sorted(bars)
    heights = sorted(text.xyann[1] for text in drawn.axes[0].texts)
    assert min(np.diff(heights)) > 0.07  # names never lie on each other


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_bytes_every_time(tiny: Path, tmp_path: Path, kind: str) -> None:
    for name in ("once", "again"):
        draw_figure(4, load_results(tiny), tmp_path / f"{name}.{kind}", groups=["mini-1"])
    assert (tmp_path / f"once.{kind}").read_bytes() == (tmp_path / f"again.{kind}").read_bytes()


def test_training_samples_come_from_the_labels(tmp_path: Path) -> None:
    for group in ("one", "two"):
        for order, count in enumerate((0, 2000, 10000)):
            method = "afa" if count else "block-average"  # which an untrained aggregator is
            write_cell(tmp_path, group, method, f"samples-{count}", skill=order / 100, order=order, steps=50)
    with styled():
        drawn = lines.against_training(build_table(load_results(tmp_path), metrics=["clip_t_mini"]))
    assert [bar.get_label() for bar in drawn.axes[0].containers] == ["one", "two"]
    assert drawn.axes[0].get_xticks().tolist() == [0, 2000, 10000]
    with pytest.raises(NothingToDoError, match="expected two or more rows labelled by"):
        draw_figure(8, load_results(write_results(tmp_path / "other", (10,))), tmp_path / "x.svg")


def test_images_of_one_prompt_side_by_side(pictured: Path, tmp_path: Path) -> None:
    cells = images.one_group(load_results(pictured), "")
    with styled():
        drawn = images.against_steps(cells, ["p03"])
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in drawn.subfigs[0].axes]
    assert shown == [20, 10, 120, 110]  # rows: base, afa; columns: from many steps to few
    draw_figure(7, load_results(pictured), tmp_path / "images.png", only=["afa"], prompts=["p01", "p02"])
    with pytest.raises(UserError, match="'p99' is not in these results"):
        draw_figure(7, load_results(pictured), tmp_path / "x.png", prompts=["p99"])
    for file in pictured.glob("*/images/*.png"):
        file.unlink()
    with pytest.raises(UserError, match="run the suite again"):
        draw_figure(7, load_results(pictured), tmp_path / "x.png")


def test_the_command(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(figure)

    def run(*words: str) -> object:
        return CliRunner().invoke(app, list(words))

    done = run("4", str(tiny), "--metrics", "fid_lite0", "--group", "mini-2")
    assert done.stdout == "figure-4.svg\n"
    assert (tmp_path / "figure-4.svg").read_text().startswith("<?xml")
    for words, message in (
        (("5", str(tiny)), "figure 5: expected one of"),
        (("6", str(tiny)), "`afa-bench maps PROMPT` draws it"),
        (("4", str(tiny), "-o", "x.jpeg"), "--out: x.jpeg: expected a name that ends in .svg or .png or .pdf"),
        (("4", str(tiny), "--metrics", "clip_t"), "did you mean 'clip_t_mini'"),
        (("4", str(tiny), "--prompt", "p01"), "figure 7 alone"),
    ):
        error = run(*words).exception
        assert isinstance(error, UserError), error
        assert message in str(error)
