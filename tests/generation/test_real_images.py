"""Real images in a run: seen as a person sees them, cut and not squashed, and one that is damaged costs what compares with it."""

import io
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps
from runs import planned, rows, run

from afa_bench.errors import UserError
from afa_bench.progress import Silent
from afa_bench.run import run_plan
from afa_bench.store.atomic import read_json
from afa_bench.tables.pairs import read_samples


def picture(seed, size=(16, 8)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def turned(image):
    """The same picture, stored on its side with a mark that says so."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    ImageOps.exif_transpose(_marked(image, 8)).save(buffer, "PNG", exif=exif)
    return Image.open(buffer)


def _marked(image, orientation):
    exif, copy = Image.Exif(), image.copy()
    exif[0x0112] = orientation
    copy.info["exif"] = exif.tobytes()
    return copy


@pytest.fixture
def suite(tiny_suite):
    document = yaml.safe_load(tiny_suite.read_text())
    document |= {
        "prompts": {"name": "folder", "path": "pairs"},
        "methods": ["base"],
        "metrics": ["denoising-loss", {"name": "clip-i", "features": "mini-clip"}, {"name": "clip-t", "features": "mini-clip"}],
        "images_per_prompt": 1,
    }
    tiny_suite.write_text(yaml.safe_dump(document))
    return tiny_suite


def pairs(suite, **images):
    folder = suite.parent / "pairs"
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png", **({"exif": image.info["exif"]} if "exif" in image.info else {}))
        (folder / f"{name}.txt").write_text("a dog")
    return folder


def losses(suite, out, **images):
    pairs(suite, **images)
    run(suite, out, only=["one"])
    return {row["prompt_id"]: row["denoising_loss"] for row in rows(out) if row.get("denoising_loss") is not None}


@pytest.mark.slow
def test_a_photo_is_cut_as_in_training_and_turned_as_it_is_seen(suite, tmp_path):
    wide, square = picture(0), picture(1, (8, 8))
    whole = losses(suite, tmp_path / "whole", a=wide, b=square)
    cut = losses(suite, tmp_path / "cut", a=wide.crop((4, 0, 12, 8)), b=square)
    assert whole == pytest.approx(cut, rel=1e-5)
    as_seen = losses(suite, tmp_path / "turned", a=turned(wide), b=turned(square))
    assert whole == pytest.approx(as_seen, rel=1e-5)
    squashed = losses(suite, tmp_path / "squashed", a=wide.resize((8, 8)), b=square)
    assert squashed["a"] != pytest.approx(whole["a"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "odd"),
    [("square", False), ("opaque", False), ("wide", True), ("turned", True), ("transparent", True), ("grey16", True)],
)
def test_only_where_there_is_more_than_one_way_is_the_way_a_part_of_the_identity(suite, name, odd):
    square = picture(0, (16, 16))
    seen_through = square.convert("RGBA")
    seen_through.putalpha(100)
    images = {
        "square": square, "opaque": square.convert("RGBA"), "wide": picture(0), "turned": turned(square),
        "transparent": seen_through, "grey16": Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16)),
    }  # fmt: skip
    pairs(suite, a=images[name], b=square)
    cells = planned(suite).cells
    assert {cell.task for cell in cells if "images" in cell.identity} == ({"denoise"} if odd else set())
    assert all(("images" in cell.identity) == odd for cell in cells if cell.task == "denoise")


def test_a_damaged_image_is_a_failed_loss_and_costs_one_value_of_its_own_metric(suite, tmp_path):
    folder = pairs(suite, a=picture(0), b=picture(1))
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:100])
    made: list[dict[object, int]] = []
    for _ in range(2):  # the second run scores what the first could not, and draws nothing again
        with pytest.raises(UserError, match=r"^clip_i_mini: .*pairs/b\.png: not an image.*; the other metrics are written$"):
            run(suite, tmp_path / "out", only=["one"])
        made.append({path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("images/*.png")})
    assert made[0] == made[1] != {}
    (generated,) = (tmp_path / "out").rglob("tiny-one.002.*/summary.json")
    metrics = read_json(generated)["metrics"]
    assert metrics["clip_t_mini"]["value"] is not None
    assert (metrics["clip_i_mini"]["value"] is not None, metrics["clip_i_mini"]["n"]) == (True, 1)
    assert "1 of 2 samples have no real image of their own" in metrics["clip_i_mini"]["reason"]
    assert "b.png: not an image" in metrics["clip_i_mini"]["reason"]
    (denoised,) = (tmp_path / "out").rglob("tiny-one.denoise.*/samples.parquet")
    (error,) = [error for error in read_samples(denoised).errors.to_pylist() if error]
    assert "b.png: not an image" in error
    (folder / "b.png").write_bytes(whole)
    assert run(suite, tmp_path / "mended", only=["one"]).failed == 0


@pytest.mark.slow
def test_samples_of_one_picture_are_one_cluster(suite, tmp_path):
    pairs(suite, **{name: picture(seed) for seed, name in enumerate("abcdefgh")})
    plan = planned(suite, only=["one"])
    clustered = [replace(prompt, cluster=str("abcdefgh".index(prompt.id) // 2)) for prompt in plan.samples.prompts]
    run_plan(plan, tmp_path / "apart", "cpu", 4, Silent())
    run_plan(replace(plan, samples=replace(plan.samples, prompts=clustered)), tmp_path / "together", "cpu", 4, Silent())
    found = {}
    for name in ("apart", "together"):
        (cell,) = (tmp_path / name).rglob("tiny-one.denoise.*")
        found[name] = (read_json(cell / "summary.json")["metrics"]["denoising_loss"], read_samples(cell / "samples.parquet"))
    (apart, samples), (together, joined) = found.values()
    assert apart["value"] == together["value"]
    assert (apart["low"], apart["high"]) != (together["low"], together["high"])
    assert samples.prompts.tolist() == list(range(8))
    assert joined.prompts.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
