import json

import pytest

from afa_bench.errors import UserError
from afa_bench.prompts.file import FilePrompts

TRICKY = ["a/b \"c\" 'd'", "x" * 5000, "狗 🐕", "<script>alert(1)</script>"]


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "jsonl"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path, suffix):
    path = tmp_path / f"prompts.{suffix}"
    if suffix == "txt":
        path.write_text("\n\n".join(TRICKY), encoding="utf-8")
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
        ("p.csv", b"caption\na\n", "row 1: prompt: expected a text"),
        ("p.csv", b"prompt,id\na,1\nb,1\n", "id: expected unique ids"),
        ("p.jsonl", b'{"prompt": 1', "cannot be read as .jsonl"),
        ("p.jsonl", b'["a"]', "row 1: prompt: expected a text"),
        ("p.txt", b"\xff\xfe", "cannot be read as .txt"),
        ("p.docx", b"a", "expected a .txt, .csv, .tsv or .jsonl file"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FilePrompts(path=name, id_column="id" if b"id" in content else None).prompts(tmp_path)
