"""``afa-bench score`` on a folder of images: what is amiss is named, the rest is scored."""

import json
import shutil
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.extractors.hpsv2 import WEIGHTS
from afa_bench.fetch import Library
from afa_bench.prompts.folder import FolderPrompts
from afa_bench.scoring.folder import choice, read_metrics

MINI = "clip-t:features=mini-clip,clip-i:features=mini-clip,is:features=lite0:splits=1"


def score(*options):
    result = CliRunner().invoke(app(), ["score", *map(str, options)])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result


def rows(out):
    return {row["sample_id"]: row for row in pq.read_table(out / "samples.parquet").to_pylist()}


def summary(out):
    return json.loads((out / "summary.json").read_text())["metrics"]


@pytest.fixture
def folder(tmp_path):
    """Six images of other modes and sizes, and a caption a line."""
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    kinds = {"a.png": "RGB", "b.png": "RGBA", "c.png": "P", "d.png": "L", "e.jpg": "CMYK"}
    for name, mode in kinds.items():
        base.convert(mode).save(images / name)
    base.resize((1, 64)).save(images / "f.png")
    captions = ["red dog", "", "very " * 77, "狗 🐕", "red dog", "long " * 500]
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    return tmp_path


def bomb(path):
    """A PNG of 60,000 x 60,000 pixels by its header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))


def test_a_folder_becomes_a_table_rows_and_json(folder):
    out = folder / "out"
    options = (folder / "images", "--prompts", folder / "captions.txt", "--metrics", MINI, "--out", out)
    result = score(*options, "--reference", folder / "images")
    assert result.exit_code == 0, result.output
    found = rows(out)
    assert list(found) == ["a.png", "b.png", "c.png", "d.png", "e.jpg", "f.png"]
    assert found["e.jpg"]["prompt_id"] == "a.png"  # the same caption is the same prompt
    assert found["e.jpg"]["image_index"] == 1
    assert all(row["clip_i_mini"] == pytest.approx(1, abs=1e-6) for row in found.values())
    metrics = summary(out)
    assert metrics["clip_t_mini"]["value"] == pytest.approx(np.mean([row["clip_t_mini"] for row in found.values()]))
    assert metrics["is_lite0"]["n"] == 6
    again = score(*options, "--reference", folder / "images", "--format", "json")
    assert json.loads(again.stdout)["clip_t_mini"] == metrics["clip_t_mini"]
    assert json.loads((out / "summary.json").read_text())["scoring"]["images"] <= 6  # only the pairs are looked at again


def test_what_is_amiss_is_an_error_row_and_the_rest_is_scored(folder):
    images, out = folder / "images", folder / "out"
    whole = images / "a.png"
    (images / "g.png").write_bytes(whole.read_bytes()[:200])
    (images / "h.png").write_text("no image at all")
    bomb(images / "i.png")
    (images / "j.png").symlink_to(images / "gone.png")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(images / "k.tif")
    Image.new("RGB", (1, 40_000)).save(images / "l.png")
    lines = (folder / "captions.txt").read_text().splitlines()
    (folder / "captions.txt").write_text("\n".join([*lines, *"ghijkl"]), encoding="utf-8")
    result = score(images, "--prompts", folder / "captions.txt", "--metrics", MINI, "--out", out)
    assert result.exit_code == 1, result.output
    errors = {name: row["error"] for name, row in rows(out).items() if row["error"]}
    assert set(errors) == {"g.png", "h.png", "i.png", "j.png", "k.tif", "l.png"}
    assert "not an image, or a damaged one" in errors["g.png"]
    assert "not an image, or a damaged one" in errors["h.png"]
    assert "too large: expected at most 89478485 pixels" in errors["i.png"]
    assert "cannot be read: No such file" in errors["j.png"]
    assert "its pixels are of mode F, which says no range" in errors["k.tif"]
    assert "too narrow: expected sides of at most 200 to 1: 1 x 40000" in errors["l.png"]
    for name in errors:
        assert sum(name in line for line in result.stderr.splitlines()) == 1
    alone = folder / "alone"
    for name in errors:
        (images / name).unlink()
    (folder / "captions.txt").write_text("\n".join(lines), encoding="utf-8")
    assert score(images, "--prompts", folder / "captions.txt", "--metrics", MINI, "--out", alone).exit_code == 0
    for name, row in rows(alone).items():
        assert row["clip_t_mini"] == pytest.approx(rows(out)[name]["clip_t_mini"], abs=1e-6)
    assert summary(alone)["is_lite0"]["value"] == pytest.approx(summary(out)["is_lite0"]["value"], abs=1e-6)


def test_a_table_names_the_files_and_one_that_is_not_there_is_an_error_row(folder):
    (folder / "captions.csv").write_text("file,prompt\nb.png,blue\na.png,red\nz.png,none\n")
    result = score(folder / "images", "--prompts", folder / "captions.csv", "--metrics", MINI, "--out", folder / "out")
    assert result.exit_code == 1
    found = rows(folder / "out")
    assert (found["a.png"]["prompt"], found["b.png"]["prompt"]) == ("red", "blue")
    assert found["captions.csv z.png"]["error"] == "no image for this caption"
    assert found["c.png"]["error"] == "no caption: not in captions.csv"


def test_images_that_look_alike_score_alike_where_they_are_scored_as_seen(folder, caplog):
    images = folder / "odd"
    images.mkdir()
    plain = Image.open(folder / "images" / "a.png").convert("RGB")
    white = plain.copy()
    white.paste((255, 255, 255), (0, 0, 15, 40))
    for orientation, back in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        white.transpose(back).save(images / f"turned{orientation}.png", exif=exif)
    for number, hidden in enumerate([(0, 0, 0), (255, 0, 0), (0, 200, 0)]):
        seen_through = plain.copy()
        seen_through.paste(hidden, (0, 0, 15, 40))
        seen_through.putalpha(255)
        seen_through.paste((*hidden, 0), (0, 0, 15, 40))
        seen_through.save(images / f"alpha{number}.png")
    white.save(images / "plain.png")
    (folder / "odd.csv").write_text("file,prompt\n" + "".join(f"{path.name},red dog\n" for path in images.iterdir()))
    options = (images, "--prompts", folder / "odd.csv", "--metrics", MINI, "--out", folder / "out")
    assert score(*options).exit_code == 0
    as_official = {name: row["clip_t_mini"] for name, row in rows(folder / "out").items()}
    assert np.ptp(list(as_official.values())) > 0.01
    assert "6 of 7 images are not scored as they are seen (3 turned by EXIF, 3 transparent)" in caplog.text
    with pytest.raises(UserError, match="out: holds the scores of 7 images of odd, read without --as-seen: expected another"):
        score(*options, "--as-seen")
    assert score(*options[:-1], folder / "seen", "--as-seen").exit_code == 0
    as_seen = {name: row["clip_t_mini"] for name, row in rows(folder / "seen").items()}
    assert np.ptp(list(as_seen.values())) < 1e-6
    assert as_seen["plain.png"] == pytest.approx(as_official["plain.png"], abs=1e-6)
    assert json.loads((folder / "seen" / "summary.json").read_text())["as_seen"] is True


def test_a_folder_is_the_same_images_to_stats_to_a_reference_and_to_prompts(folder, caplog):
    real = folder / "real"
    real.mkdir()
    for number, suffix in enumerate(("png", "bmp", "tif", "ppm", "webp", "TIFF")):
        image = Image.open(folder / "images" / "a.png").rotate(number * 40)
        image.save(real / f"{number}.{suffix}")
        (real / f"{number}.txt").write_text("a dog")
    (real / "below").mkdir()
    (folder / "images" / "b.txt").write_text("a cat")
    (real / "linked").symlink_to(folder / "images")
    (real / ".thumbnails").mkdir()
    (real / ".thumbnails" / "0.png").write_bytes((real / "0.png").read_bytes())
    (real / "._0.png").write_bytes(b"of a Mac")
    done = CliRunner().invoke(app(), ["stats", str(real), "-o", str(folder / "s.npz"), "--features", "lite0"])
    assert done.exit_code == 0, done.output
    assert "2 hidden (._0.png, .thumbnails)" in caplog.text
    assert "12 images" in done.stderr
    found = {}
    for name, reference in (("folder", real), ("npz", folder / "s.npz")):
        options = ("--metrics", "fid:features=lite0", "--reference", reference, "--out", folder / name)
        assert score(folder / "images", *options).exit_code == 0
        found[name] = summary(folder / name)["fid_lite0"]["value"]
    assert found["folder"] == pytest.approx(found["npz"], rel=1e-6)
    for name in "acdef":
        (folder / "images" / f"{name}.txt").write_text("a cat")
    assert len(FolderPrompts(path="real").prompts(folder)) == 12


def test_two_real_images_of_one_name_are_refused_where_pairs_are_compared(folder):
    shutil.copytree(folder / "images", folder / "real")
    Image.new("RGB", (8, 8)).save(folder / "real" / "a.webp")
    options = (folder / "images", "--reference", folder / "real", "--out", folder / "out")
    with pytest.raises(UserError, match=r"--reference: a\.png and a\.webp: expected one real image for a\.png"):
        score(*options, "--metrics", "clip-i:features=mini-clip")
    assert score(*options, "--metrics", "fid:features=lite0").exit_code == 0


def test_captions_that_a_network_does_not_read_to_their_ends_are_counted(folder, caplog):
    options = (folder / "images", "--prompts", folder / "captions.txt", "--metrics", MINI, "--out", folder / "out")
    assert score(*options).exit_code == 0
    written = json.loads((folder / "out" / "summary.json").read_text())
    line = "mini-clip: 2 of 5 captions are cut: it reads 16 tokens"
    assert line in written["notes"]
    assert line in caplog.text
    assert written["scoring"]["cut"] == {"mini-clip": 2}


def test_images_that_are_all_damaged_are_rows_with_errors(folder):
    for image in (folder / "images").iterdir():
        image.write_bytes(b"no picture")
    assert (
        score(folder / "images", "--prompts", folder / "captions.txt", "--metrics", MINI, "--out", folder / "out").exit_code == 1
    )
    assert all(row["error"] for row in rows(folder / "out").values())
    assert {entry["value"] for entry in summary(folder / "out").values()} == {None}


@pytest.mark.parametrize("damage", ["bytes", "gone", "large"])
def test_a_damaged_reference_image_is_named_and_costs_its_own_metrics(folder, damage):
    shutil.copytree(folder / "images", folder / "real")
    odd = folder / "real" / "b.png"
    if damage == "bytes":
        odd.write_bytes(odd.read_bytes()[:300])
    elif damage == "gone":
        odd.unlink()
        odd.symlink_to(folder / "nowhere.png")
    else:
        bomb(odd)
    metrics = f"{MINI},fid:features=lite0"
    options = (folder / "images", "--prompts", folder / "captions.txt", "--reference", folder / "real", "--metrics", metrics)
    result = score(*options, "--out", folder / "out")
    assert result.exit_code == 1
    found = summary(folder / "out")
    assert found["clip_t_mini"]["value"] is not None
    assert found["is_lite0"]["value"] is not None
    assert found["fid_lite0"]["value"] is None
    assert found["fid_lite0"]["reason"].startswith(f"{odd}: ")
    assert (found["clip_i_mini"]["value"], found["clip_i_mini"]["n"]) == (pytest.approx(1, abs=1e-6), 5)
    assert found["clip_i_mini"]["reason"].startswith("1 of 6 samples have no real image of their own")
    for title in ("CLIP-I (mini)", "FID (lite0)"):
        assert sum(line.startswith(f"afa-bench: {title}: {odd}: ") for line in result.stderr.splitlines()) == 1
    shutil.copy(folder / "images" / "b.png", folder / "c.png")
    odd.unlink()
    (folder / "c.png").rename(odd)
    mended = score(*options, "--out", folder / "out")
    assert mended.exit_code == 0, mended.output
    assert summary(folder / "out")["clip_i_mini"]["n"] == 6
    assert summary(folder / "out")["fid_lite0"]["value"] is not None


def test_weights_that_are_missing_or_damaged_leave_the_other_metrics_alone(folder, monkeypatch):
    monkeypatch.setenv("AFA_BENCH_DATA", str(folder / "data"))
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))
    options = (folder / "images", "--prompts", folder / "captions.txt", "--out", folder / "out")
    missing = score(*options, "--metrics", f"{MINI},pickscore")
    assert missing.exit_code == 0, missing.output
    assert "warning: no value of PickScore: hub:yuvalkirstain/PickScore_v1@main/model.safetensors: not fetched" in missing.stderr
    entry = summary(folder / "out")["pickscore"]
    assert (entry["value"], entry["n"]) == (None, 0)
    assert entry["reason"].startswith("its weights are not there")
    with pytest.raises(UserError, match="not fetched"):
        score(*options, "--metrics", f"{MINI},pickscore", "--strict")
    path = Library().path(WEIGHTS["v2.1"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other bytes")
    damaged = score(*options, "--metrics", f"{MINI},hpsv2:release=v2.1")
    assert damaged.exit_code == 1
    (line,) = [line for line in damaged.stderr.splitlines() if "HPSv2" in line]
    assert f"{path}: not the file that is pinned" in line
    assert f"expected sha256 {WEIGHTS['v2.1'].sha256}, found " in line
    assert summary(folder / "out")["clip_t_mini"]["value"] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metrics", "clipt"], "did you mean 'clip-t'"),
        (["--metrics", "hpsv2:relase=v2.1"], "unknown option: did you mean 'release'"),
        (["--metrics", "clip-t:features=zoo:mini-clip:preprocess=fast"], "unknown extractor 'zoo:mini-clip'"),
        (["--metrics", "clip-t:mini-clip"], "expected NAME:OPTION=VALUE, found 'mini-clip' without an option"),
        (["--metrics", "is:features=lite0:splits=1:splits=2"], "splits is specified twice"),
        (["--metrics", "denoising-loss"], "measures a denoiser"),
        (["--metrics", "clip-t:features=mini-clip"], "--prompts: CLIP-T"),
        (["--metrics", "clip-t:features=mini-clip", "--preprocess", "fast"], "preprocess, dtype: expected exact and float32"),
        (["--metrics", "is", "--reference", "nowhere"], "--reference: expected a folder of images"),
    ],
)
def test_a_wrong_option_is_named(folder, options, words):
    with pytest.raises(UserError, match=words):
        score(folder / "images", "--out", folder / "out", *options)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("clip-t", "clip-t", {}),
        ("is:features=lite0:splits=1", "is", {"features": "lite0", "splits": "1"}),
        ("m:weights=s3://host:9000/a=b:c/m.pt:layer=2", "m", {"weights": "s3://host:9000/a=b:c/m.pt", "layer": "2"}),
        ("m:at=http://h:80/x?y=1&z=2", "m", {"at": "http://h:80/x?y=1&z=2"}),
        ("m:group=zoo:mini-1:half=:last=:", "m", {"group": "zoo:mini-1", "half": "", "last": ":"}),
    ],
)
def test_a_colon_begins_an_option_only_where_its_name_follows(text, name, options):
    assert choice(text) == (name, options)


def test_settings_are_in_the_title():
    metrics = read_metrics(["pickscore", "hpsv2:antialias=legacy", "clip-t"], preprocess="fast", dtype="bfloat16")
    titles = ["PickScore (fast, bfloat16)", "HPSv2 (v2.0, legacy, fast, bfloat16)", "CLIP-T (fast, bfloat16)"]
    assert [metric.title for metric in metrics] == titles
    assert metrics[1].extractor().settings == {"antialias": "legacy", "preprocess": "fast", "dtype": "bfloat16"}
