"""What is fetched is what was meant: pins, CivitAI's several files, and answers that are no files."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import World, failing, safetensors, served, sha256

from afa_bench.errors import UserError
from afa_bench.fetch import CivitaiFile, HubFile, Library
from afa_bench.fetch.engine import Fetcher, Job
from afa_bench.fetch.transfer import Patience

FULL, PRUNED, VAE = safetensors(b"full" * 300), safetensors(b"pruned" * 100), safetensors(b"vae" * 100)
HUB = HubFile(repo="owner/name", file="unet/model.safetensors")
QUICK = Patience(tries=2, backoff=0.01, timeout=0.5)


def file(name: str, data: bytes, kind: str = "Model", **form: str) -> dict[str, Any]:
    """One file of a version, as CivitAI describes it."""
    about = {"format": "SafeTensor", **form}
    return {"name": name, "type": kind, "sizeKB": len(data) / 1024, "hashes": {"SHA256": sha256(data).upper()}, "metadata": about}


SEVERAL = [
    file("m_vae.safetensors", VAE, "VAE"),
    file("m_full.safetensors", FULL, size="full", fp="fp32"),
    {**file("m_pruned.safetensors", PRUNED, size="pruned", fp="fp16"), "primary": True},
    {"name": "m.ckpt", "type": "Model", "metadata": {"format": "PickleTensor"}},
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def downloads(handler: Any) -> bool:
        if "/api/download/models/7" not in handler.path:
            return False
        data = {"size=full": FULL, "type=VAE": VAE}
        handler.serve(next((found for key, found in data.items() if key in handler.path), PRUNED))
        return True

    with served(World({"/owner/name/unet/model.safetensors": FULL})) as running:
        running.trouble = downloads
        running.about = {7: {"id": 7, "model": {"type": "Checkpoint"}, "files": SEVERAL}}
        for name in ("HF_ENDPOINT", "CIVITAI_ENDPOINT"):
            monkeypatch.setenv(name, running.address)
        monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        for name in ("HF_TOKEN", "CIVITAI_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield running


class Silent:
    def advance(self, source: Any, count: int) -> None: ...

    def done(self, source: Any) -> None: ...


def fetched(source: Any) -> tuple[list[Job], list[str]]:
    fetcher = Fetcher(Library(), QUICK)
    jobs = fetcher.survey([source])
    return jobs, [str(error) for error in fetcher.run(jobs, Silent())]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, PRUNED),
        ({"file": "m_full.safetensors"}, FULL),
        ({"file": "m_pruned.safetensors"}, PRUNED),
        ({"file": "m_vae.safetensors"}, VAE),
        ({"sha256": sha256(FULL)}, FULL),
        ({"file": "m_full.safetensors", "sha256": sha256(FULL)}, FULL),
    ],
)
def test_a_file_of_a_version_is_chosen_by_its_name_or_its_sha256(world: World, asked: dict[str, str], expected: bytes) -> None:
    source = CivitaiFile(version=7, **asked)  # type: ignore[arg-type]
    jobs, failures = fetched(source)
    assert failures == []
    assert jobs[0].facts.sha256 == sha256(expected)
    assert Library().locate(source).read_bytes() == expected


def test_the_choice_among_several_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fetched(CivitaiFile(version=7))
    (said,) = [record.message for record in caplog.records]
    assert "m_pruned.safetensors (Model, SafeTensor, pruned, fp16" in said
    assert f"file or sha256 would take another: m_full.safetensors (Model, SafeTensor, full, fp32, sha256 {sha256(FULL)})" in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (CivitaiFile(version=7, file="other.safetensors"), "has no file other.safetensors; its files: m_vae.safetensors (VAE"),
        (CivitaiFile(version=7, file="m.ckpt"), "has no file m.ckpt; its files: "),
        (CivitaiFile(version=7, sha256="0" * 64), f"has no file sha256 {'0' * 64}; its files: "),
        (CivitaiFile(version=7, file="m_full.safetensors", sha256=sha256(PRUNED)), "has no file m_full.safetensors"),
        (CivitaiFile(version=8), "is a LORA; expected a version of a checkpoint"),
        (CivitaiFile(version=9), "has no file a model as safetensors; its files: m.ckpt (Model, PickleTensor"),
        (CivitaiFile(version=10), "its files: none"),
        (CivitaiFile(version=404), "not there (status 404)"),
        (CivitaiFile(version=404), "the id of a version, modelVersionId"),
        (HubFile(repo="owner/name", file="unet/model.safetensors", sha256="0" * 64), f"expected sha256 {'0' * 64}, found "),
    ],
)
def test_what_is_not_meant_is_refused_before_the_download(world: World, source: Any, message: str) -> None:
    world.about |= {
        8: {"model": {"type": "LORA"}, "files": SEVERAL},
        9: {"model": {"type": "Checkpoint"}, "files": SEVERAL[3:]},
        10: {"files": "none"},
    }
    jobs, failures = fetched(source)
    assert message in (jobs[0].problem or "")
    assert failures == [jobs[0].problem]
    assert not world.asked("/download/")
    assert not world.asked("/cdn/")


PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((b"<!DOCTYPE html><title>Log in</title>", PAGE), "a web page came in place of the file: a token is needed: set $"),
        ((b"<!DOCTYPE html><title>Log in</title>", {}), "what came is no safetensors file: "),
        ((b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", {}), "a pointer of Git LFS"),
        ((FULL[:-3], {}), "what came is no safetensors file: "),
        ((b"", {}), "what came is no safetensors file: "),
    ],
)
@pytest.mark.parametrize("source", [CivitaiFile(version=11), HUB])
def test_what_is_no_checkpoint_is_not_kept(world: World, source: Any, answer: tuple[bytes, dict[str, str]], message: str) -> None:
    """A login page was once saved under the name of a checkpoint, and its sha256 pinned."""
    world.about[11] = {"files": [{"type": "Model", "name": "a.safetensors"}]}

    def instead(handler: Any) -> bool:
        if "/resolve/" in handler.path:
            handler.redirect("/cdn/x")  # which says nothing of its sha256
        elif handler.command == "HEAD":
            handler.answer(200)
        elif "/download/" in handler.path or "/cdn/" in handler.path:
            handler.answer(200, *answer)
        else:
            return False
        return True

    world.trouble = instead
    _, failures = fetched(source)
    assert len(failures) == 1
    assert message in failures[0]
    assert failures[0].startswith(source.id)
    assert not Library().path(source).exists()
    assert not Library().pinned(source)


@pytest.mark.parametrize(
    ("code", "token", "status", "message"),
    [
        ("RepoNotFound", "", 401, "not there (status 401)"),
        ("RepoNotFound", "", 401, "no such repository, or one that takes a token: set $HF_TOKEN"),
        ("RepoNotFound", "x", 404, "(no such repository)"),
        ("RevisionNotFound", "", 404, "(no such revision)"),
        ("EntryNotFound", "", 404, "not there (status 404)"),
        ("GatedRepo", "", 401, "its terms have to be accepted and a token set: $HF_TOKEN (status 401)"),
        ("GatedRepo", "x", 403, "its terms have to be accepted by the owner of the token in $HF_TOKEN (status 403)"),
    ],
)
def test_why_the_hub_refuses_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, token: str, status: int, message: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    def refused(handler: Any) -> bool:
        handler.answer(status, headers={"X-Error-Code": code})
        return True

    world.trouble = refused
    jobs, _ = fetched(HUB)
    assert message in (jobs[0].problem or "")


def test_pins_are_the_same_in_any_case_and_whole(world: World, tmp_path: Path) -> None:
    lock = tmp_path / "theirs.json"

    def locked(sha: str) -> Library:
        lock.write_text(json.dumps({"schema": 1, "files": {HUB.id: {"sha256": sha, "size": 3, "revision": None}}}))
        return Library(pins=lock)

    assert locked(sha256(FULL).upper()).pinned(HUB)["sha256"] == sha256(FULL)
    for short in (sha256(FULL)[:10], "", "x" * 64):
        with pytest.raises(UserError, match=r"theirs\.json: hub:owner/name.*: sha256: expected 64 hexadecimal digits"):
            locked(short)


def test_a_broken_download_of_a_checkpoint_goes_on(world: World) -> None:
    world.trouble = failing(1, lambda handler: handler.serve(FULL, upto=300))
    assert fetched(HUB)[1] == []
    assert Library().locate(HUB).read_bytes() == FULL


QUIET = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
KEYS = ("files", "model", "type", "name", "metadata", "format", "hashes", "SHA256", "sizeKB", "primary", HUB.id, "sha256", "size")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Model", "SafeTensor", "a.safetensors", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@QUIET
@given(JSON, st.sampled_from([None, "a.safetensors"]), st.sampled_from([None, "0" * 64]))
def test_whatever_civitai_says_is_understood_or_refused(content: Any, name: str | None, sha: str | None) -> None:
    with contextlib.suppress(UserError):
        facts = CivitaiFile(version=7, file=name, sha256=sha).facts({}, content)
        assert facts.url
        assert facts.size is None or facts.size >= 0


@QUIET
@given(JSON)
def test_whatever_is_in_a_lock_file_is_read_or_refused(content: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "lock.json"
        lock.write_text(json.dumps({"schema": 1, "files": content}))
        with contextlib.suppress(UserError):
            Library(pins=lock).pinned(HUB)
