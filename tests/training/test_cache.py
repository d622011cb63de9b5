"""What is encoded is kept by image and by caption: one that changes is all that is encoded again; it is shown, and cleared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import COUNT
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.prompts.base import Prompt
from afa_bench.training.cache import CachedPairs, Encoding, cache_pairs
from afa_bench.training.items import TAG, clear, find_caches, held, item_file


class Counting(Encoding):
    """An encoding that notes what it is asked for."""

    def image(self, prompt: Prompt) -> dict[str, torch.Tensor]:
        SEEN.append(prompt.id)
        return super().image(prompt)

    def texts(self, captions: Any) -> dict[str, torch.Tensor]:
        SEEN.extend(captions)
        return super().texts(captions)


SEEN: list[str] = []


@pytest.fixture(scope="module")
def encoding(tiny_group: Path) -> Encoding:
    loaded = load_group(read_group(str(tiny_group), Path(), "test"), "cpu", torch.float32)
    return Counting.of(loaded, [model.text_encoder for model in loaded.models], 16)


@pytest.fixture(scope="module")
def prompts(pictures: Path) -> list[Prompt]:
    return [Prompt(f"{n}", f"picture {n}", image=(pictures / f"{n:02d}.png").read_bytes()) for n in range(COUNT)]


def encoded(prompts: list[Prompt], encoding: Encoding, folder: Path) -> tuple[CachedPairs, list[str]]:
    SEEN.clear()
    pairs = cache_pairs(prompts, encoding, folder, lambda count: None)
    return pairs, list(SEEN)


CHANGES: dict[str, tuple[Callable[[list[Prompt]], list[Prompt]], list[str]]] = {
    "nothing": (lambda old: old, []),
    "a caption": (lambda old: [*old[:3], replace(old[3], text="other words"), *old[4:]], ["other words"]),
    "an image": (lambda old: [*old[:3], replace(old[3], image=old[4].image), *old[4:]], ["3"]),
    "one more": (lambda old: [*old, Prompt("new", "new words", image=old[0].image)], ["new", "new words"]),
    "a caption that there is": (lambda old: [*old, Prompt("new", "picture 0", image=old[0].image)], ["new"]),
    "one less": (lambda old: old[1:], []),
    "the order": (lambda old: old[::-1], []),
}


@pytest.mark.parametrize("case", CHANGES)
def test_only_what_changed_is_encoded(case: str, prompts: list[Prompt], encoding: Encoding, tmp_path: Path) -> None:
    change, expected = CHANGES[case]
    encoded(prompts, encoding, tmp_path / "cache")
    now = change(prompts)
    pairs, seen = encoded(now, encoding, tmp_path / "cache")
    assert seen == expected
    fresh, _ = encoded(now, encoding, tmp_path / "fresh")
    rows = list(range(len(now)))
    assert torch.equal(pairs.batch(rows, 0)[0], fresh.batch(rows, 0)[0])
    assert torch.equal(pairs.batch(rows, 0)[1]["prompt_embeds"], fresh.batch(rows, 0)[1]["prompt_embeds"])
    assert (pairs.keys.whole == encoding.keys(prompts).whole) == (case == "nothing")


@pytest.mark.parametrize("size", [0, 4, 40, -1])
def test_a_damaged_item_is_encoded_again_and_said(
    size: int, prompts: list[Prompt], encoding: Encoding, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs, _ = encoded(prompts[:2], encoding, tmp_path)
    files = [item_file(tmp_path, "images", pairs.keys.images[0]), item_file(tmp_path, "texts", pairs.keys.texts[1])]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(UserError, match="is gone or damaged; the same command encodes it again"):
            pairs.batch([0, 1], 0)
    assert encoded(prompts[:2], encoding, tmp_path)[1] == ["0", "picture 1"]
    assert [file.read_bytes() for file in files] == before
    assert caplog.text.count("it is encoded again") == 2


def test_a_cache_is_shown_and_cleared_and_nothing_else_is(prompts: list[Prompt], encoding: Encoding, tmp_path: Path) -> None:
    cache = tmp_path / "trainings" / "mine" / "cache"
    encoded(prompts, encoding, cache)
    names = ("notes.txt", "images/mine.safetensors", "../checkpoint.pt", "more/a.safetensors")
    others = [cache / name for name in names]
    for file in others:
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    earlier = cache / "0123456789abcdef" / "00000.safetensors"
    earlier.parent.mkdir()
    earlier.write_text("x")
    elsewhere = tmp_path / "elsewhere" / item_file(Path(), "images", "ab" * 16)
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("x")
    (cache / "texts" / "zz").symlink_to(elsewhere.parent)
    for place in (cache, cache.parent, cache.parent.parent):
        shown = CliRunner().invoke(app(), ["cache", str(place)])
        assert shown.exit_code == 0
        assert f"{COUNT} images, {COUNT + 1} captions, 1 files of an earlier version" in shown.output
    assert held(cache).images == COUNT
    cleared = CliRunner().invoke(app(), ["cache", str(cache.parent), "--clear"])
    assert "removed" in cleared.output
    assert all(file.exists() for file in (*others, elsewhere, cache / TAG))
    assert not earlier.parent.exists()
    assert (held(cache).images, held(cache).texts, held(cache).size) == (0, 0, 0)
    assert encoded(prompts, encoding, cache)[1][:2] == ["0", "picture 0"]


def test_no_cache_is_found_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "images" / "ab").mkdir(parents=True)
    (tmp_path / "images" / "ab" / "mine.safetensors").write_text("x")
    for place in (tmp_path, tmp_path / "none", tmp_path / "images" / "ab" / "mine.safetensors"):
        with pytest.raises(UserError, match="no cache of a training; expected one, a training's folder"):
            find_caches(place)
    clear(tmp_path)
    assert (tmp_path / "images" / "ab" / "mine.safetensors").exists()
