"""Every verb with a folder that is missing, empty, a file, another's, half written, unreadable or read-only.

Each is answered in one line and with the exit code of a mistake, or it is done; no file is lost or changed, and nothing is left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from report_factory import add_images
from results_factory import write_cell
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.store.layout import PlannedCell, Store

NOBODY = 65534
FINE = {0, 1, 3, 4}
"""Exit codes of what was read and judged; a mistake is a UserError."""


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """Results with images, where everybody may look."""
    home = Path(tempfile.mkdtemp(prefix="afa-bench-"))
    home.chmod(0o755)
    for order, method in enumerate(("base", "afa")):
        for steps in (None, 10):
            write_cell(home / "tiny", method=method, order=order, steps=steps)
    add_images(home / "tiny")
    cells = [PlannedCell(path.name, "mini-1", path.name, 10, 48) for path in sorted((home / "tiny").iterdir())]
    Store(home / "tiny").write_planned("tiny", 3, cells)
    for path in (home / "tiny", *(home / "tiny").rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    with chdir(home):
        for name in ("r", "good"):
            Path(name).symlink_to("tiny")
        for words in READERS:  # what a verb imports is read by whoever runs the tests
            CliRunner().invoke(app(), words.split())
    yield home / "tiny"
    shutil.rmtree(home)


@pytest.fixture
def place(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of one's own, with two copies of the results: ``r`` and ``good``."""
    home = Path(tempfile.mkdtemp(prefix="afa-bench-"))
    home.chmod(0o777)
    shutil.copytree(whole, home / "r", copy_function=shutil.copy)
    (home / "good").symlink_to(whole)
    monkeypatch.chdir(home)
    for name in ("HOME", "XDG_CACHE_HOME", "AFA_BENCH_DATA"):
        monkeypatch.setenv(name, str(home / "home"))
    (home / "home").mkdir(mode=0o777)
    yield home
    for path in home.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(home)


def as_nobody(work: Callable[[], object]) -> None:
    """Do something as a user who may not read everything, even where root runs the tests."""
    if os.geteuid() != 0:
        work()
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        work()
    finally:
        os.setresuid(0, 0, 0)


def contents(folder: Path) -> dict[str, str]:
    """The bytes of all that is in a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o777)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a letter\n")


def foreign(folder: Path) -> None:
    """Somebody's own folder, with files whose names are ours."""
    empty(folder)
    for name in ("notes.txt", ".git/HEAD", "thesis/cell.json", "thesis/summary.json", "index.html", "a.claim.1", "suite.json"):
        (folder / name).parent.mkdir(exist_ok=True, mode=0o777)
        (folder / name).write_text('{"mine": 1}')


def of_lists(folder: Path) -> None:
    """A cell's file of another kind, and a link that goes round."""
    empty(folder)
    (folder / "cell.json").write_text("[]")
    (folder / "x").symlink_to(folder)


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = sorted(folder.glob(name))[0]
        file.write_bytes(file.read_bytes()[:size])

    change.__name__ = f"{name.rpartition('/')[2]} cut at {size}"
    return change


def without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        sorted(folder.glob(name))[0].unlink()

    change.__name__ = f"without {name.rpartition('/')[2]}"
    return change


