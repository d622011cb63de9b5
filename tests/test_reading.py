"""YAML as users write it: a key that is specified twice is refused, whatever reads the file."""

import re
from pathlib import Path

import pytest

import afa_bench
from afa_bench.cli.search import _choice
from afa_bench.errors import UserError
from afa_bench.gate.policy import read_policy
from afa_bench.merging.recipe import read_recipe
from afa_bench.models.group import read_group_file
from afa_bench.reading import read_mapping
from afa_bench.suite import read_suite
from afa_bench.training.config import read_config

READERS = {
    "recipe": (read_recipe, "models: {A: one, A: two}\nform: sum\n", "A"),
    "policy": (read_policy, "metrics:\n  clip_t: {margin: 0.01}\n  clip_t: {margin: 10}\n", "clip_t"),
    "group": (lambda file: read_group_file(str(file), file.parent, ""), "pipeline: base\nmodels:\n  A: one\n  'A': two\n", "A"),
    "suite": (read_suite, "name: tiny\nname: other\n", "name"),
    "training": (read_config, "group: mini-1\ndata: mini\nepochs: 1\nepochs: 2\n", "epochs"),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_key_that_is_specified_twice_is_named_with_its_line(tmp_path, kind):
    read, text, key = READERS[kind]
    file = tmp_path / f"{kind}.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}:\d: {key}: is specified twice$"):
        read(file)


@pytest.mark.parametrize(
    "text", ["1: a\n0x1: b", "yes: 1\ntrue: 2", "- {a: 1, a: 2}", "<<: {a: 1}\n<<: {a: 2}", "a: [{b: {c: 1, c: 1}}]"]
)
def test_keys_are_compared_as_values_at_any_depth(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="is specified twice"):
        read_mapping(tmp_path / "x.yaml", "of keys")


def test_a_merged_mapping_gives_way_to_a_key_of_one_s_own(tmp_path):
    (tmp_path / "x.yaml").write_text("base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  a: 3\n")
    assert read_mapping(tmp_path / "x.yaml", "of keys")[0]["own"] == {"a": 3, "b": 2}


def test_an_option_in_yaml_is_as_strict():
    with pytest.raises(UserError, match="--scorer: name: is specified twice"):
        _choice("{name: clip-t, name: aes}")


def test_nothing_in_the_package_reads_yaml_in_another_way():
    files = Path(afa_bench.__file__).parent.rglob("*.py")
    readers = [file for file in files if re.search(r"yaml\.(safe_)?(load|compose)", file.read_text())]
    assert [file.name for file in readers] == ["reading.py"]
