"""Downloads from a server on this machine that answers as the real ones do."""

import errno
import json
import random
import threading
import time
from collections import Counter

import pytest
from servers import COMMIT, World, failing, hang, safetensors, served, sha256

from afa_bench.errors import UserError
from afa_bench.fetch import CivitaiFile, HubFile, Library, UrlFile, locate, transfer
from afa_bench.fetch import engine as engines
from afa_bench.fetch.engine import Fetcher
from afa_bench.fetch.transfer import Patience

DATA = safetensors(random.Random(0).randbytes(900_000))
MODEL = safetensors(DATA[::2])
HUB = HubFile(repo="owner/name", file="unet/model.safetensors")
SET = HubFile(repo="owner/set", file="data/a b.parquet", kind="datasets")
QUICK = Patience(tries=3, backoff=0.01, timeout=0.3)


@pytest.fixture
def world(tmp_path, monkeypatch):
    content = {
        "/owner/name/unet/model.safetensors": DATA,
        "/datasets/owner/set/data/a b.parquet": DATA[::-1],
        "/plain/x.bin": DATA[:99],
    }
    with served(World(content, {134065: MODEL})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("CIVITAI_ENDPOINT", running.address)
        monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        for name in ("HF_TOKEN", "CIVITAI_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield running


class Bars:
    def __init__(self):
        self.counts = Counter()
        self.finished = []

    def advance(self, source, count):
        self.counts[source.id] += count

    def done(self, source):
        self.finished.append(source.id)


def fetch(*sources, **options):
    """The failures of a fetch, and what its progress was told."""
    fetcher, bars = Fetcher(Library(**options), QUICK), Bars()
    return [str(failure) for failure in fetcher.run(fetcher.survey(sources), bars)], bars


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock.json"]


def test_all_kinds_of_sources_come_whole_checked_and_pinned(world, tmp_path):
    plain = UrlFile(address=f"{world.address}/plain/x.bin")
    sources = [HUB, SET, CivitaiFile(version=134065), plain]
    jobs = Fetcher(Library(), QUICK).survey(sources)
    assert [job.size for job in jobs] == [len(DATA), len(DATA), len(MODEL), 99]
    failures, bars = fetch(*sources)
    assert failures == []
    assert [locate(source).read_bytes() for source in sources] == [DATA, DATA[::-1], MODEL, DATA[:99]]
    assert bars.counts[HUB.id] == len(DATA)
    lock = json.loads((tmp_path / "data/lock.json").read_text())["files"]
    assert lock[HUB.id] == {"sha256": sha256(DATA), "size": len(DATA), "revision": COMMIT}
    assert set(lock) == {source.id for source in sources}
    asked = len(world.seen)
    assert fetch(*sources)[0] == []
    assert len(world.seen) == asked  # what is there is not asked for again
    assert not [path for path in leftovers(tmp_path / "data") if ".part" in path.name]


def test_a_broken_connection_goes_on_where_it_was(world):
    world.trouble = failing(2, lambda handler: handler.serve(DATA, upto=300_000))
    failures, bars = fetch(HUB)
    assert failures == []
    assert locate(HUB).read_bytes() == DATA
    starts = [int(headers.get("Range", "bytes=0-")[6:-1]) for headers in world.asked("/cdn/")]
    assert len(starts) == 3
    assert starts[0] == 0
    assert 200_000 < starts[1] <= 300_000 < starts[2] - 200_000
    assert bars.counts[HUB.id] == len(DATA)


def test_an_interrupted_fetch_resumes_in_the_next_one(world, tmp_path):
    fetcher = Fetcher(Library(), QUICK)

    class Interrupting(Bars):
        def advance(self, source, count):
            if count:
                fetcher.stop.set()

    assert fetcher.run(fetcher.survey([HUB]), Interrupting()) == []
    path = Library().path(HUB)
    part = path.with_name(f"{path.name}.part")
    assert not path.exists()
    arrived = part.stat().st_size
    assert 0 < arrived < len(DATA)
    assert fetch(HUB)[0] == []
    assert world.asked("/cdn/")[-1]["Range"] == f"bytes={arrived}-"
    assert locate(HUB).read_bytes() == DATA


def test_the_rest_of_another_version_is_not_appended(world):
    world.trouble = failing(1, lambda handler: handler.serve(b"old" * 1000, upto=2000))
    fetch(HUB)
    assert locate(HUB).read_bytes() == DATA


def test_a_busy_server_is_obeyed_and_a_failing_one_asked_again(world):
    world.trouble = failing(1, lambda handler: handler.answer(429, headers={"Retry-After": "1"}))
    begun = time.monotonic()
    assert fetch(HUB)[0] == []
    assert time.monotonic() - begun >= 1
    world.trouble = failing(2, lambda handler: handler.answer(500))
    assert fetch(SET)[0] == []


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (lambda handler: handler.answer(500), "gave up after 3 attempts: status 500"),
        (lambda handler: handler.answer(429, headers={"Retry-After": "4000"}), "status 429: the server asks to wait 4000 s"),
        (lambda handler: handler.answer(404), "not there (status 404): http://"),
        (hang(1.0), "gave up after 3 attempts: no answer in time"),
        (lambda handler: handler.serve(DATA[:-1] + b"?"), f"wrong hash: expected sha256 {sha256(DATA)}, found "),
    ],
)
def test_each_trouble_is_one_line_and_leaves_nothing_under_the_files_name(world, tmp_path, trouble, message):
    world.trouble = failing(99, trouble)
    failures, _ = fetch(HUB)
    assert len(failures) == 1
    assert message in failures[0]
    assert failures[0].startswith(HUB.id)
    assert "\n" not in failures[0]
    assert leftovers(tmp_path / "data") == []
    with pytest.raises(UserError, match="not fetched yet"):
        locate(HUB)


