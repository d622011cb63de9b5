"""The main job on tiny models: what is made once, what survives a kill, what a mistake costs."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import CELLS, hashes, rows, run, summaries, tabulate
from safetensors.torch import load_file, save_file

from afa_bench.errors import UserError
from afa_bench.generation.generator import Generator
from afa_bench.plan import make_plan
from afa_bench.progress import Silent
from afa_bench.run import run_plan
from afa_bench.store.atomic import read_json
from afa_bench.store.garbage import find_dropped, remove_garbage
from afa_bench.suite import read_suite
from afa_bench.tables import load_results
from afa_bench.workspace import Share


def command(suite: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "afa_bench", "run", str(suite), "--out", str(out), "--batch-size", "2", *options]


def test_a_run_makes_every_sample_once_and_a_second_nothing(tiny_suite, tmp_path):
    first = run(tiny_suite, tmp_path / "out")
    assert (first.generated, first.reused, first.failed) == (CELLS * 10, 0, 0)
    assert len({row["sha256"] for row in rows(tmp_path / "out")}) == CELLS * 10
    before = summaries(tmp_path / "out")
    second = run(tiny_suite, tmp_path / "out")
    assert (second.generated, second.reused) == (0, CELLS * 10)
    assert summaries(tmp_path / "out") == before


@pytest.mark.parametrize("part", [False, True])
def test_a_changed_suite_leaves_its_former_results_to_gc(tiny_suite, tmp_path, part):
    root = tmp_path / "out" / "tiny"
    run(tiny_suite, tmp_path / "out", only=["weighted"])
    (former,) = root.glob("*/cell.json")
    suite = yaml.safe_load(tiny_suite.read_text())
    suite["methods"] = [{"name": "weighted", "weights": [0.5, 0.25, 0.25]}]
    tiny_suite.write_text(yaml.safe_dump(suite))
    run(tiny_suite, tmp_path / "out", only=["weighted"] if part else [])
    with pytest.raises(UserError, match=f"keep one of them; `afa-bench gc {root} --dropped` shows"):
        load_results(root)
    assert [one.path for one in find_dropped(root)] == [former.parent]
    remove_garbage(find_dropped(root))
    assert len(load_results(root).cells) == 1


def test_results_of_a_former_suite_are_told_from_those_of_two_suites(tiny_suite, tmp_path):
    root = tmp_path / "out" / "tiny"
    run(tiny_suite, tmp_path / "out", only=["one"])
    (former,) = root.glob("*/cell.json")
    tiny_suite.write_text(yaml.safe_dump(yaml.safe_load(tiny_suite.read_text()) | {"methods": ["weighted"], "seed": 1}))
    run(tiny_suite, tmp_path / "out")
    with pytest.raises(UserError, match=f"seed: .*not tabulated together; `afa-bench gc {root} --dropped`"):
        load_results(root)
    assert [one.path for one in find_dropped(root)] == [former.parent]


@pytest.mark.slow
def test_images_do_not_depend_on_the_batch(tiny_suite):
    plan = make_plan(read_suite(tiny_suite))
    generator = Generator(plan, "cpu", batch_size=16)
    for cell in plan.cells:
        together = generator.sample(cell, plan.samples)
        alone = torch.cat([generator.sample(cell, [sample]) for sample in plan.samples])
        assert (together - alone).abs().max() < 1e-4
        assert (together[0] - together[1]).abs().max() > 0.01  # another image of the same prompt starts from other noise


@pytest.mark.slow
def test_the_files_do_not_depend_on_the_batch(tiny_suite, tmp_path):
    run(tiny_suite, tmp_path / "one", batch_size=1)
    run(tiny_suite, tmp_path / "many", batch_size=16)
    one, many = (
        {path.relative_to(tmp_path / name): path for path in (tmp_path / name).rglob("*.png")} for name in ("one", "many")
    )
    assert one.keys() == many.keys()
    for name in one:
        difference = np.abs(np.asarray(Image.open(one[name]), int) - np.asarray(Image.open(many[name]), int))
        assert difference.max() <= 1  # a value at the edge of rounding to 8 bits


def test_a_lost_image_and_a_lost_marker_are_made_again(tiny_suite, tmp_path):
    out = tmp_path / "out"
    run(tiny_suite, out)
    before = hashes(out)
    cell = min((out / "tiny").glob("tiny-one.*"))
    next((cell / "images").iterdir()).unlink()
    (cell / "summary.json").unlink()
    other = min((out / "tiny").glob("tiny-two.*"))
    (other / "state" / "shard-000000.json").unlink()
    (other / "summary.json").unlink()
    assert run(tiny_suite, out).generated == 20
    assert hashes(out) == before


@pytest.mark.parametrize("length", [0, 100, -30])
def test_a_damaged_features_file_is_made_again(tiny_suite, tmp_path, length):
    out = tmp_path / "out"
    run(tiny_suite, out, only=["one"])
    before = summaries(out)
    (features,) = out.rglob("lite0-*.npz")
    truncate(features, length if length >= 0 else features.stat().st_size + length)
    (summary,) = out.rglob("summary.json")
    summary.unlink()
    assert run(tiny_suite, out, only=["one"]).generated == 0
    assert summaries(out) == before


@pytest.mark.slow
def test_results_without_images_are_complete(tiny_suite, tmp_path):
    out = tmp_path / "out"
    run(tiny_suite, out)
    for folder in [*out.rglob("images"), *out.rglob("state")]:
        shutil.rmtree(folder)
    assert run(tiny_suite, out).generated == 0


def test_the_bars_end_full(tiny_suite, tmp_path):
    stages: dict[str, list[int]] = {}  # title -> expected, done

    class Watched(Silent):
        @contextmanager
        def stage(self, title, total):
            self.bar = stages[title] = [total, 0]
            yield

        def begin(self, total):
            self.bar[:] = total, 0

        def advance(self, label, steps):
            self.bar[1] += steps

    run_plan(make_plan(read_suite(tiny_suite)), tmp_path / "out", "cpu", 4, Watched())
    assert set(stages) == {"generate", "features", "score"}
    assert all(expected == done > 0 for expected, done in stages.values()), stages


@pytest.mark.slow
def test_a_part_of_a_suite_is_a_part_of_its_results(tiny_suite, tmp_path):
    out = tmp_path / "out"
    assert run(tiny_suite, out, only=["weighted", "two"]).generated == 20
    assert run(tiny_suite, out, only=["base"]).generated == 20
    assert run(tiny_suite, out, steps=[1, 2]).generated == (CELLS * 2 - 4) * 10
    assert run(tiny_suite, out, limit=2).generated == CELLS * 4
    assert {path.name for path in out.iterdir()} == {"tiny", "tiny-limit2"}


@pytest.mark.slow
def test_another_seed_or_weight_is_another_cell(tiny_suite, tmp_path, tiny_group):
    out = tmp_path / "out"
    run(tiny_suite, out, only=["one"])
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"seed": 1}))
    assert run(tiny_suite, out, only=["one"]).generated == 10
    changed = tmp_path / "models"
    shutil.copytree(tiny_group.parent, changed)
    shutil.copy(
        changed / "two/unet/diffusion_pytorch_model.safetensors", changed / "one/unet/diffusion_pytorch_model.safetensors"
    )
    tiny_suite.write_text(yaml.safe_dump(document | {"groups": [str(changed / tiny_group.name)]}))
    assert run(tiny_suite, out, only=["one"]).generated == 10
    assert len({row["sha256"] for row in rows(out)}) == 30


def test_a_failing_sample_is_a_row_and_the_others_go_on(tiny_suite, tmp_path, tiny_group):
    import torch
    from diffusers import UNet2DConditionModel

    models = tmp_path / "models"
    shutil.copytree(tiny_group.parent, models)
    unet = UNet2DConditionModel.from_pretrained(models / "one" / "unet")
    with torch.no_grad():
        unet.conv_out.bias.fill_(float("nan"))
    unet.save_pretrained(models / "one" / "unet")
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"groups": [str(models / tiny_group.name)], "methods": ["base"]}))
    outcome = run(tiny_suite, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (30, 10)
    errors = {row["error"] for row in rows(tmp_path / "out")}
    assert errors == {None, "not finite from step 1 of 2"}
    (summary,) = [read_json(path) for path in (tmp_path / "out").rglob("tiny-one.*/summary.json")]
    assert summary["failed"] == 10
    assert summary["metrics"]["is_lite0"]["value"] is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda models: shutil.rmtree(models / "two"), "models.two: no such folder"),
        (lambda models: (models / "two/unet/config.json").unlink(), "models.two: .*two: unet: expected config.json"),
        (
            lambda models: (models / "two/unet/diffusion_pytorch_model.safetensors").unlink(),
            "models.two: .*two: unet: expected a .safetensors file of weights",
        ),
        (lambda models: truncate(models / "two/unet/diffusion_pytorch_model.safetensors"), "truncated or damaged: expected"),
        (lambda models: truncate(models / "base/vae/diffusion_pytorch_model.safetensors", 5), "not a safetensors file"),
        (lambda models: rename(models / "base/text_encoder/model.safetensors"), "weights are not there, such as .*layers.0"),
    ],
)
def test_a_damaged_model_is_named_before_any_work(tiny_suite, tmp_path, tiny_group, damage, message):
    models = tmp_path / "models"
    shutil.copytree(tiny_group.parent, models)
    damage(models)
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"groups": [str(models / tiny_group.name)]}))
    with pytest.raises(UserError, match=message):
        run(tiny_suite, tmp_path / "out")
    assert not list(tmp_path.rglob("*.png"))


def rename(path: Path) -> None:
    """Call a layer's weights something else: transformers alone would draw them at random."""
    save_file({name.replace("layers.0", "levels.0"): value for name, value in load_file(path).items()}, path, {"format": "pt"})


