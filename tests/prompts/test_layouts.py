"""Images and captions as trainers, the hub and webdataset lay them out: read whole, or what is left out is counted and named."""

import gzip
import io
import json
import logging

import numpy as np
import pytest
import sets
import yaml
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.images.square import scaled
from afa_bench.images.stored import name_of, read, shown
from afa_bench.prompts.base import Prompt, notes_of
from afa_bench.prompts.file import FilePrompts
from afa_bench.prompts.webdataset import WebDatasetPrompts
from afa_bench.training.config import read_config

FOLDER = {"name": "folder", "path": "pics"}
TAR = {"name": "webdataset", "path": "*.tar"}
PNG = [sets.picture(seed) for seed in range(4)]
TABLE = "file_name,text\n"


def laid(place, files):
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def pairs(place, data, files, caplog=None):
    """The pairs of a training on files, which lie in the folder that is its data, or beside the training's file."""
    laid(place / "pics" if data["name"] == "folder" else place, files)
    (place / "t.yaml").write_text(yaml.safe_dump({"group": "mini-1", "data": data}))
    if caplog is not None:
        caplog.set_level(logging.WARNING, "afa_bench")
    return read_config(place / "t.yaml").read_pairs()


def tarred(files):
    return sets.tarred({name: content if isinstance(content, bytes) else content.encode() for name, content in files.items()})


CAPTION = json.dumps({"caption": "red"})

