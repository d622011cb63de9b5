"""Tables and texts as people write them: read for exactly what they say, or refused in one line."""

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sets

from afa_bench.errors import UserError
from afa_bench.prompts.file import FilePrompts
from afa_bench.prompts.folder import FolderPrompts
from afa_bench.prompts.rows import read_rows
from afa_bench.prompts.webdataset import WebDatasetPrompts


def texts(folder, name, content, **options):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return [prompt.text for prompt in FilePrompts(path=name, **options).prompts(folder)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.csv", "\ufeffprompt\r\nred dog\r\n", ["red dog"]),
        ("p.csv", "id;Prompt \n1;red dog, left of blue bus\n", ["red dog, left of blue bus"]),
        ("p.csv", "id\tprompt\n1\tred, dog\n", ["red, dog"]),
        ("p.csv", 'prompt,note\n"red ""big"" dog, left",\n5" pipe,x\n', ['red "big" dog, left', '5" pipe']),
        ("p.csv", 'prompt,note\n"two\nlines",x\n', ["two\nlines"]),
        ("p.csv", "prompt,note,,\nred dog,x,,\n\nblue cat,,,\n", ["red dog", "blue cat"]),
        ("p.csv", "prompt\nleft\u2028right\nup\x0bdown\nfore\x85aft\x1c!\n",
         ["left\u2028right", "up\x0bdown", "fore\x85aft\x1c!"]),
        ("p.tsv", 'prompt\tnote\n"Stop" sign\tx\n"A dog"\t\n"a ""b"" c"\tx\n', ['"Stop" sign', "A dog", 'a "b" c']),
        ("p.tsv", 'prompt\tnote\n"a" and "b"\tx\nred, dog\tx\n', ['"a" and "b"', "red, dog"]),
        ("p.txt", "\ufeffred dog\r\nblue\rgreen\n\nleft\u2028right\nup\x0bdown\nfore\x85aft\x1c!\n",
         ["red dog", "blue", "green", "left\u2028right", "up\x0bdown", "fore\x85aft\x1c!"]),
        ("p.jsonl", '\ufeff{"prompt": "a\\u2028b"}\n\n{"prompt": "b\u2028c", "n": 1}\r\n', ["a\u2028b", "b\u2028c"]),
        ("p.json", '\ufeff["red dog", "blue cat"]', ["red dog", "blue cat"]),
        ("p.json", '[{"text": "red dog"}]', ["red dog"]),
    ],
)  # fmt: skip
def test_read_for_what_it_says(tmp_path, name, content, expected):
    assert texts(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "prompt\nred dog, left of blue bus\n", r"row 1 \(line 2\): 2 fields, the head has 1: a field with ',' in"),
        ("p.csv", "prompt,\nred dog, left of blue bus\n", r"row 1 \(line 2\): 2 fields, the head has 1"),
        ("p.csv", "prompt,id\nred dog\n", "row 1 .*: 1 fields, the head has 2"),
        ("p.csv", "prompt;id\nred; dog;1\n", "3 fields, the head has 2: a field with ';' in it"),
        ("p.csv", 'prompt\n"red \\"big\\" dog"\n', "line 2: .*: expected a field with quotation marks"),
        ("p.csv", 'prompt,id\n"red dog,1\nblue cat,2\n', "line 3: .*: expected a field with quotation marks"),
        ("p.csv", 'prompt\n"red" dog\n', "line 2: "),
        ("p.csv", "prompt,prompt\na,b\n", "prompt: is there twice"),
        ("p.csv", "prompt,text\na,b\n", "found prompt and text"),
        ("p.csv", "prompt,seed,seed\na,1,2\n", "seed: is there twice"),
        ("p.csv", "prompt\nred\0dog\n", r"row 1: prompt: expected a text without the character U\+0000"),
        ("p.csv", "prompt\n\ufeffred\n", r"U\+FEFF"),
        ("p.csv", b"prompt\ncaf\xe9\n", "cannot be read as .csv: expected UTF-8"),
        ("p.csv", "prompt\n".encode("utf-16"), "cannot be read as .csv: expected UTF-8"),
        ("p.tsv", 'prompt\tid\n"red dog\t1\nblue "\t2\n', r'line 2: "red dog: .* does not close'),
        ("p.tsv", "prompt\tid\nred\tdog\t1\n", "3 fields, the head has 2$"),
        ("p.tsv", 'prompt\tid\n"two\nlines"\t1\n', "line 2: .* does not close"),
        ("p.txt", b"caf\xe9\n", "cannot be read as .txt: expected UTF-8"),
        ("p.txt", "red\0dog\n", r"U\+0000"),
        ("p.txt", "a\n\ufeffb\n", r"U\+FEFF"),
        ("p.jsonl", '{"prompt": "a", "prompt": "b"}\n', "line 1: prompt: is there twice"),
        ("p.jsonl", '{"prompt": true}\n', "row 1: prompt: expected a text, found true"),
        ("p.jsonl", '{"prompt": 1984}\n', "expected a text, found 1984"),
        ("p.jsonl", '{"prompt": null}\n', "expected a text, found null"),
        ("p.jsonl", '{"prompt": ["a"]}\n', r'expected a text, found \["a"\]'),
        ("p.jsonl", '{"prompt": "\\ud83d"}\n', r"U\+D83D"),
        ("p.jsonl", '{"prompt": "\\u0000"}\n', r"U\+0000"),
        ("p.jsonl", '{"prompt": "a"}\n{"text": "b", "prompt": "c"}\n', "row 2: prompt: expected one of the columns"),
        ("p.jsonl", '{"prompt": "a", "x": NaN}\n', "expected JSON, which has no NaN"),
        ("p.jsonl", "[" * 100_000, "cannot be read as .jsonl"),
        ("p.json", '["a", 1]', "row 2: expected an object"),
        ("p.parquet", b"PAR1nonsensePAR1", "cannot be read as .parquet"),
        ("p.txt", "Negative prompt: blurry\n", "line 1: expected generation parameters that end with a line 'Steps: ...'"),
    ],
)  # fmt: skip
def test_refused_in_one_line(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message) as caught:
        texts(tmp_path, name, content)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_column_that_is_named_is_taken_whatever_else_there_is(tmp_path):
    assert texts(tmp_path, "p.csv", "prompt,text\na,b\n", column="text") == ["b"]
    with pytest.raises(UserError, match="column: expected a table, a text file has no columns"):
        texts(tmp_path, "p.txt", "a\n", column="text")
    with pytest.raises(UserError, match="words: expected this column, found prompt, text"):
        texts(tmp_path, "p.csv", "prompt,text\na,b\n", column="words")


