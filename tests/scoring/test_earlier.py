"""Results are never replaced by other results: other metrics of the same images add, all else is refused."""

import json
import shutil

import numpy as np
import pytest
from results_factory import write_cell
from score_cases import images_in, rows, score, summary

from afa_bench.errors import UserError
from afa_bench.scoring.earlier import EarlierScores

CLIP = "clip-t:features=mini-clip"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model in ("m1", "m2"):
        images_in(tmp_path / model / "images", 7, seed=int(model[1]))
    (tmp_path / "captions.txt").write_text("".join(f"red dog {n}\n" for n in range(7)))
    return tmp_path


def test_two_folders_of_one_name_have_scores_of_their_own(folder):
    for model in ("m1", "m2"):
        assert score(f"{model}/images", "--metrics", "is:features=lite0:splits=2").exit_code == 0
    assert sorted(path.name for path in (folder / "scores").iterdir()) == ["m1-images", "m2-images"]
    first, second = (summary(folder / "scores" / f"{model}-images")["is_lite0"]["value"] for model in ("m1", "m2"))
    assert first != second


def test_another_metric_adds(folder):
    options = ("m1/images", "--prompts", "captions.txt", "--out", "out")
    assert score(*options, "--metrics", CLIP).exit_code == 0
    before, values = summary(folder / "out"), rows(folder / "out")
    done = score(*options, "--metrics", "is:features=lite0:splits=2,clip-i:features=mini-clip", "--reference", "m1/images")
    assert done.exit_code == 0, done.output
    assert "CLIP-T (mini)" in done.stdout
    after = summary(folder / "out")
    assert {key: entry["order"] for key, entry in after.items()} == {"clip_t_mini": 0, "is_lite0": 1, "clip_i_mini": 2}
    assert after["clip_t_mini"] == before["clip_t_mini"]
    assert {name: row["clip_t_mini"] for name, row in rows(folder / "out").items()} == {
        name: row["clip_t_mini"] for name, row in values.items()
    }
    assert score(*options, "--metrics", CLIP).exit_code == 0  # once more: the same
    assert summary(folder / "out") == after
    assert json.loads((folder / "out" / "summary.json").read_text())["reference"] == "images"


def other_images(folder):
    images_in(folder / "m1" / "images" / "more", 1)


def changed_image(folder):
    shutil.copy(folder / "m2" / "images" / "00.png", folder / "m1" / "images" / "00.png")


def other_captions(folder):
    (folder / "captions.txt").write_text("".join(f"blue cat {n}\n" for n in range(7)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_images, "out: holds the scores of 7 images of images, these are other images: expected another --out"),
        (changed_image, "out: holds the scores of 7 images of images, these are other images: expected another --out"),
        (other_captions, "out: holds the scores of 7 images of images, these are other captions: expected another --out"),
    ],
)
def test_other_images_and_captions_are_refused(folder, change, words):
    options = ("m1/images", "--prompts", "captions.txt", "--metrics", CLIP, "--out", "out")
    score(*options)
    before = (folder / "out" / "summary.json").read_bytes(), (folder / "out" / "samples.parquet").read_bytes()
    change(folder)
    if change is other_images:
        (folder / "captions.txt").write_text("".join(f"red dog {n}\n" for n in range(8)))
    with pytest.raises(UserError, match=words):
        score(*options)
    assert before == ((folder / "out" / "summary.json").read_bytes(), (folder / "out" / "samples.parquet").read_bytes())


def test_another_reference_is_refused_for_the_metrics_that_compare_with_it(folder):
    options = ("m1/images", "--metrics", "fid:features=lite0", "--out", "out")
    score(*options, "--reference", "m2/images")
    with pytest.raises(UserError, match=r"FID \(lite0\) of another version, with other weights or another reference"):
        score(*options, "--reference", "m1/images")
    assert score("m1/images", "--metrics", "is:features=lite0:splits=2", "--out", "out").exit_code == 0
    np.savez("s.npz", mu=np.zeros(1280), sigma=np.eye(1280))
    with pytest.raises(UserError, match="another reference"):
        score(*options, "--reference", "s.npz")


def test_a_run_is_not_written_over(folder):
    cell = write_cell(folder / "results")
    before = cell.samples.read_bytes()
    with pytest.raises(UserError, match="holds the results of a run: expected another --out"):
        score("m1/images", "--metrics", "is:features=lite0:splits=2", "--out", cell.folder)
    assert cell.samples.read_bytes() == before


def test_a_value_stays_where_its_weights_are_gone():
    entries = {"kept": {"value": 0.5, "order": 0}, "none": {"value": None, "order": 1}}
    earlier = EarlierScores({"metrics": entries}, {"a.png": {"sample_id": "a.png", "kept": 0.5, "prompt": "a dog"}})
    rows = [{"sample_id": "a.png", "prompt": "a dog"}]
    merged = earlier.added({"kept": {"value": None}, "none": {"value": 2.0}, "new": {"value": 1.0}}, rows)
    assert {key: (entry["value"], entry["order"]) for key, entry in merged.items()} == {
        "kept": (0.5, 0), "none": (2.0, 1), "new": (1.0, 2)
    }  # fmt: skip
    assert rows == [{"sample_id": "a.png", "prompt": "a dog", "kept": 0.5}]