def is_a_folder(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = sorted(folder.glob(name))[0]
        file.unlink()
        file.mkdir(mode=0o777)

    change.__name__ = f"{name.rpartition('/')[2]} is a folder"
    return change


def may_not(mode: int, name: str = "") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in [folder] if not name else sorted(folder.glob(name))[:1]:
            path.chmod(mode)

    change.__name__ = f"{name.rpartition('/')[2] or 'folder'} {mode:o}"
    return change


FILES = ("*/cell.json", "*/summary.json", "*/samples.parquet", "suite.json")
STATES = [
    missing,
    empty,
    a_file,
    foreign,
    of_lists,
    *(cut(name, size) for name in FILES for size in (0, 40)),
    *(without(name) for name in FILES),
    *(is_a_folder(name) for name in FILES),
    *(may_not(0, name) for name in ("", "*", "*/images", *FILES)),
    may_not(0o555),
]
READERS = (
    "table r",
    "table r --vs afa",
    "table r --paper 1",
    "status r",
    "retry r",
    "gc r",
    "gc r --dropped",
    "compare r good",
    "compare good r",
    "gate r good",
    "gate good r",
    "gate good r --out out",
    "report r -o out",
    "export r -o out --images",
    "verify r",
    "figure 4 r -o out.svg",
    "figure 7 r -o out.svg",
)


def tried() -> Iterator[Any]:
    """All states with all verbs; the fast tests are two verbs in every state, and all verbs in some."""
    for number, state in enumerate(STATES):
        for place, words in enumerate(READERS):
            often = words in ("table r", "report r -o out") or (number + place) % 8 == 0
            yield pytest.param(words, state, id=f"{words}, {state.__name__}", marks=[] if often else pytest.mark.slow)


@pytest.mark.parametrize(("words", "state"), tried())
def test_a_folder_to_read(words: str, state: Callable[[Path], None], place: Path) -> None:
    state(place / "r")
    before = contents(place) if os.geteuid() == 0 else {}

    def work() -> None:
        done = CliRunner().invoke(app(), words.split())
        error = done.exception
        if isinstance(error, UserError):
            assert "\n" not in str(error)
        else:
            assert error is None or isinstance(error, SystemExit), repr(error)
            assert done.exit_code in FINE, done.output

    as_nobody(work)
    if os.geteuid() == 0:
        after = contents(place)
        lost = {name for name in before if after.get(name) != before[name]}
        assert not lost
        assert not [name for name in after if name.partition("/")[0] not in ("r", "good", "home", "out", "out.svg")]
        assert not [name for name in after.keys() - before.keys() if name.startswith("r/")]


def read_only(folder: Path) -> None:
    empty(folder)
    (folder / "kept").write_text("kept")
    folder.chmod(0o555)


def half_a_record(folder: Path) -> None:
    """What a command of an earlier day wrote, whose record was cut."""
    empty(folder)
    (folder / "index.html").write_text("old")
    (folder / ".afa-bench.json").write_text('{"command": "rep')


def a_record_of_more(folder: Path) -> None:
    """A record that names files outside, and none of the others here."""
    empty(folder)
    (folder / "thesis.tex").write_text("mine")
    (folder / ".afa-bench.json").write_text('{"command": "report", "files": ["../r/suite.json", "/etc/hosts", "x/../../r"]}')


WRITERS = (
    "report good -o out",
    "export good -o out",
    "gate good good --out out",
    "figure 4 good -o out/f.svg",
    "table good",
    "score good --metrics is:features=lite0 --out out",
    "run mini --limit 1 --only base --out out",
    "train r/suite.json --out out",
    "search mini --scorer aes --out out",
    "import-sabw r -o out",
    "merge r/suite.json -o out",
    "stats r -o out/s.npz",
    "maps prompt -o out/m.png",
)


def written() -> Iterator[Any]:
    """All states with all verbs, but for those that may write there and would then work, which takes long."""
    for state in (a_file, foreign, read_only, half_a_record, a_record_of_more):
        for words in WRITERS:
            if state in (a_file, read_only) or not words.startswith(("run", "maps")):
                yield pytest.param(words, state, id=f"{words}, {state.__name__}")


@pytest.mark.parametrize(("words", "state"), written())
def test_a_folder_to_write(words: str, state: Callable[[Path], None], place: Path) -> None:
    (place / "out").mkdir()
    state(place / "out")
    before = contents(place)

    def work() -> None:
        done = CliRunner().invoke(app(), words.split())
        error = done.exception
        assert error is None or isinstance(error, UserError | SystemExit), repr(error)
        if state is read_only and "out" in words:
            assert isinstance(error, UserError)

    as_nobody(work)
    after = contents(place)
    assert not [name for name in before if after.get(name) != before[name]]
    assert not [name for name in after if name.partition("/")[0] not in ("r", "good", "home", "out", "scores")]
