import json

import pytest
import sets

from afa_bench.errors import UserError
from afa_bench.images import stored as images
from afa_bench.prompts.file import FilePrompts
from afa_bench.prompts.folder import FolderPrompts

TRICKY = ["a/b \"c\" 'd'", "x" * 5000, "狗 🐕", "<script>alert(1)</script>"]


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "jsonl", "json", "TXT", "CSV"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path, suffix):
    path = tmp_path / f"prompts.{suffix}"
    if suffix.lower() == "txt":
        path.write_text("\n\n".join(TRICKY), encoding="utf-8")
    elif suffix == "json":
        path.write_text(json.dumps(TRICKY), encoding="utf-8")
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps({"prompt": text}) for text in TRICKY), encoding="utf-8")
    else:
        quoted = ['"' + text.replace('"', '""') + '"' for text in TRICKY]
        path.write_text("\n".join(["prompt", *quoted]), encoding="utf-8")
    prompts = FilePrompts(path=path.name).prompts(tmp_path)
    assert [prompt.text for prompt in prompts] == TRICKY
    assert [prompt.id for prompt in prompts] == ["000000", "000001", "000002", "000003"]


def test_ids_and_categories_come_from_columns(tmp_path):
    (tmp_path / "p.csv").write_text("key,caption,kind\n7,a dog,animal\n9,a cat,pet\n")
    prompts = FilePrompts(path="p.csv", column="caption", id_column="key", category_column="kind").prompts(tmp_path)
    assert [(p.id, p.text, p.category) for p in prompts] == [("7", "a dog", "animal"), ("9", "a cat", "pet")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"words\na\n", "prompt: expected one of the columns prompt, text, caption, found none of them in words"),
        ("p.csv", b"prompt,id\na,1\nb,1\n", "id: expected unique ids, 1 is specified twice"),
        ("p.jsonl", b'{"prompt": 1', "cannot be read as .jsonl"),
        ("p.jsonl", b'["a"]', "row 1: expected an object"),
        ("p.json", b'{"prompt": "a"}', "expected a list of objects, or of texts"),
        ("p.txt", b"\xff\xfe", "cannot be read as .txt"),
        ("p.docx", b"a", "expected a .txt, .csv, .tsv, .jsonl, .json, .parquet file"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FilePrompts(path=name, id_column="id" if b"id" in content else None).prompts(tmp_path)


def test_a_parquet_file_has_prompts_and_images(tmp_path):
    (tmp_path / "p.parquet").write_bytes(
        sets.parquet(
            prompt=["a dog", "a cat"], image=[{"bytes": sets.picture(0), "path": "0.png"}, {"bytes": sets.picture(1), "path": ""}]
        )
    )
    prompts = FilePrompts(path="p.parquet", image_column="image").prompts(tmp_path)
    assert [(prompt.text, prompt.image) for prompt in prompts] == [("a dog", sets.picture(0)), ("a cat", sets.picture(1))]


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_a_folder_of_images_has_captions_beside_them_or_in_a_table(tmp_path, kind):
    folder = tmp_path / "pairs"
    folder.mkdir()
    texts = {"b.png": "a dog", "a.jpg": "a cat, asleep"}
    for name, text in texts.items():
        (folder / name).write_bytes(sets.picture(len(text), "PNG" if name.endswith("png") else "JPEG"))
        if kind == "txt":
            (folder / name).with_suffix(".txt").write_text(text)
    if kind == "csv":
        (folder / "metadata.csv").write_text('file_name,text\nb.png,a dog\na.jpg,"a cat, asleep"\n')
    if kind == "jsonl":
        rows = [{"file_name": name, "text": text} for name, text in texts.items()]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prompts = FolderPrompts(path="pairs").prompts(tmp_path)
    assert {prompt.id: prompt.text for prompt in prompts} == {"a": "a cat, asleep", "b": "a dog"}
    assert [images.read(prompt.image) for prompt in prompts if prompt.id == "b"] == [sets.picture(5)]


def test_an_image_without_a_caption_and_a_caption_without_an_image_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(sets.picture(0))
    with pytest.raises(UserError, match=r"a\.png: no caption: expected a\.txt"):
        FolderPrompts(path=".").prompts(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,text\nb.png,a dog\n")
    with pytest.raises(UserError, match=r"file_name: no such image"):
        FolderPrompts(path=".").prompts(tmp_path)