def test_an_image_that_is_none_is_refused_and_a_missing_one_is_not(tmp_path):
    column = [{"bytes": sets.picture(0), "path": "0.png"}, {"bytes": None, "path": None}]
    (tmp_path / "p.parquet").write_bytes(sets.parquet(prompt=["a", "b"], image=column))
    prompts = FilePrompts(path="p.parquet", image_column="image").prompts(tmp_path)
    assert [prompt.image for prompt in prompts] == [sets.picture(0), None]
    (tmp_path / "p.parquet").write_bytes(sets.parquet(prompt=["a", "b"], image=["0.png", "1.png"]))
    with pytest.raises(UserError, match="row 1: image: expected the bytes of an image, found str"):
        FilePrompts(path="p.parquet", image_column="image").prompts(tmp_path)


def test_a_parquet_column_that_is_there_twice_is_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"]), tmp_path / "p.parquet")
    with pytest.raises(UserError, match="prompt: is there twice"):
        list(read_rows(tmp_path / "p.parquet", ["prompt"]))


TYPES = {
    "string": (pa.array(["a"]), "a"),
    "large": (pa.array(["a"], pa.large_string()), "a"),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "a"),
    "bytes": (pa.array([b"a"]), r"found \"bytes\""),
    "list": (pa.array([["a"]]), r"found \[\"a\"\]"),
    "struct": (pa.array([{"text": "a"}]), r"found \{"),
    "list of structs": (pa.array([[{"text": "a"}]]), r"found \[\{"),
    "map": (pa.array([[("text", "a")]], pa.map_(pa.string(), pa.string())), r"found \[\["),
    "number": (pa.array([1]), "found 1"),
    "decimal": (pa.array([Decimal(1)], pa.decimal128(5, 1)), r"found \"Decimal\""),
    "date": (pa.array([0], pa.date32()), r"found \"date\""),
    "none": (pa.array([None]), "found null"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_column_of_a_parquet_file_is_texts_or_refused(tmp_path, kind):
    column, expected = TYPES[kind]
    pq.write_table(pa.table({"caption": column, "image": [sets.picture(0)]}), tmp_path / "p.parquet")
    one = FilePrompts(path="p.parquet", image_column="image")
    if expected == "a":
        assert [prompt.text for prompt in one.prompts(tmp_path)] == ["a"]
        return
    for options in ({"image_column": "image"}, {"column": "caption"}):
        with pytest.raises(UserError, match=rf"p\.parquet: row 1: (prompt|caption): expected a text, {expected}"):
            FilePrompts(path="p.parquet", **options).prompts(tmp_path)


@pytest.mark.parametrize("column", ["caption.text", "caption.0", "caption.list.element"])
def test_a_column_within_a_column_is_refused_by_name(tmp_path, column):
    pq.write_table(pa.table({"caption": [{"text": "a"}], "n": [[1]]}), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=rf"{column}: expected this column, found caption, n"):
        FilePrompts(path="p.parquet", column=column).prompts(tmp_path)


def test_a_column_with_a_dot_in_its_name_is_that_column(tmp_path):
    pq.write_table(pa.table({"a.b": ["dotted"], "a": [{"b": "nested"}]}), tmp_path / "p.parquet")
    assert [prompt.text for prompt in FilePrompts(path="p.parquet", column="a.b").prompts(tmp_path)] == ["dotted"]


@pytest.mark.parametrize(
    "value", [[sets.picture(0)], [{"bytes": sets.picture(0)}], "a.png", 3, {"path": "a.png"}, {"data": b"x"}]
)
def test_an_image_column_is_images_or_refused(tmp_path, value):
    pq.write_table(pa.table({"prompt": ["a"], "image": pa.array([value])}), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=r"p\.parquet: row 1: image: (a\.png: )?expected the bytes of an image"):
        FilePrompts(path="p.parquet", image_column="image").prompts(tmp_path)


def folder(place, **files):
    (place / "pairs").mkdir(exist_ok=True)
    for name, content in files.items():
        path = place / "pairs" / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FolderPrompts(path="pairs")


def test_captions_beside_images_are_strict_too(tmp_path):
    pairs = folder(
        tmp_path, a__png=sets.picture(0), a__txt="\ufeffred dog\r\n", b__PNG=sets.picture(1), b__caption="left\u2028right"
    )
    assert [(p.id, p.text) for p in pairs.prompts(tmp_path)] == [("a", "red dog"), ("b", "left\u2028right")]
    with pytest.raises(UserError, match=r"a\.caption and a\.txt: expected one caption"):
        folder(tmp_path, a__caption="blue").prompts(tmp_path)
    (tmp_path / "pairs" / "a.caption").unlink()
    with pytest.raises(UserError, match=r"a\.txt: cannot be read as \.txt: expected UTF-8"):
        folder(tmp_path, a__txt=b"caf\xe9").prompts(tmp_path)


def test_what_a_folder_s_prompts_leave_out_is_said(tmp_path):
    pairs = folder(
        tmp_path,
        a__png=sets.picture(0),
        b__png=sets.picture(1),
        b__txt="x",
        metadata__csv="file_name,text,negative_prompt\n./a.png,red,no\n",
    )
    (tmp_path / "pairs" / ".ipynb_checkpoints").mkdir()
    assert [prompt.text for prompt in pairs.prompts(tmp_path)] == ["red"]
    hidden, unnamed, beside, negative = pairs.notes(tmp_path)
    assert "1 hidden (.ipynb_checkpoints)" in hidden
    assert "does not name 1 of 2 images (b.png): they take no part" in unnamed
    assert "1 text files beside images are not read" in beside
    assert negative.endswith("the column negative_prompt is not read: negative_column: negative_prompt takes it")
    (tmp_path / "pairs" / "metadata.jsonl").write_text("")
    with pytest.raises(UserError, match=r"metadata\.csv and metadata\.jsonl: expected one table"):
        pairs.prompts(tmp_path)


def test_an_archive_has_one_caption_and_one_image_of_a_name(tmp_path):
    good = {
        "0.jpg": sets.picture(0, "JPEG"),
        "0.txt": "\ufeffred".encode(),
        "1.png": sets.picture(1),
        "1.json": b'{"caption": "blue"}',
    }
    hidden = {"._0.txt": b"\xff", "__MACOSX/._1.png": b"x"}

    def prompts(name, files):
        (tmp_path / name).write_bytes(sets.tarred(files))
        return [(prompt.id, prompt.text) for prompt in WebDatasetPrompts(path=name).prompts(tmp_path)]

    assert prompts("a.tar", good | hidden) == [("a.tar/0", "red"), ("a.tar/1", "blue")]
    for number, (more, message) in enumerate(
        [
            ({"0.png": sets.picture(2)}, "0.jpg and 0.png: expected one image of a name"),
            ({"0.TXT": b"green"}, "0.txt and 0.TXT: expected one caption of a name"),
            ({"1.json": b'{"caption": "a", "caption": "b"}'}, "caption: is there twice"),
            ({"0.txt": b"caf\xe9"}, "0.txt: cannot be read as .txt: expected UTF-8"),
            ({"1.json": b"nonsense"}, r"1.json: cannot be read as .json"),
            ({"1.json": json.dumps({"caption": "a\ufeff"}).encode()}, r"U\+FEFF"),
        ]
    ):
        with pytest.raises(UserError, match=message):
            prompts(f"b{number}.tar", good | more)
