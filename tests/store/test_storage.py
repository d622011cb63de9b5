"""Results by URL: what one process makes on its own disk, whoever makes it, byte for byte."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from runs import run
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.cli.compare import compare
from afa_bench.errors import UserError
from afa_bench.store.claims import EXPIRES, _machine, claimed
from afa_bench.store.garbage import find_garbage, remove_garbage
from afa_bench.store.layout import PlannedCell, Store
from afa_bench.store.locate import place
from afa_bench.store.status import read_status
from afa_bench.tables import build_table, load_results, render
from afa_bench.tables.find import find_results

OWN = {"cell.json", "scoring.json"}
"""Files that tell of the machine and the hour; shards' markers tell of seconds."""


def files(root: Path) -> dict[str, bytes]:
    """Every file below, without what depends on the hour."""
    fs = getattr(root, "fs", None)
    if fs is None:
        found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    else:
        names = fs.find(root.path)
        found = {name.partition(root.path.rstrip("/") + "/")[2]: fs.cat_file(name) for name in names}
    return {name: told(name, data) for name, data in found.items()}


def told(name: str, data: bytes) -> bytes:
    last = name.rpartition("/")[2]
    if last in OWN or last == "samples.parquet":
        return b""
    if last.startswith("shard-"):
        rows = json.loads(data)["rows"]
        return json.dumps([row | {"seconds": 0} for row in rows]).encode()
    return data


@pytest.fixture
def memory() -> Iterator[Path]:
    from fsspec.implementations.memory import MemoryFileSystem

    yield place("memory://results/of everyone")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.mark.slow
def test_a_url_has_the_files_of_a_folder(tiny_suite, tmp_path, memory):
    run(tiny_suite, tmp_path / "folder")
    assert run(tiny_suite, memory, only=["base"]).generated == 30
    assert run(tiny_suite, memory).generated == 30
    assert files(memory) == files(tmp_path / "folder")
    assert run(tiny_suite, memory).generated == 0
    shown = [render(build_table(load_results(root / "tiny")), "json") for root in (memory, tmp_path / "folder")]
    assert shown[0] == shown[1]
    assert find_results(f"{memory}/tiny") == memory / "tiny"


def test_readers_take_a_url(tiny_suite, tmp_path, memory, capsys):
    run(tiny_suite, memory, only=["weighted"])
    run(tiny_suite, tmp_path / "folder", only=["weighted"])
    compare(f"{memory}/tiny", f"file://{tmp_path}/folder/tiny", form="markdown", metrics="", group="", only="", steps="")
    assert "weighted" in capsys.readouterr().out
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_results("memory://results/nowhere")


def test_a_claim_on_a_url(memory):
    work = memory / "folder" / "shard"
    with claimed(work) as mine, claimed(work) as second, claimed(memory / "folder" / "other") as other:
        assert (mine, second, other) == (True, False, True)
    assert not files(memory)


def test_debris_on_a_url(tiny_suite, memory):
    run(tiny_suite, memory, only=["weighted"])
    claim = memory / "tiny" / "scoring.claim.0"
    claim.write_bytes(json.dumps({"machine": _machine(), "pid": 1, "process": "1-1"}).encode())
    assert [garbage.path for garbage in find_garbage(memory / "tiny")] == [claim]
    status = read_status(memory / "tiny")
    assert (status.cells[0].done, status.cells[0].scored, status.scoring) == (10, True, None)
    assert status.disk == sum(file.size for file in memory.fs.store.values())
    remove_garbage(find_garbage(memory / "tiny"))
    assert not claim.exists()


def test_a_claim_of_another_machine_on_a_url_holds_until_it_expires(memory):
    from fsspec.implementations.memory import MemoryFileSystem

    work = memory / "shard"
    claim = memory / "shard.claim.0"
    claim.write_bytes(json.dumps({"host": "other", "machine": "other", "pid": 1, "process": "1-1"}).encode())
    with claimed(work) as mine:
        assert not mine
    file = MemoryFileSystem.store[claim.path]
    file.modified -= type(file.modified - file.modified)(seconds=EXPIRES + 5)
    with claimed(work) as mine, claimed(work) as second:
        assert (mine, second) == (True, False)
    assert not files(memory)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s3://", "expected a URL"),
        ("S3://", "expected a URL"),
        ("s3:/bucket/x", r"s3:/bucket/x: expected a path, or a URL such as s3://bucket/results"),
        ("S3:bucket", "expected a path, or a URL such as s3://bucket/results"),
        ("gs:/bucket/x", "expected a path, or a URL such as gs://bucket/results"),
        ("file:/tmp/x", "expected a path, or a URL such as file://"),
        ("nosuch://bucket/x", "cannot be reached"),
        ("s3://bucket/x", "cannot be reached: .*(127.0.0.1|connect)"),
    ],
)
def test_a_wrong_url_is_one_line(name, message, monkeypatch):
    environment(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=message) as caught:
        place(name)
    assert "\n" not in str(caught.value)


def test_a_protocol_is_understood_in_capitals(memory):
    (memory / "a" / "b.txt").write_text("x")
    assert place(f"MEMORY://{memory.path}/a").joinpath("b.txt").read_text() == "x"
    assert place("s3/x:y") == Path("s3/x:y")


