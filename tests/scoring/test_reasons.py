"""A metric without a value says why, one pair less is one value less; what can be known is refused before an image is read."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from results_factory import metric
from score_cases import images_in, rows, score, summary, verb

from afa_bench.cli.score import remarks
from afa_bench.errors import UserError

LITE = "fid:features=lite0,kid:features=lite0,is:features=lite0"


@pytest.fixture
def folder(tmp_path):
    images_in(tmp_path / "images", 12)
    return tmp_path


def reasons(folder, *options):
    done = score(folder / "images", *options, "--out", folder / "out")
    return done, {key: entry["reason"] for key, entry in summary(folder / "out").items()}


def test_no_reference(folder):
    done, found = reasons(folder, "--metrics", f"{LITE},clip-i:features=mini-clip")
    assert done.exit_code == 0, done.output
    assert found == {
        "fid_lite0": "no reference images",
        "kid_lite0": "no reference images",
        "is_lite0": "too few prompts for an interval: 12, expected 24 at least",
        "clip_i_mini": "no image has a real image of its own",
    }
    assert "no value: no" in done.stdout


def test_statistics_in_place_of_images(folder):
    np.savez(folder / "s.npz", mu=np.zeros(1280), sigma=np.eye(1280))
    _, found = reasons(folder, "--metrics", f"{LITE},cmmd:features=mini-clip", "--reference", folder / "s.npz")
    assert found["kid_lite0"] == found["cmmd_mini"] == "takes the reference images themselves, not their statistics"
    assert summary(folder / "out")["fid_lite0"]["value"] > 0


def test_fewer_images_than_splits(folder):
    for path in sorted((folder / "images").iterdir())[:3]:
        path.unlink()
    _, found = reasons(folder, "--metrics", "is:features=lite0")
    assert found == {"is_lite0": "10 splits take as many images at least, found 9"}


def test_one_of_twelve_without_a_pair_is_one_value_less(folder):
    shutil.copytree(folder / "images", folder / "real")
    (folder / "real" / "03.png").unlink()
    done, found = reasons(folder, "--metrics", "clip-i:features=mini-clip", "--reference", folder / "real")
    assert done.exit_code == 0
    assert found == {"clip_i_mini": "1 of 12 samples have no real image of their own"}
    entry = summary(folder / "out")["clip_i_mini"]
    assert (entry["value"], entry["n"]) == (pytest.approx(1, abs=1e-6), 11)
    assert entry["low"] is not None
    values = {name: row["clip_i_mini"] for name, row in rows(folder / "out").items()}
    assert [name for name, value in values.items() if value is None] == ["03.png"]
    assert pq.read_table(folder / "out" / "samples.parquet").column("clip_i_mini").null_count == 1


def test_a_reason_stands_where_the_note_does():
    plain = metric("FID", 3.0, 9, 0, note="biased")
    assert remarks(plain) == "biased"
    assert remarks({**plain, "reason": "too few"}) == "too few; biased"
    assert remarks({**plain, "value": None, "reason": "no reference images"}) == "no value: no reference images"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--metrics", "clip-t:features=lite0"],
            "lite0 gives pool, probabilities, expected an extractor with 'embedding'",
        ),
        (["--metrics", "fid:features=mini-clip"], "features: mini-clip gives embedding, expected an extractor with 'pool'"),
        (
            ["--metrics", "fid:features=lite0", "--reference", "wide.npz"],
            "expected 1280 numbers, as lite0 gives .* found 7",
        ),
        (["--metrics", "fid:features=lite0", "--reference", "foreign.npz"], "about: expected what afa-bench stats writes"),
        (["--metrics", "is:features=lite0", "--device", "gpu"], "--device: gpu: no such device here, expected one of cpu"),
        (["--metrics", "is:features=lite0", "--device", "meta"], "--device: meta: computes nothing"),
    ],
)
def test_what_can_be_known_is_refused_before_an_image_is_read(folder, monkeypatch, options, words):
    monkeypatch.chdir(folder)
    np.savez("wide.npz", mu=np.zeros(7), sigma=np.eye(7))
    np.savez("foreign.npz", mu=np.zeros(1280), sigma=np.eye(1280), about=np.array("of mine"))
    with pytest.raises(UserError, match=words) as refused:
        score("images", *options, "--out", "out")
    assert "\n" not in str(refused.value)
    assert not list(folder.glob("out/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("name", ["score", "stats", "run"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(folder, name):
    words = {
        "score": ["score", folder / "images", "--metrics", "is:features=lite0", "--out", folder / "out"],
        "stats": ["stats", folder / "images", "-o", folder / "s.npz", "--features", "lite0"],
        "run": ["run", "mini", "--out", folder / "results"],
    }[name]
    with pytest.raises(UserError, match=r"--device: cuda: no such device here, expected one of cpu"):
        verb(*words, "--device", "cuda")
    assert {path.name for path in folder.iterdir()} == {"images"}


def test_statistics_of_an_extractor_without_pooled_features(folder):
    with pytest.raises(UserError, match="stats: features: mini-clip gives embedding, expected an extractor with 'pool'"):
        verb("stats", folder / "images", "-o", folder / "s.npz", "--features", "mini-clip")


def test_more_images_than_a_subset_and_fewer_references(folder):
    images_in(folder / "real", 5, seed=1)
    done, found = reasons(
        folder, "--metrics", "kid:features=lite0:subset_size=8,is:features=lite0", "--reference", folder / "real"
    )
    assert done.exit_code == 0, done.output
    assert np.isfinite(summary(folder / "out")["kid_lite0"]["value"])
    assert found["kid_lite0"] == "too few prompts for an interval: 12, expected 24 at least"
