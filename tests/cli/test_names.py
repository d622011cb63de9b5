"""Names of files and folders: home folders, brackets, names that no terminal shows, outputs that cannot be written."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
import typer
from places import ROOT
from results_factory import write_cell, write_results
from typer.testing import CliRunner, Result

from afa_bench.cli import app, options
from afa_bench.errors import UserError

PACKAGE = ROOT / "afa_bench"
ODD = "[v2] [bold]x[/bold] :dog:"


def run(*words: str) -> Result:
    return CliRunner().invoke(app(), list(words))


def verbs(parent: typer.Typer, name: str = "") -> Iterator[tuple[str, Any]]:
    for command in parent.registered_commands:
        yield f"{name}{command.name}", command.callback
    for group in parent.registered_groups:
        yield from verbs(group.typer_instance, f"{name}{group.name} ")


def paths() -> Iterator[tuple[str, Any]]:
    """The arguments and options of all verbs that take a path."""
    for name, function in verbs(app()):
        for parameter, hint in get_type_hints(function, include_extras=True).items():
            if Path in {hint, *getattr(hint, "__args__", ())} or "pathlib.Path" in str(hint):
                yield f"{name}: {parameter}", hint.__metadata__[0]


def test_every_path_of_every_verb_is_read_by_the_same_code() -> None:
    assert [name for name, about in paths() if about.parser is not options.path and not about.callback] == []


URLS = ("s3://bucket/x", "S3://bucket/x", "s3:/bucket/x", "gs://bucket/x", "https://example.org/x", "file:///tmp/x")


@pytest.mark.parametrize("about", [pytest.param(about, id=name) for name, about in paths()])
@pytest.mark.parametrize("url", URLS)
def test_an_option_that_takes_a_path_takes_no_url(about: Any, url: str) -> None:
    with pytest.raises(UserError, match="is a URL; expected a path of this machine"):
        about.callback(None, SimpleNamespace(opts=["--out"]), Path(url)) if about.callback else about.parser(url)


@pytest.mark.parametrize(
    "words",
    [
        "run mini --group {}",
        "run {}.yaml",
        "validate {}.yaml",
        "fetch {}.yaml",
        "search {}.yaml --scorer aes",
        "maps prompt --group {}",
        "wins --group {}",
        "table {}.json --paper 6",
    ],
)
@pytest.mark.parametrize("url", URLS[::2])
def test_a_word_that_may_be_a_path_is_no_url(words: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = run(*words.format(url).split()).exception
    assert isinstance(error, UserError), error
    assert "is a URL" in str(error)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "words",
    [
        "run mini --out",
        "score images --metrics is --out",
        "figure 4 mini_full -o",
        "train config.yaml --out",
        "train config.yaml --cache",
        "import-sabw release -o",
        "maps prompt -o",
        "wins -o",
        "search mini --scorer aes --out",
        "gate base head --out",
        "report mini_full -o",
        "export mini_full -o",
        "stats images -o",
        "bench methods --out",
        "mini build --out",
        "mini sheet --out",
        "mini maps --out",
        "mini routes --out",
    ],
)
def test_an_output_below_a_file_is_refused_before_the_work(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("kept")
    suffix = {"figure": ".svg", "stats": ".npz", "bench": ".json"}.get(words.split()[0], ".png")
    error = run(*words.split(), f"afile/x{suffix}").exception
    assert isinstance(error, UserError), error
    assert "afile/x" in str(error)
    assert "afile is a file; expected a folder" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stats images -o s.NPZ", "--out: s.NPZ: expected a name that ends in .npz"),
        ("stats images -o folder", "--out: folder: expected a name that ends in .npz"),
        ("stats images -o folder.npz", "--out: folder.npz: is a folder; expected the name of a file"),
        ("maps prompt -o m.jpg", "--out: m.jpg: expected a name that ends in .png"),
        ("wins -o w", "--out: w: expected a name that ends in .png"),
        ("bench methods --out rows.yaml", "--out: rows.yaml: expected a name that ends in .json"),
        ("figure 4 mini_full -o f.gif", "--out: f.gif: expected a name that ends in .svg or .png or .pdf"),
        ("report mini_full -o afile", "--out: afile: is a file; expected a folder"),
    ],
)
def test_an_output_of_another_kind_is_refused(words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("kept")
    Path("folder.npz").mkdir()
    assert str(run(*words.split()).exception) == message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "may not be written" in str(run("report", "mini_full", "-o", str(tmp_path / "out")).exception)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parent)
    write_results(tmp_path / "tiny")
    (tmp_path / "policy.yaml").write_text("metrics: {clip_t_mini: {margin: 0.02}}\n")
    assert run("table", "~/tiny").exit_code == 0
    assert run("gate", "~/tiny", "~/tiny", "--policy", "~/policy.yaml", "--out", "~/decided").exit_code == 0
    assert (tmp_path / "decided" / "gate.json").is_file()
    assert run("figure", "4", "~/tiny", "--metrics=clip_t_mini", "--out=~/figure.svg").exit_code == 0
    assert (tmp_path / "figure.svg").is_file()
    for words in ("validate ~/none.yaml", "search ~/none.yaml --scorer aes", "run ~/none.yaml", "run mini --group ~/none.yaml"):
        assert isinstance(run(*words.split()).exception, UserError)
    scored = run("score", "~/nowhere", "--metrics", "is:features=lite0", "--out", "~/scored").exception
    assert str(scored) == f"{tmp_path / 'nowhere'}: no such folder"
    assert not Path("~").exists()


def test_brackets_and_colons_in_a_name_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cell(Path(ODD), method="base", label="[red]one[/red]")
    assert run("status", ODD).stdout.startswith(f"{ODD}\n")
    assert "[red]one[/red]" in run("status", ODD).stdout
    done = run("report", ODD, "-o", f"{ODD} report")
    assert f"{ODD} report/index.html" in done.stderr
    assert "[red]one[/red]" in run("table", ODD).stdout


def test_texts_of_a_bar_stay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from afa_bench.terminal import Bars, output, warn

    monkeypatch.setattr("afa_bench.terminal.QUIET", 0)  # seconds between the lines that stand for a bar where no terminal is
    bars = Bars()
    with bars.stage("work", 1):
        bars.advance(ODD, 1)
    warn(ODD)
    output().print(ODD)
    shown = capsys.readouterr()
    assert shown.err.count(ODD) == 2
    assert shown.out == f"{ODD}\n"


def test_one_place_makes_what_a_terminal_shows() -> None:
    """Consoles, texts with a style and columns of bars are made in ``terminal``; no verb writes names past its consoles."""
    makers = {"Console", "Progress", "TextColumn", "Text", "Text.assemble", "Text.from_markup"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and file != PACKAGE / "terminal.py":
                name, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
                assert name not in makers, file
                assert name != "Progress" or "console" in given, file
                assert name != "typer.echo" or not isinstance(node.args[0], ast.JoinedStr), file


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    words = [os.fsencode(sys.executable), b"-m", b"afa_bench", b"table", b"results\xff"]
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"afa-bench: 'results\\udcff': not UTF-8; expected a name that can be written down: rename it\n"


def test_a_letter_that_the_terminal_does_not_have_is_no_error() -> None:
    words = [sys.executable, "-m", "afa_bench", "table", "mini_full", "--steps", "20", "--only", "base"]
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"CLIP-T (mini) [cosine] \\u2191" in done.stdout


@pytest.mark.parametrize("encoding", ["iso8859-1", "cp1252", "ascii"])
@pytest.mark.parametrize("form", ["csv", "markdown"])
def test_a_document_says_what_its_encoding_lacks(encoding: str, form: str, tmp_path: Path) -> None:
    write_cell(tmp_path / "t", label="日本")
    words = [sys.executable, "-m", "afa_bench", "table", str(tmp_path / "t"), "--format", form]
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr.decode().split(": ")[:2]) == (0, ["warning", f"standard output is {encoding}"])
    assert b"\\u65e5\\u672c" in done.stdout
