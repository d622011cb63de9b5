"""The recipe: its plan, its refusals, and a tiny zoo built from end to end."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from afa_bench.errors import UserError
from afa_bench.mini.recipe.build import build, plan
from afa_bench.mini.recipe.settings import GROUPS, ZooRecipe, scaled

TINY = replace(scaled(ZooRecipe(), 0.002), every=60, mixed_scenes=64, pure_scenes=64, heldout=16, reference=64, base_processes=2)
TINY = replace(TINY, **{name: replace(getattr(TINY, name), batch=8) for name in ("base", "expert", "sabw", "router")})


def test_every_stage_stands_after_what_it_needs() -> None:
    seen: set[str] = set()
    for name, step in plan(ZooRecipe()).items():
        assert set(step.needs) <= seen
        seen.add(name)
    assert {f"{group}-{name}" for group, names in GROUPS.items() for name in names} < seen


def test_experts_differ_in_their_seeds() -> None:
    numbers = [dict(step.arguments)["number"] for step in plan(ZooRecipe()).values() if step.function == "expert"]
    assert sorted(numbers) == list(range(7))


def test_scale_changes_how_much_and_nothing_else() -> None:
    small = scaled(ZooRecipe(), 0.01)
    assert small.base.steps == round(ZooRecipe().base.steps * 0.01)
    assert small.base.lr == ZooRecipe().base.lr
    assert small.unet_widths == ZooRecipe().unet_widths


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage: vea: expected one of data"):
        build(tmp_path, TINY, only=["vea"])


def test_a_stage_without_its_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage: base: expected vae, clip to be finished before"):
        build(tmp_path, TINY, only=["base"])


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work" / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match="another recipe"):
        build(tmp_path, TINY)


def digests(folder: Path, pattern: str) -> dict[str, str]:
    files = [file for file in folder.rglob(pattern) if file.is_file() and ".work" not in file.parts]
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_a_tiny_zoo_killed_and_resumed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=build, args=(tmp_path / "zoo", TINY))
    process.start()
    deadline = time.monotonic() + 300
    while not (tmp_path / "zoo" / ".work" / "clip.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    process.join()

    build(tmp_path / "zoo", TINY)
    facts = json.loads((tmp_path / "zoo" / "zoo.json").read_text())
    assert set(facts["parts"]) == set(plan(TINY))
    assert facts["sha256"] == {name: value for name, value in digests(tmp_path / "zoo", "*").items() if name != "zoo.json"}

    from diffusers import StableDiffusionPipeline

    base = tmp_path / "zoo" / "base"
    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("fox on mint", num_inference_steps=2, height=32, width=32).images[0].size == (32, 32)

    build(tmp_path / "again", TINY, only=["data", "vae"])
    assert digests(tmp_path / "again" / "base" / "vae", "*") == digests(tmp_path / "zoo" / "base" / "vae", "*")
