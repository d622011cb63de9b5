"""The report's folder: its data, its images, what it refuses. What the page does with them: test_report_browser.py."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from places import ROOT
from report_factory import SCRIPT, add_images, png
from results_factory import METHODS, rewrite, write_cell, write_results
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.store.outputs import RECORD
from afa_bench.tables import build_table, load_results

PAGE = ROOT / "afa_bench/report/page"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_images(write_results(tmp_path_factory.mktemp("results") / "tiny", steps=(None, 10)))


def report(results: Path, out: Path, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app(), ["report", str(results), "-o", str(out), *words])
    if done.exception:
        raise done.exception
    return data(out)


def data(out: Path) -> dict[str, Any]:
    text = (out / "data.js").read_text(encoding="ascii")
    quoted = re.fullmatch(r"const REPORT = JSON.parse\('(.*)'\);\n", text, re.S)
    assert quoted
    found: dict[str, Any] = json.loads(re.sub(r"\\(.)", r"\1", quoted[1], flags=re.S))
    return found


def test_the_numbers_are_the_tables(results, tmp_path):
    found = report(results, tmp_path / "out")
    loaded = load_results(results)
    table = build_table(loaded)
    rows = {(row["group"], row["label"]): row for row in found["rows"]}
    for section in table.sections:
        for row in section.rows:
            cells = rows[section.name, row.label]["cells"]
            assert [(cell["value"], cell["low"], cell["n"]) for cell in cells] == [(c.value, c.low, c.n) for c in row.cells]
    against = build_table(loaded, versus="afa")
    for section in against.sections:
        for row in section.rows:
            for cell, theirs in zip(row.cells, rows[section.name, row.label]["versus"].get("afa", ()), strict=False):
                gap = cell.difference
                assert gap is not None
                assert theirs["value"] == pytest.approx(gap.value, abs=1e-12)
                assert theirs["low"] == (pytest.approx(gap.low, abs=1e-12) if math.isfinite(gap.low) else None)
    assert found["notes"] == list(table.notes)


def test_one_difference_is_the_others_mirror(results, tmp_path):
    rows = {row["label"]: row["versus"] for row in report(results, tmp_path / "out")["rows"] if row["group"] == "mini-1"}
    for ours, theirs in zip(rows["afa"]["weighted"], rows["weighted"]["afa"], strict=True):
        assert ours["value"] == -theirs["value"]
        assert (ours["low"], ours["high"]) in (((theirs["high"] or 0) * -1, (theirs["low"] or 0) * -1), (None, None))


def test_samples_and_images(results, tmp_path):
    found = report(results, tmp_path / "out")
    samples = found["samples"]
    assert len(samples["sample_id"]) == 48
    assert samples["prompt"][0] == SCRIPT
    cell = next(cell for cell in found["cells"] if cell["steps"] == 10)
    frame = pd.read_parquet(results / cell["folder"] / "samples.parquet")
    assert cell["values"]["clip_t_mini"] == frame["clip_t_mini"].tolist()
    for name, digest in zip(found["names"][cell["names"]], cell["own"]["sha256"], strict=True):
        image = (tmp_path / "out" / cell["images"]["full"] / name).read_bytes()
        assert digest == hashlib.sha256(image).hexdigest()
    assert not cell["images"]["thumbs"]
    denoise = next(cell for cell in found["cells"] if cell["steps"] is None)
    assert [value is None for value in denoise["values"]["denoising_loss"]] == [bool(index % 2) for index in range(48)]


@pytest.mark.parametrize(("mode", "full", "thumbs"), [("copy", True, True), ("small", False, True), ("link", True, False)])
def test_large_images(tmp_path, mode, full, thumbs):
    write_cell(tmp_path / "in")
    add_images(tmp_path / "in", size=300)
    (cell,) = report(tmp_path / "in", tmp_path / "deep/er/out", "--images", mode)["cells"]
    out = tmp_path / "deep/er/out"
    assert (bool(cell["images"]["full"]), bool(cell["images"]["thumbs"])) == (full, thumbs)
    if full:
        assert len(list((out / cell["images"]["full"]).glob("*.png"))) == 48
        assert (out / "images").is_dir() == (mode == "copy")
    if thumbs:
        small = sorted((out / cell["images"]["thumbs"]).glob("*.webp"))
        assert len(small) == 48
        assert Image.open(small[0]).size == (256, 256)


def test_maps_belong_to_their_sample(tmp_path):
    cell = write_cell(tmp_path / "in")
    add_images(tmp_path / "in")
    name = sorted(cell.images.iterdir())[5].stem
    (cell.folder / "maps").mkdir()
    for kind in (f"{name}.png", f"{name}-block 3.png", "other.png", "notes.txt"):
        (cell.folder / "maps" / kind).write_bytes(png("map"))
    found = report(tmp_path / "in", tmp_path / "out")
    index = found["names"][0].index(f"{name}.png")
    (maps,) = (cell["images"]["maps"] for cell in found["cells"])
    folder = f"maps/{cell.folder.name}"
    assert maps == {str(index): [f"{folder}/{name}-block%203.png", f"{folder}/{name}.png"]}
    assert len(list((tmp_path / "out" / folder).iterdir())) == 2


def test_results_without_images(tmp_path):
    write_results(tmp_path / "in", steps=(10,), groups=("mini-1",))
    assert all(cell["images"]["full"] == "" for cell in report(tmp_path / "in", tmp_path / "out")["cells"])
    add_images(tmp_path / "in")
    gone = next(tmp_path.glob("in/*/images/*.png"))
    gone.unlink()
    found = report(tmp_path / "in", tmp_path / "out")
    missing = {cell["folder"]: len(cell["images"]["missing"]) for cell in found["cells"]}
    assert missing.pop(gone.parent.parent.name) == 1
    assert not any(missing.values())


def test_a_report_is_replaced_and_nothing_else_is(tmp_path):
    write_cell(tmp_path / "in")
    add_images(tmp_path / "in")
    out = tmp_path / "out"
    report(tmp_path / "in", out)
    (out / ".git").mkdir()
    (out / "thesis.tex").touch()
    stale = out / "images" / "stale.png"
    stale.touch()
    record = json.loads((out / RECORD).read_text())
    (out / RECORD).write_text(json.dumps(record | {"files": [*record["files"], "images/stale.png", "../mine", "/etc/passwd"]}))
    (tmp_path / "mine").touch()
    report(tmp_path / "in", out)
    assert not stale.exists()  # the record says that a report had it
    assert (tmp_path / "mine").exists()
    (tmp_path / "mine").unlink()
    assert (out / ".git").is_dir()
    assert (out / "thesis.tex").exists()
    before = (out / "data.js").read_bytes()

    broken = next(tmp_path.glob("in/*/images/*.png"))
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match=f"{broken.name}: cannot be read as an image"):
        report(tmp_path / "in", out)
    assert (out / "data.js").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    for place, words in ((mine, "was not written by afa-bench report"), (mine / "thesis.tex", "is a file; expected a folder")):
        with pytest.raises(UserError, match=words):
            report(tmp_path / "in", place)
    (mine / "index.html").write_text("my own page")
    with pytest.raises(UserError, match="was not written by afa-bench report"):
        report(tmp_path / "in", mine)
    assert (mine / "index.html").read_text() == "my own page"
    assert (mine / "thesis.tex").exists()


def test_a_file_of_ones_own_in_a_report_is_not_replaced(tmp_path):
    write_cell(tmp_path / "in")
    add_images(tmp_path / "in")
    out = tmp_path / "out"
    report(tmp_path / "in", out)
    record = json.loads((out / RECORD).read_text())
    (out / RECORD).write_text(json.dumps(record | {"files": [name for name in record["files"] if name != "index.html"]}))
    (out / "index.html").write_text("mine")
    with pytest.raises(UserError, match=r"index\.html: was not written by afa-bench report and would be replaced"):
        report(tmp_path / "in", out)
    assert (out / "index.html").read_text() == "mine"


def test_a_link_is_followed_and_the_working_directory_is_a_folder_too(tmp_path, monkeypatch):
    write_cell(tmp_path / "in")
    add_images(tmp_path / "in")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    report(tmp_path / "in", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").is_file()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    report(tmp_path / "in", Path())
    report(tmp_path / "in", Path())
    assert (tmp_path / "here" / "index.html").is_file()


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a/b.png", "a\\b.png", ".hidden"])
def test_a_file_name_is_no_path(tmp_path, name):
    cell = write_cell(tmp_path / "in")
    add_images(tmp_path / "in")
    rows = pd.read_parquet(cell.samples)
    rows.loc[2, "file"] = name
    rows.to_parquet(cell.samples)
    with pytest.raises(UserError, match=r"column file: .* expected the plain name of a file"):
        report(tmp_path / "in", tmp_path / "out")


def test_damaged_results_are_refused(tmp_path):
    cell = write_cell(tmp_path / "in")
    cell.samples.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"samples\.parquet: corrupt"):
        report(tmp_path / "in", tmp_path / "out")
    cell.samples.unlink()
    with pytest.raises(UserError, match=r"samples\.parquet: missing"):
        report(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match="--images: unknown mode 'lnk': did you mean 'link'"):
        report(tmp_path / "in", tmp_path / "out", "--images", "lnk")


def test_the_page_asks_for_nothing_from_elsewhere(results, tmp_path):
    report(results, tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*(path.name for path in PAGE.iterdir()), RECORD, "data.js", "images"]
    )
    for path in PAGE.iterdir():
        text = path.read_text()
        assert set(re.findall(r"\w+://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function| style=", text), path


def test_a_suites_name_is_escaped(tmp_path):
    write_cell(tmp_path / "in")
    file = next(tmp_path.glob("in/*/cell.json"))
    rewrite(file, '"suite": "tiny"', '"suite": "</title><script>"')
    report(tmp_path / "in", tmp_path / "out")
    assert "<h1>&lt;/title&gt;&lt;script&gt;, revision 3</h1>" in (tmp_path / "out/index.html").read_text()


def test_needs_no_torch(tmp_path):
    write_cell(tmp_path / "in", method=METHODS[0][0])
    code = (
        "import sys\nfrom afa_bench.cli import app\n"
        "app()(['report', 'in', '-o', 'out'], standalone_mode=False)\n"
        "print({'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "set()"
