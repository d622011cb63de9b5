"""Submissions: what the hub's own library reads of them, and that no change of a byte or a number goes unnoticed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from places import ROOT
from report_factory import add_images
from results_factory import rewrite, write_cell, write_results
from typer.testing import CliRunner, Result

from afa_bench.cli import app
from afa_bench.cli.exits import NOTHING_TO_DO, USAGE, exit_code
from afa_bench.errors import UserError
from afa_bench.publish.submission import MANIFEST, sha256
from afa_bench.store.outputs import RECORD

REAL = ROOT / "results/gate/mini"


def run(*words: str) -> Result:
    return CliRunner().invoke(app(), list(words))


def refused(*words: str) -> UserError:
    error = run(*words).exception
    assert isinstance(error, UserError), error
    return error


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    add_images(write_results(home / "tiny", steps=(None, 10), groups=("mini-1",)))
    done = run(
        "export", str(home / "tiny"), "-o", str(home / "sub"), "--images", "--dataset", "me/bench", "--source", "https://x.org/r"
    )
    assert done.exit_code == 0, done.output
    return home / "sub"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sub"))


def renewed(folder: Path) -> None:
    """Write the hashes again, as someone would who hides a change."""
    file = folder / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    file.write_text(json.dumps(manifest))


def test_a_whole_submission_verifies(made):
    done = run("verify", str(made))
    assert done.exit_code == 0, done.output
    assert ", 288 rows, 8 means, 192 images: no problems\n" in done.stdout
    assert "\nnot recomputed: FID (lite0): needs the images, not the rows\n" in done.stdout
    assert f"sha256 {sha256(made / MANIFEST)}" in done.stdout


def test_it_is_the_same_bytes_again(made, tmp_path):
    words = ("--images", "--dataset", "me/bench", "--source", "https://x.org/r")
    assert run("export", str(made.parent / "tiny"), "-o", str(tmp_path / "again"), *words).exit_code == 0
    assert sha256(tmp_path / "again" / MANIFEST) == sha256(made / MANIFEST)


def test_the_committed_results_verify(tmp_path):
    assert run("export", str(REAL), "-o", str(tmp_path / "sub")).exit_code == 0
    done = run("verify", str(tmp_path / "sub"))
    assert done.exit_code == 0, done.output
    assert re.search(r"files, [1-9]\d* rows, [1-9]\d* means: no problems\n", done.stdout), done.stdout
    assert "not recomputed: FID (lite0), FID (lite0, VAE ref.), IS (lite0): needs the images" in done.stdout
    assert not list(tmp_path.rglob(".eval_results"))


def test_the_hubs_own_library_reads_it(made):
    from huggingface_hub import ModelCard
    from huggingface_hub._eval_results import parse_eval_result_entries

    folder = made / "hub/mini-1-03-afa"
    read = ModelCard.load(folder / "README.md")
    values = {(result.metric_type, result.metric_args["steps"]): result for result in read.data.eval_results}
    summary = json.loads(next(made.glob("results/tiny/mini-1-3.010.*/summary.json")).read_text())["metrics"]["clip_t_mini"]
    result = values["clip_t_mini", 10]
    assert (result.metric_value, result.metric_args["low"]) == (summary["value"], summary["low"])
    assert (result.task_type, result.dataset_type, result.source_url) == ("text-to-image", "me/bench", "https://x.org/r")
    assert "afa" in read.text
    entries = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results/tiny.yaml").read_text()))
    assert [entry.task_id for entry in entries] == ["denoising_loss", "clip_t_mini.10", "fid_lite0.10"]
    assert entries[1].value == summary["value"]
    assert {entry.dataset_id for entry in entries} == {"me/bench"}
    assert "95% interval) over 48 samples" in (entries[1].notes or "")


def test_what_git_and_file_browsers_put_beside_it_is_no_fault(copy):
    for name in (".gitattributes", ".DS_Store", "tables/.DS_Store"):
        (copy / name).touch()
    assert run("verify", str(copy)).exit_code == 0
    (copy / "tables" / "more.md").touch()
    assert "more.md: is not in submission.json" in run("verify", str(copy)).output


@pytest.mark.slow
def test_any_changed_byte_is_named(copy):
    chance = np.random.default_rng(0)
    files = sorted(
        path for path in copy.rglob("*") if path.is_file() and path.name not in (MANIFEST, RECORD) and path.suffix != ".png"
    )
    files += sorted(copy.rglob("*.png"))[:3]
    for path in files[:: max(1, len(files) // 12)]:
        data = bytearray(path.read_bytes())
        data[chance.integers(len(data))] ^= 1 << int(chance.integers(8))
        before = path.read_bytes()
        path.write_bytes(data)
        done = run("verify", str(copy))
        assert done.exit_code == 1, path
        assert f"{path.name}: changed" in done.stdout, path
        path.write_bytes(before)
    assert run("verify", str(copy)).exit_code == 0


def raise_value(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/summary.json"))[0]
    content = json.loads(file.read_text())
    content["metrics"]["clip_t_mini"]["value"] += 0.05
    file.write_text(json.dumps(content))
    return "summary.json: metrics.clip_t_mini.value: 0.8"


def raise_row(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/samples.parquet"))[0]
    rows = pd.read_parquet(file)
    rows.loc[0, "clip_t_mini"] = 0.99
    rows.to_parquet(file)
    return "summary.json: metrics.clip_t_mini.value: "


def drop_row(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/samples.parquet"))[0]
    pd.read_parquet(file).iloc[1:].to_parquet(file)
    return "samples: 48, but samples.parquet has 47 rows"


def other_seed(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/samples.parquet"))[0]
    rows = pd.read_parquet(file)
    rows.loc[2, "seed"] += 1
    rows.to_parquet(file)
    return "sample p01/0/0: seed: not the one that the suite's seed gives"


def other_identity(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/cell.json"))[0]
    rewrite(file, '"size": 32', '"size": 64')
    return "size: 64, but"


def other_weights(folder: Path) -> str:
    file = sorted(folder.glob("results/tiny/mini-1-3.010.*/cell.json"))[0]
    rewrite(file, '"name": "afa"', '"name": "afa", "version": 2')
    return "cell.json: fingerprint: not that of the identity"


def better_table(folder: Path) -> str:
    file = folder / "tables/table.md"
    file.write_text(file.read_text().replace("0.8", "0.9", 1))
    return "table.md: is not what the results come to"


def better_card(folder: Path) -> str:
    file = folder / "hub/mini-1-03-afa/README.md"
    file.write_text(file.read_text().replace("value: 0.8", "value: 0.9", 1))
    return "hub/mini-1-03-afa/README.md: is not what the results come to"


def other_image(folder: Path) -> str:
    first, second = sorted(folder.glob("results/tiny/mini-1-3.010.*/images/*.png"))[:2]
    first.write_bytes(second.read_bytes())
    return f"images/{first.name}: changed: its sha256 is not that of its row"


@pytest.mark.parametrize(
    "forge",
    [raise_value, raise_row, drop_row, other_seed, other_identity, other_weights, better_table, better_card, other_image],
)
def test_numbers_that_do_not_follow_are_found_behind_new_hashes(copy, forge: Callable[[Path], str]):
    words = forge(copy)
    renewed(copy)
    done = run("verify", str(copy))
    assert done.exit_code == 1
    assert words in done.stdout
    assert "changed: its sha256 is not that of submission.json" not in done.stdout


def test_missing_and_strange_files_are_named(copy):
    (copy / "tables/table.csv").unlink()
    (copy / "extra.txt").touch()
    (copy / "tables/table.md").unlink()
    (copy / "tables/table.md").symlink_to("/etc/hostname")
    done = run("verify", str(copy))
    assert done.exit_code == 1
    for words in ("table.csv: missing", "extra.txt: is not in submission.json", "table.md: is no plain file"):
        assert words in done.stdout


def test_usage(tmp_path, copy):
    assert exit_code(refused("verify", str(tmp_path))) == USAGE
    manifest = json.loads((copy / MANIFEST).read_text())
    for change, words in (
        ({"schema": 99}, "schema: expected at most"),
        ({"files": {"../../etc/passwd": "0"}}, "expected a path inside the submission"),
        ({"results": "/etc"}, "expected a path inside the submission"),
        ({"files": 3}, "expected the keys files, results and benchmark"),
    ):
        (copy / MANIFEST).write_text(json.dumps(manifest | change))
        assert words in str(refused("verify", str(copy)))
    (copy / MANIFEST).write_text(json.dumps(manifest | {"files": {}}))
    assert exit_code(refused("verify", str(copy))) == NOTHING_TO_DO

    write_cell(tmp_path / "in")
    assert "--dataset: expected owner/name" in str(refused("export", str(tmp_path / "in"), "--dataset", "x"))
    assert "--source: expected a URL" in str(refused("export", str(tmp_path / "in"), "--source", "javascript:1"))
    next(tmp_path.glob("in/*/samples.parquet")).unlink()
    message = str(refused("export", str(tmp_path / "in"), "-o", str(tmp_path / "out")))
    assert "samples.parquet: missing: run the suite to its end first" in message


def test_an_error_of_ours_is_no_verdict(copy, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("afa_bench.publish.verify.derived", broken)
    assert run("verify", str(copy)).exit_code == 5
