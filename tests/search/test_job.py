"""autoMBW on real (tiny) models: what is rewritten, what is found, and who takes the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from afa_bench.architectures.layout import BASE
from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.merging import methods
from afa_bench.merging.recipe import read_recipe
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.plan import make_plan
from afa_bench.reading import Choice
from afa_bench.search.auto_mbw import Budget, Rules
from afa_bench.search.job import make_job, run_job
from afa_bench.search.rewriting import Rewriter
from afa_bench.search.space import models_space
from afa_bench.suite import read_suite
from baselines.mbw import MBW


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    document = {
        "name": "zoo",
        "groups": ["mini-1"],
        "prompts": {"name": "mini", "limit": 2},
        "methods": ["weighted", {"name": "mbw", "label": "auto-mbw", "recipe": str(tmp_path / "found" / "recipe.yaml")}],
        "metrics": [{"name": "clip-t", "features": "mini-clip"}],
        "sampler": {"guidance": 3.0},
        "steps": [2],
        "size": 32,
        "images_per_prompt": 1,
    }
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "zoo.yaml"


@pytest.mark.slow
def test_a_search_ends_in_a_recipe_that_merge_and_mbw_take(suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    search = ["search", str(suite), "--scorer", "clip-t", "--images", "1,2", "--device", "cpu", "--out", str(out)]
    first = CliRunner().invoke(app(), [*search, "--merges", "2"])
    assert first.exit_code == 0, first.output
    assert "is searched for and reported by suite zoo" in first.output
    assert "2 of 2 merges" in first.output
    again = CliRunner().invoke(app(), [*search, "--merges", "4"])
    assert again.exit_code == 0, again.output
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 1 + 4
    assert [line["merges"] for line in lines[1:]] == [1, 2, 3, 4]
    assert (out / "blocks.png").stat().st_size > 1000

    merged = CliRunner().invoke(app(), ["merge", str(out / "recipe.yaml"), "-o", str(tmp_path / "merged")])
    assert merged.exit_code == 0, merged.output
    from diffusers import UNet2DConditionModel

    written = UNet2DConditionModel.from_pretrained(tmp_path / "merged" / "unet", torch_dtype=torch.float32).state_dict()
    (cell,) = [cell for cell in make_plan(read_suite(suite)).cells if cell.label == "auto-mbw"]
    group = load_group(read_group("mini-1", tmp_path, "test"), "cpu", torch.float32)
    built = MBW().build(cell.group, group.models, cell.options).unet.state_dict()
    for key, value in built.items():
        torch.testing.assert_close(value, written[key], atol=2e-3, rtol=2e-3)  # the files are in half precision
    best = max((line for line in lines[1:]), key=lambda line: line["best"])
    assert best["best"] == json.loads((out / "search.json").read_text())["best"]["mean"]


def test_only_what_changes_is_rewritten_and_always_from_the_sources() -> None:
    group = read_group("mini-1", Path(), "test")
    models = load_group(group, "cpu", torch.float32).models
    space = models_space([model.name for model in models], "simplex")
    rewriter = Rewriter(models, group.family, methods.mbw, space)
    weights = space.begin(rewriter.layout.blocks)
    rewriter.write(weights)
    everything = rewriter.rewritten
    assert everything == 25 + 2  # the time embedding and BASE
    for row in ((1.0, 0.0, 0.0), (0.0, 0.25, 0.75), (0.5, 0.5, 0.0)):
        rewriter.write({**weights, "IN02": row, "IN03": row})
    assert rewriter.rewritten == everything + 3 * 2
    rows = [weights[block] for block in rewriter.layout.blocks]
    rows[2] = rows[3] = (0.5, 0.5, 0.0)
    expected = MBW().build(group, models, MBW.Options(settings={"simplex": tuple(rows), "base": weights[BASE]})).unet.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in rewriter.denoiser.unet.state_dict().items())
    rewriter.write({**weights, "IN00": (1.0, 0.0, 0.0)})
    assert rewriter.rewritten == everything + 3 * 2 + 4  # back, and IN00 with the time embedding


def test_a_search_is_the_same_with_more_sweeps_and_is_refused_where_it_cannot_be_sampled(suite: Path) -> None:
    def made(sweeps: int = 1, **given: Any) -> dict[str, Any]:
        scorer = Choice.model_validate({"name": "clip-t", "features": "mini-clip"})
        return make_job(read_suite(suite), scorer, "mini-1", rules=Rules((1, 2), sweeps=sweeps), budget=Budget(), **given).about()

    assert made() == made(sweeps=3)
    with pytest.raises(UserError, match="steps: 5000: "):
        made(steps=5000)


def test_an_interrupted_search_leaves_the_best_so_far(suite: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scorer = Choice.model_validate({"name": "clip-t", "features": "mini-clip"})
    job = make_job(read_suite(suite), scorer, "mini-1", rules=Rules((1, 2)), budget=Budget())
    seen: list[float] = []

    def interrupt(line: Mapping[str, Any]) -> None:
        seen.append(line["best"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    out = tmp_path / "found"
    with pytest.raises(KeyboardInterrupt):
        run_job(job, out, "cpu", interrupt)
    assert read_recipe(out / "recipe.yaml").method.name == "mbw"
    assert f"has the best so far, {seen[-1]:.4f}; the same command goes on" in caplog.text
    assert not (out / "search.json").exists()
    with pytest.raises(KeyboardInterrupt):  # the log is not held any more
        run_job(job, out, "cpu", lambda line: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_search_is_refused_before_the_work(suite: Path) -> None:
    suite.write_text(yaml.safe_dump(yaml.safe_load(suite.read_text()) | {"size": 34}))
    with pytest.raises(UserError, match=r"zoo\.yaml: size: 34; expected a multiple of 4 pixels for SD 1\.5 \(group mini-1\)"):
        make_job(read_suite(suite), Choice(name="clip-t"), "", rules=Rules((1, 2)), budget=Budget())


def test_a_search_reads_prompts_cut(suite: Path) -> None:
    keys = yaml.safe_load(suite.read_text()) | {"sampler": {"guidance": 3.0, "long_prompts": "chunks"}}
    suite.write_text(yaml.safe_dump(keys))
    result = CliRunner().invoke(
        app(), ["search", str(suite), "--scorer", "clip-t", "--images", "1,2", "--out", str(suite.parent / "o")]
    )
    assert "sampler.long_prompts: chunks; expected cut" in str(result.exception)