class NotImplementedByServer(Exception):  # noqa: N818 # as botocore has it
    """What S3's package raises for an answer of 501."""

    response: ClassVar = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}


@pytest.fixture
def unconditional(memory, monkeypatch):
    """A storage whose server knows no conditional put."""
    put = type(memory.fs).pipe_file

    def pipe_file(self, path, value, mode="overwrite", **options):
        if mode == "create":
            raise OSError(22, "A header you provided implies functionality that is not implemented") from NotImplementedByServer()
        return put(self, path, value, **options)

    monkeypatch.setattr(type(memory.fs), "pipe_file", pipe_file)
    return memory


def test_without_a_conditional_put_claims_go_by_a_look(unconditional, caplog):
    work = unconditional / "shard"
    with claimed(work) as mine, claimed(work) as second:
        assert (mine, second) == (True, False)
    assert not files(unconditional)
    with claimed(work) as again:
        assert again
    assert caplog.text.count("has no conditional put") == 1


def test_a_run_goes_on_without_a_conditional_put(unconditional, tiny_suite):
    outcome = run(tiny_suite, unconditional, only=["one"])
    assert (outcome.generated, outcome.failed) == (10, 0)


@pytest.mark.parametrize("url", [False, True])
@pytest.mark.parametrize("verb", [["status"], ["status", "--json"], ["gc"], ["gc", "--dropped"]])
def test_who_only_looks_writes_nothing(memory, tiny_suite, tmp_path, monkeypatch, verb, url):
    """Not even beside a claim of another machine, which ends by the clock of where it lies."""
    root = memory if url else tmp_path / "out"
    run(tiny_suite, root, only=["one"])
    (cell,) = [path.parent for path in (root / "tiny").glob("*/cell.json")]
    for work in (root / "tiny" / "scoring", cell / "state" / "shard-000000.json"):
        work.with_name(f"{work.name}.claim.0").write_text(json.dumps({"host": "other", "machine": "other", "pid": 1}))

    def refuse(*args, **options):
        raise AssertionError("written")

    for module in ("claims", "atomic", "place"):
        for name in ("create", "put", "write_bytes", "renew"):
            monkeypatch.setattr(f"afa_bench.store.{module}.{name}", refuse, raising=False)
    done = CliRunner().invoke(app(), [*verb, f"memory://{root.path}/tiny" if url else str(root / "tiny")])
    assert (done.exit_code, done.exception) == (0, None)


def environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """What a user sets for a storage that is not Amazon's."""
    values = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for key, value in {**values, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on this machine; moto's servers share their content, hence a name of its own."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # it would go on to the server of the test before
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment(monkeypatch, f"http://{host}:{port}")
    name = f"results-{port}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}/team"
    server.stop()


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_named(bucket):
    with pytest.raises(UserError, match="s3://no-such-bucket/x: The specified bucket does not exist"):
        place("s3://no-such-bucket/x")
    assert not place(f"{bucket}/none").exists()


@pytest.mark.slow
def test_those_who_plan_in_a_bucket_at_the_same_moment_lose_no_line(bucket):
    def plan(who: str) -> None:
        for steps in range(1, 4):
            store.write_planned("suite", 1, [PlannedCell(f"{who}{steps}", "g", who, steps, 10)], whole=False)

    store = Store(place(bucket) / "suite")
    with ThreadPoolExecutor() as threads:
        list(threads.map(plan, "abcd"))
    assert {cell.name for cell in store.planned()} == {f"{who}{steps}" for who in "abcd" for steps in range(1, 4)}
    assert set(files(store.root)) == {"suite.json"}


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "afa_bench", *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_two_processes_share_a_bucket_though_one_is_killed(tiny_suite, tmp_path, bucket):
    run(tiny_suite, tmp_path / "folder", shard_size=2)
    processes = multiprocessing.get_context("spawn")  # a fork server may be older than the bucket's credentials
    first = processes.Process(target=on_url, args=(tiny_suite, bucket))
    first.start()
    while not place(bucket).fs.glob(f"{place(bucket).path}/tiny/*/state/shard-*.json"):
        assert first.is_alive()
        time.sleep(0.2)
    with processes.Pool(1) as pool:
        second = pool.apply_async(on_url, (tiny_suite, bucket))
        time.sleep(1)
        first.kill()
        outcome = second.get(timeout=400)
    assert (outcome.failed, outcome.left) == (0, 0)
    assert 0 < outcome.generated < 60
    assert command("gc", "--yes", f"{bucket}/tiny").returncode == 0  # a claim that the killed one had on what it had finished
    assert files(place(bucket)) == files(tmp_path / "folder")
    policy = tmp_path / "policy.yaml"
    policy.write_text("metrics: {is_lite0: {margin: 0.1}}\n")
    theirs = str(tmp_path / "folder" / "tiny")
    for options in (["table"], ["compare", theirs], ["gate", "--policy", str(policy), theirs], ["status"]):
        done = command(*options, f"{bucket}/tiny")
        assert (done.returncode, done.stderr) == (0, "")
        assert "weighted" in done.stdout


def on_url(suite: Path, url: str):
    return run(suite, place(url), shard_size=2)
