"""Whose caption a caption is: by lines, by name, beside the image or in it. What is not plain is refused."""

import io
import json

import pyarrow.parquet as pq
import pytest
import sets
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.images.order import in_order
from afa_bench.scoring.folder_rows import read_folder
from afa_bench.store.rows import encode_rows

PARAMETERS = "a red dog,\nfrom above\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


def images(folder, *names):
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(sets.picture(0))


def captions(folder, *args, **options):
    rows, notes = read_folder(folder / "images", *args, **options)
    return {row["sample_id"]: row["error"] or row["prompt"] for row in rows}, notes


def written(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_lines_go_to_numbered_images_in_the_order_of_their_numbers(folder):
    images(folder, *(f"{number}.png" for number in range(12)))
    found, notes = captions(folder, written(folder, "c.txt", "\n".join(f"line {number}" for number in range(12)) + "\n"))
    assert found == {f"{number}.png": f"line {number}" for number in range(12)}
    (note,) = notes
    assert note.endswith("captions go to images by the numbers in their names: the first line to 0.png, the last to 11.png")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img_1.png", "img_2.jpg", "img_10.webp"], ["img_1.png", "img_2.jpg", "img_10.webp"]),
        (["a10/0.png", "a9/1.png", "a9/10.png", "a9/2.png"], ["a9/1.png", "a9/2.png", "a9/10.png", "a10/0.png"]),
        (["cat1.png", "cat10.png", "cat2.png", "dog1.png"], ["cat1.png", "cat2.png", "cat10.png", "dog1.png"]),
        (["00001-777.png", "00002-3.png", "00010-99.png"], ["00001-777.png", "00002-3.png", "00010-99.png"]),
        (["b.png", "a.png", "a-1.png", "a1.png"], ["a-1.png", "a.png", "a1.png", "b.png"]),
        (["1.png", "01.png", "2.png", "10.png"], ["01.png", "1.png", "2.png", "10.png"]),
    ],
)
def test_the_order_of_names(names, expected):
    assert in_order(names, "x")[0] == expected


@pytest.mark.parametrize("names", [["10b4.png", "9fc1.png"], ["1.png", "1b.png", "10.png"], ["9/a.png", "10/b.png"]])
def test_an_order_that_is_not_plain_is_refused(names):
    with pytest.raises(UserError, match=r"^x: it is not plain which of .* is first: expected a table of files"):
        in_order(names, "x")


@pytest.mark.parametrize(
    ("count", "text", "options", "message"),
    [
        (12, "a\nb\nc\n", {}, "3 captions, for 12 images: expected one for each image, or --images-per-prompt 4"),
        (4, "a\nb\nc\n", {}, "3 captions, for 4 images: expected one for each image$"),
        (2, "a\nb\n\n", {}, "3 captions, the last of them empty, for 2 images"),
        (2, "", {}, "0 captions, for 2 images"),
        (6, "a\nb\n", {"images_per_prompt": 2}, "2 captions of 2 images each, for 6 images"),
    ],
)
def test_as_many_lines_as_images(folder, count, text, options, message):
    images(folder, *(f"{number}.png" for number in range(count)))
    with pytest.raises(UserError, match=message):
        captions(folder, written(folder, "c.txt", text), **options)


