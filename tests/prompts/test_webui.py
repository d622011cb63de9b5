"""Prompts as web UIs write them: forms that are read for what they are, and syntax that is told."""

import pytest
import torch
import yaml

from afa_bench.errors import UserError
from afa_bench.generation.generator import prompted
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.plan import make_plan
from afa_bench.prompts.file import FilePrompts
from afa_bench.prompts.folder import FolderPrompts
from afa_bench.prompts.webui import syntax_notes
from afa_bench.suite import read_suite

PARAMETERS = """a red dog,
from above
Negative prompt: blurry,
bad
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Lora hashes: "x: 1"
"""


def read(folder, text):
    (folder / "p.txt").write_text(text)
    prompts = FilePrompts(path="p.txt")
    return [(prompt.text, prompt.negative) for prompt in prompts.prompts(folder)], prompts.notes(folder)


def test_lines_of_options_are_prompts_and_negative_prompts(tmp_path):
    found, notes = read(
        tmp_path,
        '--prompt "a red dog, left" --negative_prompt "blurry, bad" --steps 20 --seed 7\n'
        "a plain line -- with a dash\n"
        "\n"
        "--negative_prompt blurry bad --prompt a red dog\n"
        "--prompt 'it is \"big\"' --width 512\n",
    )
    assert found == [
        ("a red dog, left", "blurry, bad"), ("a plain line -- with a dash", None),
        ("a red dog", "blurry bad"), ('it is "big"', None),
    ]  # fmt: skip
    assert notes == [f"{tmp_path / 'p.txt'}: of the prompts' own settings none is taken (steps, seed, width)"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('--prompt "a dog', "line 1: .*: No closing quotation: expected texts in quotation marks"),
        ("--prompt dog's ball", "No closing quotation"),
        ("--promt dog", "line 1: --promt: unknown option"),
        ("--negative_prompt bad", "line 1: --prompt: expected it"),
        ("--prompt", "--prompt: expected one value, found none"),
        ("--prompt dog --steps", "--steps: expected one value, found none"),
        ("--prompt dog --steps 20 30", "--steps: expected one value, found 20 30"),
        ("--prompt dog --prompt cat", "--prompt: is there twice"),
    ],
)
def test_lines_of_options_that_cannot_be_meant_are_refused(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, line)


def test_generation_parameters_are_a_prompt_and_what_is_to_be_avoided(tmp_path):
    prompt = ("a red dog,\nfrom above", "blurry,\nbad")
    found, notes = read(tmp_path, PARAMETERS + "\n" + PARAMETERS)
    assert found == [prompt, prompt]
    assert "none is taken (Steps, Sampler, CFG scale, Seed, Size, Lora hashes, ...)" in notes[0]
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "a.png").write_bytes(b"x")
    for text, expected in (
        (PARAMETERS, prompt),
        ("a dog\nNegative prompt: bad", ("a dog", "bad")),
        ("a dog\nin two lines", ("a dog\nin two lines", None)),
    ):
        (tmp_path / "pairs" / "a.txt").write_text(text)
        (one,) = FolderPrompts(path="pairs").prompts(tmp_path)
        assert (one.text, one.negative) == expected


def test_a_column_may_have_negative_prompts(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,negative_prompt\na dog,blurry\na cat,\n")
    plain, asked = FilePrompts(path="p.csv"), FilePrompts(path="p.csv", negative_column="negative_prompt")
    assert [prompt.negative for prompt in plain.prompts(tmp_path)] == [None, None]
    assert plain.notes(tmp_path) == [
        f"{tmp_path / 'p.csv'}: the column negative_prompt is not read: negative_column: negative_prompt takes it"
    ]
    assert [prompt.negative for prompt in asked.prompts(tmp_path)] == ["blurry", None]
    assert asked.notes(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "a (red:1.4) dog", "((red)) dog", "[[red]] dog", "[a|b]", "{a|b} dog", "a AND b", "a BREAK b", "__wild__ dog",
        "<lora:x:0.8>", "red++ dog", "dog::2 cat", "a dog --ar 16:9", "[cat:dog:0.5]", "(a, b:0.7)",
    ],
)  # fmt: skip
def test_syntax_is_told(text):
    assert syntax_notes([text, "a dog"], "prompts")[0].startswith("1 of 2 prompts have syntax of web UIs")


@pytest.mark.parametrize(
    "text",
    [
        "a dog (left) and a cat",
        "at 10:30 (or 16:9)",
        'a sign that says "STOP AND"',
        "snake_case__x",
        "a dog -- red",
        "[left]",
        "AND",
        "1 < 2 > 1",
    ],
)
def test_prose_is_no_syntax(text):
    assert syntax_notes([text], "prompts") == []


def plan_of(suite, prompts, **changes):
    (suite.parent / "prompts.txt").write_text(prompts)
    suite.write_text(yaml.safe_dump({**yaml.safe_load(suite.read_text()), **changes}))
    return make_plan(read_suite(suite))


def test_a_negative_prompt_is_drawn_with_and_part_of_the_identity_only_where_there_is_one(tiny_suite, tiny_group, caplog):
    plain = plan_of(tiny_suite, "a dog\na cat\n")
    own = plan_of(tiny_suite, '--prompt "a dog" --negative_prompt "xyz"\na cat\n')
    assert plain.cells[0].identity["prompts"] != own.cells[0].identity["prompts"]
    assert plan_of(tiny_suite, "--prompt 'a dog'\na cat\n").cells[0].fingerprint == plain.cells[0].fingerprint
    loaded = load_group(read_group(str(tiny_group), tiny_group.parent, ""), "cpu", torch.float32)
    encoders = [loaded.models[0].text_encoder]
    samples = [own.samples[0], own.samples[2], own.samples[1]]
    sampler = own.suite.sampler.model_copy(update={"negative_prompt": "suite"})
    given = prompted(samples, sampler, loaded, encoders)
    for place, (text, negative) in enumerate([("a dog", "xyz"), ("a cat", "suite"), ("a dog", "xyz")]):
        expected = loaded.group.family.conditions([text], loaded.tokenizers, encoders, negative, True)
        for name, value in expected.items():
            assert torch.allclose(given[name][place], value[0], atol=1e-6)
    caplog.clear()
    plan_of(tiny_suite, '--prompt "a dog" --negative_prompt "xyz"\n', sampler={"guidance": 1.0}, methods=["base"])
    assert "negative prompts take no part: sampler.guidance is 1" in caplog.text


def test_what_was_read_is_part_of_the_plan_and_said_once(tiny_suite, caplog):
    plan = plan_of(tiny_suite, "--prompt 'a (red:1.2) dog' --steps 9\na cat\n")
    assert [note.partition(": ")[2] or note for note in plan.notes] == [
        "of the prompts' own settings none is taken (steps)",
        "(red:1.4) in 1",
        "1 of 2 prompts cut at 12 tokens by its tokenizer (sampler.long_prompts: chunks reads all of them)",
    ]
    assert all(caplog.text.count(note) == 1 for note in plan.notes)
