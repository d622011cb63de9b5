"""Metrics of a denoiser itself: anybody's, on any architecture."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import torch
import yaml
from PIL import Image
from runs import run

from afa_bench.errors import UserError
from afa_bench.generation.probe import as_rows, values_of
from afa_bench.identity import seed_of
from afa_bench.plan import make_plan
from afa_bench.store.atomic import read_json
from afa_bench.suite import read_suite

THEIRS = '''
"""A metric of denoisers, of somebody else's."""

import torch

from afa_bench.metrics.base import Metric


class Alignment(Metric):
    """The cosine of what is predicted and what would have been right, at one timestep."""

    label = "Alignment"
    version = 1
    kind = "per-sample"
    direction = "higher"
    unit = "cosine"
    digits = 3
    task = "denoise"

    timestep: int = 500

    def of_denoiser(self, probe):
        noise = probe.noise("alignment")
        times = torch.full((len(noise),), self.timestep)
        predicted = probe.predict(probe.objective.noisy(probe.latents, noise, times), times).flatten(1)
        right = probe.objective.target(probe.latents, noise, times).flatten(1)
        cosines = torch.cosine_similarity(predicted, right)
        return {self.key: cosines.numpy(), f"{self.key}_length": predicted.norm(dim=1).numpy()}
'''

FAMILIES = {
    "sd15": (tiny_models.sd15, {}, {"guidance": 3.0}),
    "sdxl": (tiny_models.sdxl, {"big_layers": 2, "layers": (1, 1, 1)}, {"guidance": 3.0}),
    "flux": (tiny_models.flux, {}, {"guidance": 3.5, "scheduler": "FlowMatchEulerDiscreteScheduler"}),
}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their package, installed."""
    about = tmp_path / "site" / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[afa_bench.metrics]\nalignment = theirs:Alignment\n")
    (tmp_path / "site" / "theirs.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture(params=FAMILIES)
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two models of an architecture, and two captioned images, of which one is not square."""
    make, changes, sampler = FAMILIES[request.param]
    for number in (1, 2):
        make(tmp_path / f"model-{number}", number, **changes)
    (tmp_path / "group.yaml").write_text("pipeline: model-1\nmodels: {one: model-1, two: model-2}\n")
    for name, shape in {"a": (32, 32, 3), "b": (40, 48, 3)}.items():
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a picture of {name}")
    document = {
        "name": "probed",
        "groups": ["group.yaml"],
        "prompts": {"name": "folder", "path": "."},
        "methods": ["base", "weighted"],
        "metrics": ["alignment", {"name": "denoising-loss", "timesteps": 2}],
        "sampler": sampler,
        "size": 32,
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "suite.yaml"


def rows(out: Path, label: str) -> list[dict[str, object]]:
    (file,) = out.rglob(f"*-{label}.denoise.*/samples.parquet")
    return pq.read_table(file).to_pylist()


@pytest.mark.slow
def test_a_strangers_metric_of_denoisers_runs_in_a_suite_on_any_architecture(theirs: None, suite: Path, tmp_path: Path) -> None:
    outcome = run(suite, tmp_path / "out", batch_size=2)
    assert (outcome.generated, outcome.failed) == (3 * 2, 0)
    alone = run(suite, tmp_path / "alone", batch_size=1)
    assert alone.generated == 6
    for label in ("one", "two", "weighted"):
        together = rows(tmp_path / "out", label)
        for row, other in zip(together, rows(tmp_path / "alone", label), strict=True):
            assert -1 <= row["alignment"] <= 1
            assert row["alignment_length"] > 0
            assert row["denoising_loss"] == pytest.approx(np.mean([row["denoising_loss_t250"], row["denoising_loss_t750"]]))
            assert all(row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5) for name in row if name[:3] in ("ali", "den"))
        (summary,) = (tmp_path / "out").rglob(f"*-{label}.denoise.*/summary.json")
        metrics = read_json(summary)["metrics"]
        assert metrics["alignment"]["value"] == pytest.approx(np.mean([row["alignment"] for row in together]))
        assert (metrics["alignment"]["order"], metrics["denoising_loss"]["n"]) == (0, 2)


@pytest.mark.parametrize("suite", ["sd15", "sdxl"], indirect=True)
def test_the_loss_is_the_error_of_the_noise_that_a_stock_unet_predicts(theirs: None, suite: Path, tmp_path: Path) -> None:
    run(suite, tmp_path / "out", only=["one"])
    first = make_plan(read_suite(suite)).samples[0]
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    generator = torch.Generator().manual_seed(seed_of(first.seed, "denoise", 250))
    kind = getattr(diffusers, read_json(tmp_path / "model-1" / "model_index.json")["_class_name"])
    pipeline = kind.from_pretrained(str(tmp_path / "model-1"), local_files_only=True)
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mode() * pipeline.vae.config.scaling_factor
        noise, step = torch.randn(latents.shape[1:], generator=generator)[None], torch.tensor([250])
        states, _, *pooled = pipeline.encode_prompt(
            first.prompt.text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]])
        added = {"text_embeds": pooled[0], "time_ids": sizes} if pooled else None
        noisy = pipeline.scheduler.add_noise(latents, noise, step)
        error = pipeline.unet(noisy, step, states, added_cond_kwargs=added).sample - noise
    loss = rows(tmp_path / "out", "one")[0]["denoising_loss_t250"]
    assert loss == pytest.approx(float(error.square().mean()), rel=1e-4)


def test_a_prompt_without_an_image_is_an_error_row(tiny_suite: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    table = {"prompt": ["a", "b", "c"], "image": [None, buffer.getvalue(), None]}
    pq.write_table(pa.table(table), tiny_suite.parent / "prompts.parquet")
    document = yaml.safe_load(tiny_suite.read_text()) | {
        "prompts": {"name": "file", "path": "prompts.parquet", "image_column": "image"},
        "methods": [{"name": "base", "model": "one"}],
        "metrics": ["denoising-loss"],
    }
    tiny_suite.write_text(yaml.safe_dump(document))
    outcome = run(tiny_suite, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (3, 2)
    assert {row["error"] for row in rows(tmp_path / "out", "one")} == {None, "the prompt has no image to denoise"}


def test_what_is_no_value_a_sample_is_refused_and_what_is_not_finite_is_an_error() -> None:
    probe = SimpleNamespace(seeds=[1, 2])
    two, three = np.zeros(2), np.zeros(3)
    for columns in ({}, {"mine_b": two}, {"mine": three}, {"mine": two, "mine_b": three}, {"mine": two, "seed": two}):
        metric = SimpleNamespace(key="mine", title="Mine", of_denoiser=lambda probe, columns=columns: columns)
        with pytest.raises(UserError, match="Mine: of_denoiser: expected 2 values in mine"):
            values_of(metric, probe)
    made = as_rows([{"a": np.array([1.0, np.nan]), "a_t1": np.array([1.0, np.inf])}, {"b": np.array([2.0, 3.0])}])
    assert made == [{"a": 1.0, "a_t1": 1.0, "b": 2.0}, {"error": "not finite: a, a_t1"}]