READ = {
    "kohya's .caption": (FOLDER, {"a.png": PNG[0], "a.caption": "red"}, {"a": "red"}, []),
    "NAME.json": (FOLDER, {"a.png": PNG[0], "a.json": CAPTION}, {"a": "red"}, []),
    "another key": ({**FOLDER, "key": "long"}, {"a.png": PNG[0], "a.json": '{"long": "red"}', "a.txt": "x"}, {"a": "red"},
        ["1 texts beside a .json are not read (a.txt): key is given"]),
    "a .json that agrees": (FOLDER, {"a.png": PNG[0], "a.json": CAPTION, "a.txt": "red\n"}, {"a": "red"}, []),
    "a .json that disagrees": (FOLDER, {"a.png": PNG[0], "a.json": CAPTION, "a.txt": "blue"}, {"a": "blue"},
        ["1 .json have another caption than the text beside them (a.json): the text's is taken"]),
    "a .json without a caption": (FOLDER, {"a.png": PNG[0], "a.json": "[]", "a.txt": "blue"}, {"a": "blue"}, []),
    "folders below": (FOLDER, {"x/a.bmp": PNG[0], "x/a.txt": "red", "a.PNG": PNG[1], "a.TXT": "blue"},
        {"a": "blue", "x/a": "red"}, []),
    "texts without an image": (FOLDER, {"a.png": PNG[0], "a.txt": "red", "b.txt": "x", "c/d.caption": "y"},
        {"a": "red"}, ["1 images with captions are read; not read: 2 texts without an image (b.txt, c/d.caption)"]),
    "other files": (FOLDER, {"a.png": PNG[0], "a.txt": "red", "a.npz": "x", "meta_cap.json": "{}", "b.gif": "x"},
        {"a": "red"}, ["not read: 1 .gif (b.gif)", "1 texts without an image (meta_cap.json), 1 .npz (a.npz)"]),
    "empty captions": (FOLDER, {"a.png": PNG[0], "a.txt": " \n", "b.png": PNG[1], "b.txt": "red"},
        {"a": "", "b": "red"}, ["1 of 2 prompts are empty (a)"]),
    "generation parameters": (FOLDER, {"a.png": PNG[0], "a.txt": "red\nSteps: 20, Sampler: Euler a, Seed: 1"}, {"a": "red"},
        ["of the prompts' own settings none is taken"]),
    "the hub's": (FOLDER, {"a.png": PNG[0], "metadata.csv": TABLE + "a.png,red\n"}, {"a": "red"}, []),
    "the hub's, equal names": (FOLDER, {"x/a.png": PNG[0], "y/a.png": PNG[1],
        "metadata.jsonl": '{"file_name": "x/a.png", "text": "red"}\n{"file_name": "./y//a.png", "text": "blue"}'},
        {"x/a": "red", "y/a": "blue"}, []),
    "the hub's, equal names but for the suffix": (FOLDER, {"a.png": PNG[0], "a.jpg": PNG[1],
        "metadata.csv": TABLE + "a.png,red\na.jpg,blue\n"}, {"a.png": "red", "a.jpg": "blue"}, []),
    "the hub's, a table a folder": (FOLDER, {"train/a.png": PNG[0], "train/metadata.csv": TABLE + "a.png,red\n",
        "test/a.png": PNG[1], "test/metadata.csv": TABLE + "a.png,blue\n"}, {"test/a": "blue", "train/a": "red"}, []),
    "the hub's, up and down": (FOLDER, {"x/a.png": PNG[0], "t/metadata.csv": TABLE + "../x/a.png,red\n"}, {"a": "red"}, []),
    "the hub's, not all": (FOLDER, {"a.png": PNG[0], "b.png": PNG[1], "b.txt": "x", "c.json": "{}",
        "metadata.csv": TABLE + "a.png,red\n"}, {"a": "red"}, ["does not name 1 of 2 images (b.png): they take no part",
        "1 text files beside images are not read (b.txt)", "not read: 1 .json (c.json)"]),
    "compressed": (FOLDER, {"a.png": PNG[0], "metadata.csv.gz": gzip.compress(TABLE.encode() + b"a.png,red\n")},
        {"a": "red"}, []),
    "tabs": (FOLDER, {"a.png": PNG[0], "metadata.tsv": "file_name\ttext\na.png\tred\n"}, {"a": "red"}, []),
    "kohya's repeats": (FOLDER, {"10_red dog/a.png": PNG[0], "10_red dog/a.txt": "x", "2_cat/a.png": PNG[1]},
        {"10_red dog/a": "x", "2_cat/a": "cat"}, ["1 images of 10_red dog 10 times, 1 images of 2_cat 2 times",
        "1 images have their folder's name for a caption (2_cat/a.png)"]),
    "archives": (TAR, {"1.tar": tarred({"a/0.png": PNG[0], "a/0.txt": "red", "b/0.png": PNG[1], "b/0.json": CAPTION}),
        "2.tar": tarred({"0.png": PNG[2], "0.txt": "blue"})}, {"1.tar/a/0": "red", "1.tar/b/0": "red", "2.tar/0": "blue"}, []),
    "archives with more": (TAR, {"1.tar": tarred({"0.png": PNG[0], "0.txt": "red", "1.png": PNG[1], "2.txt": "x", "0.cls": "3",
        "0.mask.png": PNG[2], "._0.txt": "x", "3.json": '{"caption": null}', "3.png": PNG[3]})}, {"1.tar/0": "red"},
        ["1 images with captions are read; not read: 3 images without a caption (1.png, 0.mask.png, 3.png), "
         "1 texts without an image (2.txt), 1 hidden (._0.txt), 1 .cls (0.cls)"]),
    "archives that disagree": (TAR, {"1.tar": tarred({"0.png": PNG[0], "0.txt": "blue", "0.json": CAPTION})}, {"1.tar/0": "blue"},
        ["1 .json have another caption"]),
    "null images": ({"name": "file", "path": "p.parquet", "image_column": "image"},
        {"p.parquet": sets.parquet(prompt=["red", "x"], image=[{"bytes": PNG[0]}, {"bytes": None}])}, {"000000": "red"},
        ["1 of 2 prompts have no image (000001): they take no part"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", READ)
def test_a_layout_is_read_for_what_it_is_and_what_is_left_out_is_said(tmp_path, caplog, layout):
    data, files, expected, said = READ[layout]
    found = pairs(tmp_path, data, files, caplog)
    assert {pair.id: pair.text for pair in found} == expected
    assert len(caplog.messages) == len(said), caplog.messages
    for words in said:
        assert any(words in message for message in caplog.messages), caplog.messages
    for pair in found:
        assert read(pair.image) in PNG


REFUSED = {
    "no caption": (FOLDER, {"a.png": PNG[0], "meta_cap.json": '{"a": {"caption": "x"}}', "captions.csv": "x"},
        r"a\.png: no caption: expected a\.txt, .* with the key caption .*; not read: captions\.csv, meta_cap\.json"),
    "a folder of repeats among others": (FOLDER, {"10_dog/a.png": PNG[0], "b.png": PNG[1]}, r"10_dog/a\.png: no caption"),
    "another key is not there": ({**FOLDER, "key": "long"}, {"a.png": PNG[0], "a.txt": "x", "a.json": CAPTION},
        r"a\.png: no caption: expected a\.json with the key long"),
    "a key, and a table": ({**FOLDER, "key": "long"}, {"a.png": PNG[0], "metadata.csv": TABLE},
        "pics: key: expected no metadata"),
    "two captions": (FOLDER, {"a.png": PNG[0], "a.txt": "x", "a.caption": "x"}, r"a\.caption and a\.txt: expected one"),
    "two images": (FOLDER, {"a.png": PNG[0], "a.jpg": PNG[1], "a.txt": "x"}, "a.jpg and a.png: expected one image of a name"),
    "a list of captions": (FOLDER, {"a.png": PNG[0], "a.json": '{"caption": ["x"]}'},
        r"a\.json: caption: expected a text, found \["),
    "no JSON": (FOLDER, {"a.png": PNG[0], "a.json": "{"}, r"a\.json: cannot be read as \.json"),
    "the hub's, a way out": (FOLDER, {"../a.png": PNG[0], "b.png": PNG[0], "metadata.csv": TABLE + "../a.png,red\n"},
        r"row 1: file_name: \.\./a\.png: expected a name relative to the folder, and no way out of it"),
    "the hub's, no image": (FOLDER, {"b.gif": PNG[0], "metadata.csv": TABLE + "b.gif,red\n"},
        r"is not read as an image: .*b\.gif"),
    "the hub's, twice": (FOLDER, {"x/a.png": PNG[0], "metadata.csv": TABLE + "x/a.png,red\n",
        "x/metadata.csv": TABLE + "a.png,blue\n"}, r"x/metadata\.csv: row 1: x/a\.png: has a caption already"),
    "the hub's, two tables": (FOLDER, {"x/a.png": PNG[0], "x/metadata.csv": TABLE, "x/metadata.csv.gz": b""},
        r"pics: x/metadata\.csv and x/metadata\.csv\.gz: expected one table of captions"),
    "cut": (FOLDER, {"a.png": PNG[0], "metadata.csv.gz": gzip.compress(TABLE.encode())[:-4]},
        r"metadata\.csv\.gz: cannot be read"),
    "not compressed": (FOLDER, {"a.png": PNG[0], "metadata.csv.gz": TABLE}, r"metadata\.csv\.gz: cannot be read: Not a gzipped"),
    "a nested column": ({"name": "file", "path": "p.parquet", "column": "json", "image_column": "image"},
        {"p.parquet": sets.parquet(json=[{"prompt": "x"}], image=[PNG[0]])}, r"row 1: json: expected a text, found \{"),
    "a list": ({"name": "file", "path": "p.jsonl", "column": "texts"}, {"p.jsonl": '{"texts": ["a"]}'},
        r"row 1: texts: expected a text"),
    "a path for an image": ({"name": "file", "path": "p.parquet", "image_column": "image"},
        {"p.parquet": sets.parquet(prompt=["x"], image=[{"bytes": None, "path": "a.png"}])},
        r"row 1: image: a\.png: expected the bytes"),
    "another kind of table": ({"name": "file", "path": "p.parquet.gz"}, {"p.parquet.gz": b""}, r"p\.parquet\.gz: expected a"),
    "a caption that is a list": (TAR, {"1.tar": tarred({"0.png": PNG[0], "0.json": '{"caption": ["x"]}'})},
        r"1\.tar: 0\.json: caption: expected"),
    "no archive": (TAR, {"1.zip": b""}, "no such archive"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_what_cannot_be_meant_is_one_line_that_names_it(tmp_path, layout):
    data, files, message = REFUSED[layout]
    with pytest.raises(UserError, match=message) as caught:
        pairs(tmp_path, data, files)
    assert "\n" not in str(caught.value)


def test_an_archive_is_found_by_its_name_and_what_was_made_of_one_is_none(tmp_path):
    laid(tmp_path, {"a[1].tar": tarred({"0.png": PNG[0], "0.txt": "red"}), ".b.tar": b"x", "c.tar.unpacked/x.png": PNG[1]})
    for path in ("a[[]1].tar", "*.tar", "*", "a[1].tar"):
        for _ in range(2):  # the second time, what was unpacked lies there too
            prompts = WebDatasetPrompts(path=path)
            assert [prompt.id for prompt in prompts.prompts(tmp_path)] == ["a[1].tar/0"]
            assert prompts.notes(tmp_path) == []


def test_prompts_without_the_image_that_others_have_are_counted(tmp_path):
    found = [Prompt("a", "x", image=PNG[0]), Prompt("b", "y"), Prompt("c", "")]
    chosen = FilePrompts(path="p.txt")
    (tmp_path / "p.txt").write_text("x")
    empty, bare = notes_of(chosen, tmp_path, found)
    assert empty.startswith("1 of 3 prompts are empty (c)")
    assert bare.startswith("2 of 3 prompts have no real image (b, c)")
    assert notes_of(chosen, tmp_path, found[:1]) == notes_of(chosen, tmp_path, found[1:2]) == []


@pytest.mark.parametrize("damage", ["no image", "narrow"])
@pytest.mark.parametrize(
    ("data", "where"),
    [
        (FOLDER, r"x/a\.png"),
        (TAR, r"1\.tar: x/a\.png"),
        ({"name": "file", "path": "p.parquet", "image_column": "image"}, "p.parquet: row 1: image"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, data, where, damage):
    """Whatever layout it is in, and whether it is no image or one that cannot be taken."""
    bad = b"no image" if damage == "no image" else sets.picture(0, size=(4, 700))
    files = {
        "x/a.png": bad,
        "x/a.txt": "x",
        "1.tar": tarred({"x/a.png": bad, "x/a.txt": "x"}),
        "p.parquet": sets.parquet(prompt=["x"], image=[bad]),
    }
    (pair,) = pairs(tmp_path, data, files)
    name = name_of(pair.image, "the image of a")
    with pytest.raises(UserError, match=rf"{where}: (not an image|4 x 700: too narrow)"):
        scaled(shown(pair.image, name), 4096, name)


def test_repeats_are_what_folders_of_numbers_say_and_nothing_else(tmp_path):
    files = {f"{folder}/a.png": PNG[0] for folder in ("10_dog", "3_a_b", "1_x/deep")}
    found = pairs(tmp_path, FOLDER, files)
    assert {pair.id: (pair.text, pair.repeats) for pair in found} == {
        "10_dog/a": ("dog", 10),
        "3_a_b/a": ("a_b", 3),
        "1_x/deep/a": ("x", 1),
    }
    assert {pair.repeats for pair in pairs(tmp_path, {**FOLDER, "repeats": False}, {})} == {1}
    texts = {f"{name.removesuffix('png')}txt": "x" for name in files}
    for other in ("plain/a", "b", "_x/a", "0_x/a", "10dog/a", "x_10/a"):
        place = tmp_path / other.replace("/", "-")
        found = pairs(place, FOLDER, files | texts | {f"{other}.png": PNG[1], f"{other}.txt": "x"})
        assert {pair.repeats for pair in found} == {1}, other


def test_transparent_surroundings_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(buffer := io.BytesIO(), "PNG")
    (pair,) = pairs(tmp_path, FOLDER, {"a.png": buffer.getvalue(), "a.txt": "x"})
    assert np.asarray(shown(pair.image, "a")).min() == 255
