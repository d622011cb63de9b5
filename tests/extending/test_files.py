"""Plug-ins in files of their own, named by path: they run, they are who they are by their bytes, they go to other processes."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image
from runs import hashes, planned, rows, run, summaries
from safetensors import safe_open
from strangers import FILES, write
from trainings import Silent
from typer.testing import CliRunner

from afa_bench import registry
from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.generation.ray import RayEngine
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
from afa_bench.plan import make_plan
from afa_bench.scoring.folder import read_metrics
from afa_bench.search.job import make_job
from afa_bench.suite import read_suite
from afa_bench.tables import build_table, load_results, render
from afa_bench.training.config import read_config
from afa_bench.training.run import train


@pytest.fixture
def suite(tmp_path, tiny_group):
    """A suite of nothing but strangers, on tiny models, in files below it."""
    write(tmp_path / "mine")
    document = {
        "name": "theirs",
        "groups": [str(tiny_group)],
        "prompts": {"name": "mine/grid.py:Grid", "things": ["fox"]},
        "methods": ["./mine/switch.py:Switch", {"name": "mine/switch.py:Switch", "label": "late", "at": 100}],
        "metrics": [
            "./mine/colourfulness.py:Colourfulness",
            {"name": "./mine/colourfulness.py:Colourfulness", "label": "Spread", "share": 0},
        ],
        "sampler": {"guidance": 2.0},
        "steps": [2],
        "size": 8,
        "images_per_prompt": 1,
    }
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def changed(path, **changes):
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return path


def edit(file):
    file.write_text(file.read_text() + "\n# a comment\n")


def fingerprints(suite):
    return {cell.label: cell.fingerprint for cell in make_plan(read_suite(suite)).cells}


def metric_identities(suite):
    return [metric.identity() for metric in make_plan(read_suite(suite)).metrics]


def test_a_suite_of_strangers_gives_a_table(suite, tmp_path):
    outcome = run(suite, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (4, 0)
    shown = render(build_table(load_results(tmp_path / "out/theirs")), "markdown")
    for expected in ("Colourfulness", "Spread", "switch", "late"):
        assert expected in shown
    first = rows(tmp_path / "out")[0]
    pixels = np.asarray(Image.open(next((tmp_path / "out").rglob(first["file"]))), dtype=np.float64)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    spread = np.hypot(np.std(red - green), np.std((red + green) / 2 - blue))
    mean = np.hypot(np.mean(red - green), np.mean((red + green) / 2 - blue))
    assert first["spread"] == pytest.approx(spread, rel=1e-5)
    assert first["colourfulness"] == pytest.approx(spread + 0.3 * mean, rel=1e-5)


@pytest.mark.slow
def test_a_changed_file_finds_none_of_its_results_done(suite, tmp_path):
    before, out = fingerprints(suite), tmp_path / "out"
    run(suite, out)
    assert run(suite, out).generated == 0
    edit(tmp_path / "mine/switch.py")
    assert not set(before.values()) & set(fingerprints(suite).values())
    assert run(suite, out).generated == 4
    edit(tmp_path / "mine/grid.py")
    assert not set(before.values()) & set(fingerprints(suite).values())


@pytest.mark.parametrize("file", ["colourfulness.py", "opponents.py"])
def test_a_changed_metric_or_extractor_is_scored_again_and_not_tabulated_with_the_old_one(suite, tmp_path, file):
    out = tmp_path / "out"
    run(suite, out)
    old = summaries(out)
    edit(tmp_path / "mine" / file)
    assert run(suite, out).generated == 0
    assert all(summaries(out)[name] != old[name] for name in old)
    cell = next((out / "theirs").glob("*/summary.json"))
    cell.write_bytes(old[cell.parent.name])
    with pytest.raises(UserError, match=r"colourfulness\.version.*not comparable"):
        load_results(out / "theirs")


def test_it_is_the_bytes_that_count_and_not_the_place(suite, tmp_path):
    before = fingerprints(suite), metric_identities(suite)
    shutil.move(tmp_path / "mine", tmp_path / "elsewhere")
    suite.write_text(suite.read_text().replace("mine/", "elsewhere/"))
    assert (fingerprints(suite), metric_identities(suite)) == before
    assert str(tmp_path) not in json.dumps(before)
    origin = {"qualname": "Switch", "sha256": hashlib.sha256(FILES["switch.py"].encode()).hexdigest()}
    assert [cell.identity["method"]["origin"] for cell in make_plan(read_suite(suite)).cells] == [origin, origin]


def test_an_extractor_for_a_metric_of_ours(suite, tmp_path):
    chosen = {"name": "cmmd", "features": "mine/opponents.py:Opponents"}
    (identity,) = metric_identities(changed(suite, metrics=[chosen]))
    origin = {"qualname": "Opponents", "sha256": hashlib.sha256(FILES["opponents.py"].encode()).hexdigest()}
    assert identity["features"]["origin"] == identity["options"]["features"]["origin"] == origin
    assert str(tmp_path) not in json.dumps(identity)


def test_a_merge_method_in_a_file_of_its_own(suite, tmp_path):
    merge = {"name": "merge", "models": ["one", "two"], "alpha": 0.3}
    (before,) = make_plan(read_suite(changed(suite, methods=[{**merge, "method": "mine/slerp.py:slerp"}]))).cells
    assert before.label == "slerp"
    origin = {"qualname": "slerp", "sha256": hashlib.sha256(FILES["slerp.py"].encode()).hexdigest()}
    assert before.identity["method"] == {
        "name": "merge", "version": 1, "options": {"method": "slerp", "models": ["one", "two"], "settings": {"alpha": 0.3}},
        "weights": {}, "origin": origin,
    }  # fmt: skip
    shutil.copytree(tmp_path / "mine", tmp_path / "elsewhere")
    changed(suite, methods=[{**merge, "method": "./elsewhere/slerp.py:slerp"}])
    assert fingerprints(suite) == {"slerp": before.fingerprint}
    edit(tmp_path / "mine/slerp.py")
    with pytest.raises(UserError, match=r"slerp\.py:slerp: has changed since it was loaded; run again"):
        before.method.variants(before.group, before.options)


def test_a_merged_file_says_which_bytes_merged_it_and_no_path(suite, tmp_path, tiny_group):
    models = {name: str(tiny_group.parent / name) for name in ("one", "two")}
    document = {"models": models, "method": "slerp.py:slerp", "alpha": 0.3}
    (tmp_path / "mine/recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = read_recipe(tmp_path / "mine/recipe.yaml")
    write_merge(prepare(recipe, tmp_path / "mine"), tmp_path / "merged.safetensors")
    with safe_open(tmp_path / "merged.safetensors", "pt") as file:
        about = file.metadata()
    assert json.loads(about["afa_bench.recipe"]) == document
    assert about["afa_bench.method.sha256"] == hashlib.sha256(FILES["slerp.py"].encode()).hexdigest()


def test_paths_are_relative_to_the_file_that_names_them(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "mine")
    heir = tmp_path / "mine/heir.yaml"
    heir.write_text("extends: ../theirs.yaml\nname: heir\nmethods: [switch.py:Switch]\n")
    assert len(make_plan(read_suite(heir)).cells) == 1
    (metric,) = read_metrics(["./colourfulness.py:Colourfulness:share=0.5"])
    assert metric.share == 0.5
    (metric,) = read_metrics(["is:features=./opponents.py:Opponents:splits=1"])
    assert (metric.extractor().name, metric.splits) == ("opponents", 1)
    monkeypatch.chdir(tmp_path)
    assert metric.extractor().name == "opponents"


def test_home_and_absolute_paths(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.load("methods", "~/mine/switch.py:Switch") is registry.load("methods", f"{tmp_path}/mine/switch.py:Switch")


def test_a_plan_goes_to_a_process_that_has_loaded_nothing(suite, tmp_path, monkeypatch):
    plan = planned(suite)
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    code = "import json, pickle, sys\nplan = pickle.load(open(sys.argv[1], 'rb'))\n"
    code += "print(json.dumps([[cell.fingerprint for cell in plan.cells], [metric.identity() for metric in plan.metrics]]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "plan"], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout) == [
        [cell.fingerprint for cell in plan.cells], [metric.identity() for metric in plan.metrics],
    ]  # fmt: skip
    edit(tmp_path / "mine/switch.py")
    monkeypatch.delitem(sys.modules, type(plan.cells[0].method).__module__)
    with pytest.raises(UserError, match=r"switch\.py: has changed since it was loaded"):
        pickle.loads((tmp_path / "plan").read_bytes())


@pytest.mark.slow
@pytest.mark.alone
def test_rays_workers_run_it(suite, tmp_path):
    run(suite, tmp_path / "one")
    run(suite, tmp_path / "ray", engine=RayEngine(workers=1))
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "one")


def test_a_trainable_in_a_file_of_its_own(tmp_path, tiny_group):
    write(tmp_path, "blend.py")
    config = {
        "group": str(tiny_group), "trainable": "blend.py:TrainBlend", "data": {"name": "mini", "limit": 4},
        "size": 16, "validation": 0, "steps": 2, "batch": 2, "lr": 0.1,
    }  # fmt: skip
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    outcome = train(read_config(tmp_path / "my.yaml"), tmp_path / "out", Silent())
    assert (outcome.weights / "diffusion_pytorch_model.safetensors").is_file()
    facts = json.loads((tmp_path / "out/training.json").read_text())
    origin = {"qualname": "TrainBlend", "sha256": hashlib.sha256(FILES["blend.py"].encode()).hexdigest()}
    assert (facts["trainable"], facts["origin"]) == ("blend", origin)
    edit(tmp_path / "blend.py")
    with pytest.raises(UserError, match=r"checkpoint\.pt: origin: this checkpoint has"):
        train(read_config(tmp_path / "my.yaml"), tmp_path / "out", Silent())


def test_statistics_and_scores_on_the_command_line(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(images / f"{index}.png")
    net = tmp_path / "mine/opponents.py"
    net.write_text(net.read_text().replace('{"opponents":', '{"pool":'))
    for command in (
        "stats images -o stats.npz --features mine/opponents.py:Opponents --device cpu",
        "score images --metrics fid:features=mine/opponents.py:Opponents --reference stats.npz --device cpu --format json",
    ):
        shown = CliRunner().invoke(app(), command.split(), catch_exceptions=False)
        assert shown.exit_code == 0, shown.output
    (entry,) = json.loads(shown.stdout[: shown.stdout.rindex("}") + 1]).values()
    assert entry["value"] == pytest.approx(0, abs=1e-2)


def test_a_search_scores_with_it(suite, tmp_path):
    from afa_bench.search.auto_mbw import Budget, Rules
    from afa_bench.suite import Choice

    chosen = Choice(name=f"{tmp_path}/mine/colourfulness.py:Colourfulness")
    job = make_job(read_suite(suite), chosen, "mini-1", rules=Rules((1, 2)), budget=Budget(None, None, None))
    assert job.warnings[0].startswith("Colourfulness is searched for and reported by suite theirs")
    assert job.about()["scorer"]["origin"]["qualname"] == "Colourfulness"
