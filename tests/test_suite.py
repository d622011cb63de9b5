from pathlib import Path

import pytest
import yaml

from afa_bench.errors import NotFoundError, NothingToDoError, UserError
from afa_bench.plan import make_plan
from afa_bench.suite import Suite, find_suite, packaged_suites, read_suite


def rewritten(path: Path, **changes: object) -> Path:
    document = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    return path


@pytest.mark.parametrize("name", packaged_suites())
def test_packaged_suites_are_valid_and_named_like_their_files(name):
    assert read_suite(find_suite(name)).name == name


def test_a_packaged_suite_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_suite("suites/mini.yaml") == find_suite("mini") == packaged_suites()["mini"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stpes": [1]}, r"tiny\.yaml:\d+: stpes: unknown key: did you mean 'steps'"),
        ({"sampler": {"guidence": 3}}, r"tiny\.yaml:\d+: sampler\.guidence: unknown key: did you mean 'guidance'"),
        ({"steps": [0]}, r"tiny\.yaml:\d+: steps\.0: Input should be greater than or equal to 1"),
        ({"repeats": 10**400}, r"tiny\.yaml:\d+: repeats: Input should be less than or equal to 1000000000"),
        ({"groups": ["9" * 400]}, "groups: unknown group '9+'"),
        ({"steps": []}, r"steps: Tuple should have at least 1 item"),
        ({"name": "../up"}, r"name: String should match pattern"),
        ({"groups": None}, r"groups: Field required"),
        ({"groups": ["mini-l"]}, r"groups: unknown group 'mini-l': did you mean 'mini-"),
        ({"methods": ["wieghted"]}, r"methods: unknown method 'wieghted': did you mean 'weighted'"),
        ({"methods": [{"name": "base", "modle": 1}]}, r"methods: base: modle: unknown option: did you mean 'model'"),
        ({"methods": ["weighted", "weighted"]}, r"methods: weighted is specified twice; give one a label"),
        ({"metrics": [{"name": "clip-tt"}]}, r"metrics: unknown metric 'clip-tt': did you mean 'clip-t'"),
        ({"metrics": [{"name": "fid", "features": "lite"}]}, r"unknown extractor 'lite': did you mean 'lite0'"),
        ({"prompts": {"name": "file", "path": "none.txt"}}, r"none\.txt: cannot be read: No such file"),
    ],
)
def test_every_mistake_is_one_line_that_says_where_and_what(tiny_suite, changes, message):
    rewritten(tiny_suite, **changes)
    with pytest.raises(UserError, match=message) as caught:
        make_plan(read_suite(tiny_suite))
    assert "\n" not in str(caught.value)
    assert type(caught.value) in (UserError, NotFoundError)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1,", "a: \x00", "x: !!python/object:os.system {}"])
def test_what_is_no_suite_is_refused(tmp_path, text):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"suite\.yaml"):
        read_suite(path)


def test_an_unknown_suite_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'mini'"):
        find_suite("minni")


def test_an_empty_prompt_file_is_nothing_to_do(tiny_suite):
    (tiny_suite.parent / "prompts.txt").write_text("\n  \n")
    with pytest.raises(NothingToDoError, match=r"prompts\.txt: no prompt in it"):
        make_plan(read_suite(tiny_suite))


def test_a_suite_reads_back_as_written(tiny_suite):
    suite = read_suite(tiny_suite)
    assert Suite.model_validate(yaml.safe_load(tiny_suite.read_text())).model_dump() == suite.model_dump()
