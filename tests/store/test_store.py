import os
import signal
import subprocess
import sys
import time

import pytest

from afa_bench.errors import UserError
from afa_bench.store.atomic import new_folder, read_json, write_bytes, write_json
from afa_bench.store.layout import SCHEMA, CellStore, Store, checked


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(path, "text")  # type: ignore[arg-type]
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    code = f"""
from pathlib import Path
from afa_bench.store.atomic import write_bytes
n = 0
while True:
    write_bytes(Path({str(path)!r}), bytes([n % 256]) * 3_000_000)
    n += 1
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    data = path.read_bytes()
    assert len(data) == 3_000_000
    assert len(set(data)) == 1


KILLED = """
import os, signal
from pathlib import Path
from afa_bench.store import atomic
with atomic.{kind}(Path({path!r})) as place:
    {write}
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_kill_leaves_no_file_at_all(tmp_path):
    code = KILLED.format(kind="writing", path=str(tmp_path / "a.bin"), write="place.write(bytes(10**6)); place.flush()")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_kill_has_left_is_removed_by_the_next_try(tmp_path):
    code = KILLED.format(kind="new_folder", path=str(tmp_path / "out"), write="(place / 'half').touch()")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["out", "out/whole"]


@pytest.mark.parametrize("parent", ["/proc/self/nowhere", "file/below"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, parent):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / parent).prepare()


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"schema": "x"}', '{"schema": 1', "\x00"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "cell.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"cell\.json"):
        checked(path)


def test_a_file_of_a_later_version_is_refused(tmp_path):
    write_json(tmp_path / "cell.json", {"schema": SCHEMA + 1})
    with pytest.raises(UserError, match="written by a later afa-bench"):
        CellStore(tmp_path).about()


def test_what_is_absent_is_none(tmp_path):
    store = CellStore(tmp_path)
    assert store.about() is store.summary() is store.shard_rows(0) is None