def truncate(path: Path, length: int | None = None) -> None:
    os.truncate(path, path.stat().st_size - 100 if length is None else length)


@pytest.mark.slow
def test_the_command_line_says_one_line_and_the_exit_code(tiny_suite, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(command(tiny_suite, out, "--only", "one"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "IS (lite0)" in done.stdout
    assert "10 samples made" in done.stderr
    for options, code, words in [
        (["--only", "onne"], 2, "did you mean 'one'"),
        (["--steps", "ten"], 2, "--steps: expected whole numbers"),
        (["--out", str(tiny_suite)], 2, "expected a folder"),
    ]:
        failed = subprocess.run(command(tiny_suite, out, *options), capture_output=True, text=True, check=False)
        assert failed.returncode == code, failed.stderr
        assert words in failed.stderr
        assert failed.stderr.startswith("afa-bench: ")
        assert failed.stderr.count("\n") == 1


@pytest.mark.slow
def test_parts_together_are_the_whole(tiny_suite, tmp_path):
    run(tiny_suite, tmp_path / "whole")
    parts = [run(tiny_suite, tmp_path / "parts", share=Share(index, 3)) for index in (2, 3, 1)]
    assert sum(part.generated for part in parts) == CELLS * 10
    assert all(part.generated > 0 for part in parts)
    assert [part.left for part in parts] == [CELLS * 10 - 20, CELLS * 10 - 40, 0]
    assert summaries(tmp_path / "parts") == summaries(tmp_path / "whole")
    assert not list((tmp_path / "parts").rglob("*.claim.*"))


@pytest.mark.slow
def test_two_processes_share_one_folder(tiny_suite, tmp_path):
    run(tiny_suite, tmp_path / "one")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["runs"])
    with processes.Pool(2) as pool:
        outcomes = [pool.apply_async(run, (tiny_suite, tmp_path / "two")) for _ in range(2)]
        first, second = (outcome.get(timeout=900) for outcome in outcomes)
    assert first.generated + second.generated == CELLS * 10
    assert first.generated > 0
    assert second.generated > 0
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")
    assert summaries(tmp_path / "two") == summaries(tmp_path / "one")


@pytest.mark.slow
def test_rows_do_not_depend_on_the_processes_and_the_shards(tiny_suite, tmp_path):
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"methods": ["weighted"], "images_per_prompt": 13, "steps": [1]}))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["runs", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"])
    made: dict[tuple[int, int], list[dict[str, object]]] = {}
    with processes.Pool(4) as pool:
        for workers, size in itertools.product((1, 2, 4), (1, 7, 64)):
            out = tmp_path / f"{workers}-{size}"
            jobs = [pool.apply_async(run, (tiny_suite, out, 1), {"shard_size": size}) for _ in range(workers)]
            assert sum(job.get(timeout=900).generated for job in jobs) == 65
            made[workers, size] = [row | {"seconds": 0} for row in rows(out)]
    assert len(made[1, 64]) == len({row["sample_id"] for row in made[1, 64]}) == 65
    assert all(rows == made[1, 64] for rows in made.values())


@pytest.mark.slow
def test_a_run_killed_ten_times_gives_the_bytes_of_one_that_was_not(tiny_suite, tmp_path):
    """Each kill lands while samples are being made, a random moment after the first new image."""
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"methods": ["base", "weighted"], "steps": [4], "images_per_prompt": 16}))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(tiny_suite, whole)
    processes = multiprocessing.get_context("forkserver")  # each is forked from one that has imported torch, and has run nothing
    processes.set_forkserver_preload(["runs"])
    chance = random.Random(0)
    for _ in range(10):
        before = len(list(killed.rglob("*.png")))
        process = processes.Process(target=run, args=(tiny_suite, killed))
        process.start()
        while len(list(killed.rglob("*.png"))) == before:
            assert process.is_alive(), "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        assert process.is_alive(), "it ended before it could be killed"
        process.kill()
        process.join()
    assert not list(killed.rglob("summary.json"))  # no kill came after the samples were made
    run(tiny_suite, killed)
    assert hashes(killed) == hashes(whole)
    assert summaries(killed) == summaries(whole)
    assert tabulate(killed) == tabulate(whole)