def test_a_line_may_stand_for_several_images_which_are_one_cluster(folder):
    images(folder, *(f"{number}.png" for number in range(6)))
    rows, _ = read_folder(folder / "images", written(folder, "c.txt", "a\nb\n"), images_per_prompt=3)
    assert [(row["prompt"], row["prompt_id"], row["image_index"]) for row in rows] == [
        ("a", "0.png", 0), ("a", "0.png", 1), ("a", "0.png", 2), ("b", "3.png", 0), ("b", "3.png", 1), ("b", "3.png", 2),
    ]  # fmt: skip
    table = written(folder, "c.csv", "file,prompt\n0.png,a\n")
    for options in ({"prompts": table}, {}, {"carrier": "sidecar"}):
        with pytest.raises(UserError, match="--images-per-prompt"):
            captions(folder, images_per_prompt=3, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", "file_name,caption\n./a.png,red\nsub\\b.png,blue\n"),
        ("c.CSV", "File;Text\r\na.png;red\r\nsub/./b.png;blue\r\n"),
        ("c.tsv", "\ufefffilename\tprompt\na.png\tred\nsub/b.png\tblue\n"),
        ("c.jsonl", '\ufeff{"file": "a.png", "text": "red"}\n{"file": "sub/b.png", "text": "blue"}\n'),
        ("c.json", '[{"file": "a.png", "prompt": "red"}, {"file": "sub/b.png", "prompt": "blue"}]'),
    ],
)
def test_a_table_names_its_images(folder, name, text):
    images(folder, "a.png", "sub/b.png")
    assert captions(folder, written(folder, name, text)) == ({"a.png": "red", "sub/b.png": "blue"}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,prompt\na.png,one\na.png,two\n", r"row 2: a\.png: has a caption already, in row 1"),
        ("file,prompt\n./a.png,one\na.png,one\n", "has a caption already"),
        ("file,file_name,prompt\na.png,a.png,one\n", "file: expected one of the columns .*, found file and file_name"),
        ("file,prompt,text\na.png,one,two\n", "prompt: expected one of the columns prompt, text, caption, found prompt and text"),
        ("file,prompt\n../a.png,one\n", "expected a name relative to the folder"),
        ("file,prompt\n/a.png,one\n", "expected a name relative to the folder"),
        (
            "image,words\na.png,one\n",
            "file: expected one of the columns file, file_name, filename, found none of them in image, words",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(folder, text, message):
    images(folder, "a.png")
    with pytest.raises(UserError, match=message):
        captions(folder, written(folder, "c.csv", text))


def test_samples_of_a_run_have_failed_ones_among_them(folder):
    images(folder, "a.png")
    rows = [
        {"sample_id": "0/0/0", "prompt_id": "0", "prompt": "red", "file": "a.png", "error": None, "cluster": "7"},
        {"sample_id": "1/0/0", "prompt_id": "1", "prompt": "blue", "file": None, "error": "not finite in step 3", "cluster": "7"},
    ]
    found, _ = captions(folder, written(folder, "samples.parquet", encode_rows(rows)))
    assert found == {"a.png": "red", "samples.parquet 1/0/0": "failed when it was made: not finite in step 3"}
    scored, _ = read_folder(folder / "images", folder / "samples.parquet")
    assert scored[0]["cluster"] == "7"
    options = [
        "--prompts",
        str(folder / "samples.parquet"),
        "--metrics",
        "clip-t:features=mini-clip",
        "--out",
        str(folder / "out"),
    ]
    done = CliRunner().invoke(app(), ["score", str(folder / "images"), *options])
    assert done.exit_code == 1, done.output
    assert "samples.parquet 1/0/0: failed when it was made" in done.stderr
    written_rows = pq.read_table(folder / "out" / "samples.parquet").to_pylist()
    assert [row["clip_t_mini"] is None for row in written_rows] == [False, True]


def png(text, keyword="parameters", **options):
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text(keyword, text, **options)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def jpeg(text, kind="JPEG", encoding="utf-16-be"):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode(encoding)
    Image.new("RGB", (8, 8)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def test_captions_may_be_in_the_images(folder):
    images(folder, "plain.png")
    made = {
        "a.png": png(PARAMETERS), "b.png": png(PARAMETERS, zip=True),
        "c.jpg": jpeg(PARAMETERS), "d.webp": jpeg(PARAMETERS, "WEBP"),
        "h.jpg": jpeg(PARAMETERS, encoding="utf-16-le"),
        "e.png": png(json.dumps({"prompt": "a red dog,\nfrom above", "negative_prompt": "blurry"})),
        "f.png": png("狗 🐕"), "g.png": png("x" * 3_000_000 + "!"), "comfy.png": png('{"1": {}}', "prompt"),
    }  # fmt: skip
    for name, data in made.items():
        written(folder, f"images/{name}", data)
    found, notes = captions(folder, carrier="image")
    assert {found[name] for name in ("a.png", "b.png", "c.jpg", "d.webp", "e.png", "h.jpg")} == {"a red dog,\nfrom above"}
    assert found["f.png"] == "狗 🐕"
    assert len(found["g.png"]) == 3_000_001
    assert found["plain.png"] == found["comfy.png"] == "no caption: it carries no generation parameters"
    assert notes == [f"{folder / 'images'}: captions are from the generation parameters in each image: 8 of 10 images have one"]


def test_captions_may_be_beside_the_images(folder):
    images(folder, "a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png")
    written(folder, "images/f.json", '{"caption": "a red dog"}')
    written(folder, "images/g.json", '{"caption": "another"}')
    written(folder, "images/g.txt", "a red dog")
    written(folder, "images/h.txt", "of no image")
    written(folder, "images/a.txt", "\ufeffa red dog\r\n")
    written(folder, "images/b.txt", PARAMETERS)
    written(folder, "images/c.TXT", "left of\u2028right")
    written(folder, "images/d.txt", b"caf\xe9")
    found, notes = captions(folder, carrier="sidecar")
    assert (found["a.png"], found["b.png"], found["c.png"]) == ("a red dog", "a red dog,\nfrom above", "left of\u2028right")
    assert "d.txt: cannot be read as .txt: expected UTF-8" in found["d.png"]
    assert found["e.png"] == "no caption: expected e.txt beside it"
    assert found["f.png"] == found["g.png"] == "a red dog"
    assert "5 of 7 images have one" in notes[0]
    assert notes[1].endswith("5 images with captions are read; not read: 1 texts without an image (h.txt)")
    assert "1 .json have another caption than the text beside them (g.json)" in notes[2]


def test_captions_may_be_in_the_log_of_a_web_ui(folder):
    images(folder, "a.png", "b.png", "c.png")
    head = "prompt,seed,width,height,sampler,cfgs,steps,filename,negative_prompt\n"
    rows = '"a dog, asleep",1,8,8,Euler a,7,20,{},blurry\n'
    log = head + rows.format("a.png") + rows.format("gone.png") + rows.format("b.png") + rows.format("a.png")
    written(folder, "images/log.csv", log)
    found, notes = captions(folder, carrier="log")
    assert found == {"a.png": "a dog, asleep", "b.png": "a dog, asleep", "c.png": "no caption: not in log.csv"}
    assert notes[0].endswith(
        "captions are from the web UI's log.csv in the folder: 2 of 3 images have one; 1 of its rows have no image"
    )
    written(folder, "images/log.csv", log + rows.format("b.png").replace("dog", "cat"))
    with pytest.raises(UserError, match=r"row 5: b\.png: has another caption already"):
        captions(folder, carrier="log")
    (folder / "images" / "log.csv").unlink()
    with pytest.raises(UserError, match=r"--captions log: expected log\.csv in it"):
        captions(folder, carrier="log")
    with pytest.raises(UserError, match="expected this or --prompts, not both"):
        captions(folder, written(folder, "c.txt", "a\nb\nc\n"), carrier="log")


def test_what_a_person_would_not_see_is_counted_and_said(folder):
    images(folder, "a.png", ".hidden.png")
    turned, animated = Image.Exif(), [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    turned[0x0112] = 6
    Image.new("RGB", (8, 4)).save(folder / "images" / "b.jpg", exif=turned)
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(folder / "images" / "c.png")
    animated[0].save(folder / "images" / "d.png", save_all=True, append_images=animated[1:])
    written(folder, "images/e.png", b"no image")
    _, notes = captions(folder)
    place, kinds = folder / "images", "(1 turned by EXIF, 1 transparent, 1 of several frames)"
    assert notes == [
        f"{folder / 'images'}: not read: 1 hidden (.hidden.png)",
        f"{place}: 3 of 5 images are not scored as they are seen {kinds}: --as-seen scores them as a person sees them",
    ]
    _, notes = captions(folder, as_seen=True)
    assert notes[1:] == [
        f"{folder / 'images'}: 1 of 5 images are not scored as they are seen (1 of several frames): the first frame is scored"
    ]


def test_syntax_of_web_uis_is_counted_and_said(folder):
    images(folder, "a.png", "b.png")
    _, notes = captions(folder, written(folder, "c.txt", "(red:1.4) dog BREAK <lora:x:0.8>\na cat\n"))
    assert notes[-1].startswith(
        "1 of 2 captions have syntax of web UIs, which is read as letters: (red:1.4) in 1, BREAK in 1, <lora"
    )