def test_what_is_not_on_the_hub_or_on_civitai_is_said_when_it_is_asked_for(world):
    missing = [HubFile(repo="owner/name", file="none.bin"), CivitaiFile(version=1)]
    jobs = Fetcher(Library(), QUICK).survey(missing)
    assert ["not there (status 404)" in (job.problem or "") for job in jobs] == [True, True]
    assert len(fetch(*missing, HUB)[0]) == 2
    assert locate(HUB).is_file()  # the others go on


def test_tokens_go_to_their_server_alone_and_nowhere_else(world, tmp_path, monkeypatch, capfd):
    world.token = "hf_secret"
    assert "a token is needed: set $HF_TOKEN (status 401)" in fetch(HUB)[0][0]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token in $HF_TOKEN was refused (status 403)" in fetch(HUB)[0][0]
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(HUB)[0] == []
    assert world.asked("/resolve/")[-1]["Authorization"] == "Bearer hf_secret"
    assert all("Authorization" not in headers for headers in world.asked("/cdn/"))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hf_secret" not in written
    assert "hf_" not in "".join(capfd.readouterr())


def test_what_does_not_fit_on_the_disk_is_not_begun(world, monkeypatch):
    monkeypatch.setattr(engines, "free_bytes", lambda folder: 1000)
    with pytest.raises(UserError, match=r"no room: 900 kB to fetch, 1 kB free"):
        fetch(HUB)
    assert world.asked("/cdn/") == []


def test_a_disk_that_fills_up_is_one_line_and_its_room_is_given_back(world, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    assert "no room left on the disk" in fetch(HUB)[0][0]
    assert leftovers(tmp_path / "data") == []


def test_a_file_that_changed_upstream_is_an_error_not_another_version(world, tmp_path):
    assert fetch(HUB)[0] == []
    locate(HUB).unlink()
    world.files["/owner/name/unet/model.safetensors"] = DATA[::-1]
    assert "wrong hash" in fetch(HUB)[0][0]
    assert not Library().path(HUB).exists()


def test_a_file_that_changed_on_the_disk_is_refused(world):
    fetch(HUB)
    Library().path(HUB).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"not the file that is pinned for hub:owner/name@main/unet/model.safetensors"):
        locate(HUB)
    assert "not the file that is pinned" in fetch(HUB)[0][0]


def test_anothers_lock_file_is_held_to(world, tmp_path, monkeypatch):
    fetch(HUB)
    theirs = (tmp_path / "data/lock.json").rename(tmp_path / "theirs.json")
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "other"))
    assert fetch(HUB, pins=theirs)[0] == []
    assert f"/resolve/{COMMIT}/" in world.seen[-2][1]
    world.files["/owner/name/unet/model.safetensors"] = DATA[::-1]
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "third"))
    assert "wrong hash" in fetch(HUB, pins=theirs)[0][0]


def test_files_fetched_by_other_means_are_taken_without_a_connection(world, tmp_path):
    folder = tmp_path / "mine"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/model.safetensors").write_bytes(DATA)
    (folder / "134065.safetensors").write_bytes(b"another model")
    known = CivitaiFile(version=134065, sha256=sha256(MODEL))
    fetcher = Fetcher(Library(), QUICK)
    failures = [str(failure) for failure in fetcher.adopt(fetcher.survey([HUB, known, SET], folder), folder)]
    assert world.seen == []
    assert locate(HUB).read_bytes() == DATA
    assert "expected sha256" in failures[0]
    assert f"{SET.id}: not in {folder}" in failures[1]


def test_a_file_in_the_hubs_own_cache_is_used(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub/models--owner--name"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs/main").write_text(COMMIT)
    file = snapshot / "snapshots" / COMMIT / HUB.file
    file.parent.mkdir(parents=True)
    file.write_bytes(DATA)
    assert locate(HUB) == file


def test_names_do_not_lead_out_of_the_data_folder(tmp_path):
    for source in (
        HubFile(repo="a/b", file="../../../x"),
        UrlFile(address="http://h/../../x"),
        UrlFile(address="http://h/%2e%2e/x"),
    ):
        with pytest.raises(UserError, match=r"without '\.\.'"):
            Library(tmp_path).path(source)


def test_downloads_run_side_by_side(world):
    barrier = threading.Barrier(3, timeout=5)
    world.files |= {f"/owner/name/{index}": bytes([index]) * 10 for index in range(3)}

    def together(handler):
        if "/cdn/" in handler.path and handler.command == "GET":
            barrier.wait()
        return False

    world.trouble = together
    assert fetch(*(HubFile(repo="owner/name", file=str(index)) for index in range(3)))[0] == []
