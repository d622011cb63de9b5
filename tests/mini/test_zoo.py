"""The zoo that ships: complete, unchanged, loadable by stock libraries, and any good."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from afa_bench.mini import zoo
from afa_bench.mini.recipe.pairs import parse
from afa_bench.mini.recipe.settings import GROUPS
from afa_bench.mini.recipe.zoo import Zoo

ROOT = zoo()
FACTS = json.loads((ROOT / "zoo.json").read_text())


@pytest.fixture(scope="module")
def heldout() -> pd.DataFrame:
    return pd.read_parquet(ROOT / "heldout.parquet")


def test_no_file_was_changed() -> None:
    for name, digest in FACTS["sha256"].items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name


def test_size() -> None:
    assert sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file()) < 75e6


def test_losses_and_seconds_are_recorded() -> None:
    for name in (
        "vae",
        "clip",
        "evaluator",
        "base",
        "generalist",
        "mini-1-sabw",
        "mini-2-sabw",
        "mini-1-people",
        "mini-1-moe-block",
    ):
        part = FACTS["parts"][name]
        assert part["parameters"] > 0
        assert part["seconds"] > 0
        assert len(part["losses"]) >= 2, name


def test_heldout_table(heldout: pd.DataFrame) -> None:
    assert list(heldout.columns) == ["id", "prompt", "category", "layout", "palette", "image"]
    assert len(heldout) >= 512
    assert heldout["id"].is_unique
    assert heldout["prompt"].is_unique
    assert 0.2 < (heldout["layout"] == "scene").mean() < 0.3
    assert Image.open(io.BytesIO(heldout["image"][0])).size == (32, 32)


def test_every_heldout_prompt_is_held_out_by_the_grammar(heldout: pd.DataFrame) -> None:
    for row in heldout.itertuples():
        pair = parse(row.prompt)
        assert pair.caption == row.prompt
        assert pair.held_out
        assert "+".join(sorted(pair.domains)) == row.category
        assert "+".join(sorted(pair.palettes)) == row.palette


def test_reference() -> None:
    images = pd.read_parquet(ROOT / "reference.parquet")["image"]
    assert len(images) == 2_048


def test_the_stock_pipeline_draws_what_was_asked() -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(ROOT / "base", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    image = pipe(
        "red heart on mint",
        num_inference_steps=10,
        guidance_scale=3.0,
        height=32,
        width=32,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    corner, middle = image[:3, :3].mean(axis=(0, 1)), image[13:19, 13:19].mean(axis=(0, 1))
    assert np.allclose(corner, np.array([180, 232, 200]) / 255, atol=0.12)
    assert middle.argmax() == 0


def test_topology() -> None:
    unet = Zoo().unet("base")
    assert [type(block).__name__ for block in unet.down_blocks] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert [type(block).__name__ for block in unet.up_blocks] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_groups(group: str) -> None:
    models = Zoo()
    ensemble = models.ensemble(group)
    sample = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    text = models.states(["fox on sky", "bus on grey"])
    with torch.no_grad():
        noise = ensemble(sample, torch.tensor([500, 500]), text.repeat(1, 1, 3)).sample
    assert noise.shape == sample.shape
    assert torch.isfinite(noise).all()
    measured = {name: loss["value"] for name, loss in FACTS["parts"][f"{group}-measure"]["losses"].items()}
    assert min(measured, key=measured.__getitem__) == "afa"


def test_the_evaluator_tells_captions_apart(heldout: pd.DataFrame) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    from afa_bench.mini.recipe.clip import embed
    from afa_bench.mini.recipe.text import tokens
    from afa_bench.mini.recipe.vae import to_model

    clip = CLIPModel.from_pretrained(ROOT / "evaluator", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "evaluator")
    rows = heldout.head(64)
    images = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in rows["image"]])
    with torch.no_grad():
        text, image = embed(clip, tokens(tokenizer, rows["prompt"].tolist()), to_model(torch.from_numpy(images)))
    similar = text @ image.T
    assert similar.diagonal().mean() - similar.mean() > 0.4
    assert (similar.argmax(dim=1) == torch.arange(64)).float().mean() > 0.9
