"""YAML as users write it, whatever reads the file: what is read is what is written, or the key is named and refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import afa_bench
from afa_bench.cli.search import _choice
from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.gate.policy import read_policy
from afa_bench.merging.recipe import read_recipe
from afa_bench.models.group import read_group_file
from afa_bench.plan import configured
from afa_bench.reading import Place, read_mapping, read_yaml
from afa_bench.scoring.folder import read_metrics
from afa_bench.suite import read_suite
from afa_bench.training.config import read_config

SHA = "0123456789abcdef" * 4


def group_of(file: Path) -> Any:
    return read_group_file(str(file), file.parent, "")


def suite_of(file: Path) -> Any:
    """A suite with its prompts and metrics as they are chosen; its methods' options are read by an estimate."""
    suite = read_suite(file)
    estimate(suite)
    chosen = {"prompts": configured(suite, "prompts", suite.prompts)}
    return dict(suite) | chosen | {"metrics": [configured(suite, "metrics", choice) for choice in suite.metrics]}


def training_of(file: Path) -> Any:
    config = read_config(file)
    return dict(config) | {"data": config.prompt_set(), "trainable": config.read_trainable()[1]}


READERS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "suite": (
        suite_of,
        {
            "name": "mine",
            "revision": 2,
            "description": "words",
            "groups": ["mini-1"],
            "prompts": {"name": "mini", "limit": 3, "layout": "single"},
            "methods": [
                {"name": "base", "model": "nature", "groups": ["mini-1"], "label": "N"},
                {"name": "magicfusion", "k": [1.0, 2.5, 3.0]},
                {"name": "merge", "method": "dare", "density": 0.5, "seed": 3, "alpha": 0.75},
            ],
            "metrics": [
                {"name": "is", "features": "lite0", "splits": 4, "label": "I"},
                {"name": "denoising-loss", "timesteps": 2},
            ],
            "sampler": {"scheduler": "DDIMScheduler", "guidance": 2.5, "negative_prompt": "ugly"},
            "steps": [4, 8],
            "size": 32,
            "images_per_prompt": 2,
            "repeats": 2,
            "seed": 7,
            "dtype": "float32",
        },
    ),
    "group": (
        group_of,
        {
            "name": "mine",
            "pipeline": {"folder": "zoo:base"},
            "models": {
                "a": {"civitai": 5, "sha256": SHA},
                "b": {"hub": "me/it", "file": "x.safetensors", "revision": "v1"},
                "c": "c",
            },
            "sabw": "s",
            "trained": {"moe": "m"},
            "architecture": "sd15",
            "prediction_type": "epsilon",
        },
    ),
    "recipe": (
        read_recipe,
        {
            "models": {"A": "one", "B": "two"},
            "method": "weight-sum",
            "alpha": 0.25,
            "vae": "A",
            "dtype": "float16",
            "zero_snr": True,
        },
    ),
    "blocks": (
        read_recipe,
        {"models": {"A": "one", "B": "two"}, "method": "mbw", "chain": [{"blocks": [0.5] * 12, "base": 0.25}]},
    ),
    "policy": (
        read_policy,
        {"metrics": {"clip_t": {"margin": 0.01}}, "methods": ["afa"], "groups": ["g"], "steps": [10, 20], "alpha": 0.1},
    ),
    "training": (
        training_of,
        {
            "group": "mini-1",
            "data": {"name": "mini", "limit": 8},
            "trainable": {"name": "moe-block", "hidden": 16, "balance": 0.5},
            "size": 32,
            "crops": 2,
            "validation": 2,
            "epochs": 2,
            "lr": 1e-4,
            "ema": 0.9,
            "gradient_checkpointing": True,
            "mixed_precision": "no",
            "lcm": {"guidance": 3.5, "skipping": 10},
            "trackers": ["tensorboard"],
        },
    ),
}


class Word(str):
    """Written without quotation marks."""


def written(file: Path, document: Any) -> Path:
    """A document as YAML, a key a line."""
    marks = [word for _, word in leaves(document) if isinstance(word, Word)]
    text = yaml.safe_dump(replaced(document), sort_keys=False, allow_unicode=True)
    for word in marks:
        text = text.replace("qqwordqq", word)
    file.write_text(text)
    return file


def replaced(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: replaced(part) for key, part in value.items()}
    if isinstance(value, list):
        return [replaced(part) for part in value]
    return "qqwordqq" if isinstance(value, Word) else value


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every scalar of a document, and where it is."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from leaves(part, (*place, key))
    else:
        yield place, value


def keys(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every key of every mapping of a document, and where it is."""
    for key, part in value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(value, Mapping):
            yield (*place, key)
        yield from keys(part, (*place, key))


def put(document: Any, place: Place, value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    first, *rest = place
    if isinstance(document, Mapping):
        return {key: put(part, tuple(rest), value) if key == first else part for key, part in document.items()}
    return [put(part, tuple(rest), value) if key == first else part for key, part in enumerate(document)]


def found(model: Any, place: Place) -> Any:
    """What was read at a place; ``...`` where it has another shape now."""
    for step in place:
        if isinstance(model, BaseModel):
            model = {**dict(model), **(model.model_extra or {})}
        try:
            model = model[step] if isinstance(model, Mapping | list | tuple) else getattr(model, str(step))
        except (KeyError, IndexError, AttributeError, TypeError):
            return ...
    return model


CASES = [
    pytest.param(kind, place, id=f"{kind}:{'.'.join(map(str, place))}") for kind in READERS for place in keys(READERS[kind][1])
]
SCALARS = [
    pytest.param(kind, place, id=f"{kind}:{'.'.join(map(str, place))}")
    for kind in READERS
    for place, _ in leaves(READERS[kind][1])
]


@pytest.mark.parametrize("kind", READERS)
def test_what_is_valid_is_read_as_it_is_written(tmp_path, kind):
    read, document = READERS[kind]
    model = read(written(tmp_path / "x.yaml", document))
    for place, value in leaves(document):
        now = found(model, place)
        assert now == value or not isinstance(now, str | bool | int | float), place


@pytest.mark.parametrize(("kind", "place"), CASES)
def test_every_key_that_is_specified_twice_is_named_with_its_line(tmp_path, kind, place):
    read, document = READERS[kind]
    twice = put(document, place, value := found(document, place))
    parent = found(document, place[:-1]) if len(place) > 1 else document
    file = tmp_path / "x.yaml"
    text = yaml.safe_dump(put(twice, place[:-1], {**parent, "qqagainqq": value}), sort_keys=False)
    file.write_text(text.replace("qqagainqq", place[-1]).replace(f"'{place[-1]}'", place[-1]))
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}:\d+: {place[-1]}: is specified twice$"):
        read(file)


PLAIN: dict[str, Any] = {"4.0": 4.0, "-1": -1, "0": 0}
"""Plain words that are numbers; all others are texts."""

WRONG = [Word(text) for text in ("yes", "010", "1:30", "0x1F", "1_000", ".nan", ".inf", "-.inf", "2001-01-01", *PLAIN)]
WRONG += [True, 3, 2.5, -7, 10**30, "text", "", None, [], {}, [[1]], {"no": 1}, "4", "true", "nan", "1e999"]


@pytest.mark.parametrize(("kind", "place"), SCALARS)
def test_every_value_of_a_wrong_type_or_out_of_range_is_refused_or_read_as_it_is_written(tmp_path, kind, place):
    """Nothing is made of it: no number of a text or of a truth value, no infinity, no whole number of a fraction."""
    read, document = READERS[kind]
    taken = 0
    for value in WRONG:
        try:
            model = read(written(tmp_path / "x.yaml", put(document, place, value)))
        except UserError:
            continue
        taken += 1
        now = found(model, place)
        expected = PLAIN.get(value, str(value)) if isinstance(value, Word) else value
        if value is None or not isinstance(now, str | bool | int | float | list | tuple):
            continue  # a default, a plug-in, a path, another shape
        assert now == expected or now == float(10**30) or (isinstance(now, list | tuple) and list(now) == expected), (value, now)
        assert isinstance(now, bool) == isinstance(expected, bool), (value, now)
        assert not isinstance(now, float) or math.isfinite(now), (value, now)
    assert taken < len(WRONG)


NAMED = {
    "steps: [yes]": ("suite", {"steps": [Word("yes")]}, r"x\.yaml:\d+: steps\.0: .*found 'yes'"),
    "steps: [010]": ("suite", {"steps": [Word("010")]}, r"steps\.0: expected a whole number, found '010'"),
    "steps: [1:30]": ("suite", {"steps": [Word("1:30")]}, r"steps\.0: .*found '1:30'"),
    "steps: [true]": ("suite", {"steps": [True]}, r"steps\.0: expected a whole number, found True"),
    "steps: [4, 4]": ("suite", {"steps": [4, 4]}, r"steps: .*4 is specified twice"),
    "guidance: yes": ("suite", {"sampler": {"guidance": Word("yes")}}, r"sampler\.guidance: .*found 'yes'"),
    "guidance: .nan": ("suite", {"sampler": {"guidance": Word(".nan")}}, r"sampler\.guidance: .*found '\.nan'"),
    "guidance: nan": ("suite", {"sampler": {"guidance": "nan"}}, r"sampler\.guidance: .*found 'nan'"),
    "guidance: -1": ("suite", {"sampler": {"guidance": -1}}, r"sampler\.guidance: .*greater than or equal to 0, found -1"),
    "limit: -1": ("suite", {"prompts": {"name": "mini", "limit": -1}}, r"prompts: mini: limit: .*equal to 1, found -1"),
    "two groups": ("suite", {"groups": ["mini-1", "mini-1"]}, r"groups: .*mini-1 is specified twice"),
    "a label of prompts": ("suite", {"prompts": {"name": "mini", "label": "x"}}, "prompts: mini: label: unknown option"),
    "groups of prompts": ("suite", {"prompts": {"name": "mini", "groups": ["mini-1"]}}, "prompts: mini: groups: unknown option"),
    "groups of a metric": ("suite", {"metrics": [{"name": "aes", "groups": ["mini-1"]}]}, "metrics: aes: groups: unknown option"),
    "an empty label": ("suite", {"methods": [{"name": "afa", "label": ""}]}, r"methods\.0\.label: .*at least 1 character"),
    "no groups": ("suite", {"methods": [{"name": "afa", "groups": []}]}, r"methods\.0\.groups: .*at least 1 item"),
    "a group that there is not": (
        "suite",
        {"methods": ["afa", {"name": "base", "groups": ["mini-l"]}]},
        "methods: base: groups: unknown group 'mini-l': did you mean 'mini-1'",
    ),
    "a group of another suite": (
        "suite",
        {"methods": ["afa", {"name": "base", "groups": ["mini-2"]}]},
        "methods: base: groups: unknown group 'mini-2': did you mean 'mini-1'",
    ),
    "labels of one folder": (
        "suite",
        {"methods": [{"name": "afa", "label": "A b"}, {"name": "afa", "label": "A_b"}]},
        "methods: A b and A_b are one and the same, in one folder",
    ),
    "margin: 1e400": ("policy", {"metrics": {"a": {"margin": Word("1e400")}}}, r"metrics\.a\.margin: expected a finite number"),
    "margin: yes": ("policy", {"metrics": {"a": {"margin": Word("yes")}}}, r"metrics\.a\.margin: .*found 'yes'"),
    "steps of a policy": ("policy", {"steps": [10, 10]}, "steps: .*10 is specified twice"),
    "a label of data": ("training", {"data": {"name": "mini", "label": "x"}}, r"x\.yaml:\d+: data: mini: label: unknown option"),
    "groups of a trainable": (
        "training",
        {"trainable": {"name": "afa", "groups": ["g"]}},
        "trainable: afa: groups: unknown option",
    ),
    "epochs: yes": ("training", {"epochs": Word("yes")}, "epochs: .*found 'yes'"),
    "civitai: 010": ("group", {"models": {"a": {"civitai": Word("010")}}}, r"civitai: expected a whole number, found '010'"),
    "a sha256 cut off": ("group", {"models": {"a": {"civitai": 1, "sha256": SHA[:-1]}}}, "sha256: .*64 hexadecimal digits"),
    "a folder that is a number": ("group", {"models": {"a": 5}}, r"models\.0\.folder: .*valid string, found 5"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_wrong_is_named(tmp_path, case):
    kind, changes, message = NAMED[case]
    read, document = READERS[kind]
    with pytest.raises(UserError, match=message):
        read(written(tmp_path / "x.yaml", document | changes))


@pytest.mark.parametrize("labels", [("狗", "猫"), ("собака", "кошка"), ("é", "è"), ("ñ", "n")])
def test_labels_in_any_script_have_folders_of_their_own(tmp_path, labels):
    from afa_bench.cells import folder_name

    _, document = READERS["suite"]
    methods = [{"name": "base", "model": "nature", "label": label} for label in labels]
    file = written(tmp_path / "x.yaml", document | {"methods": methods, "metrics": [{"name": "is", "features": "lite0"}]})
    assert [row.label for row in estimate(read_suite(file)).rows] == list(labels)
    assert len({folder_name("mini-1", label) for label in labels}) == len(labels)


def test_two_files_of_one_group_s_name_are_found(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text("pipeline: zoo:base\nmodels: {x: zoo:mini-1/nature}\n")
    document = {**READERS["suite"][1], "groups": ["a/mine.yaml", "b/mine.yaml"], "methods": ["base"]}
    with pytest.raises(UserError, match="groups: two are called mine"):
        estimate(read_suite(written(tmp_path / "x.yaml", document)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("No", "No"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        ("2001-01-01", "2001-01-01"),
        ("true", True),
        ("FALSE", False),
        ("12", 12),
        ("-0", 0),
        ("1e-4", 1e-4),
        ("1.", 1.0),
        (".5", 0.5),
        ("", None),
        ("~", None),
        ("Null", None),
        ("{010: 1, yes: 2, 1: 3, true: 4, null: 5}", {"010": 1, "yes": 2, "1": 3, "true": 4, "null": 5}),
    ],
)
def test_a_plain_word_is_what_it_looks_like(text, value):
    assert read_yaml(text) == value
    assert type(read_yaml(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["1: a\n'1': b", 'yes: 1\n"yes": 2', "- {a: 1, a: 2}", "<<: {a: 1}\n<<: {a: 2}", "a: [{b: {c: 1, c: 1}}]"]
)
def test_keys_are_compared_as_texts_at_any_depth(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="is specified twice"):
        read_mapping(tmp_path / "x.yaml", "of keys")


def test_a_merged_mapping_gives_way_to_a_key_of_one_s_own(tmp_path):
    (tmp_path / "x.yaml").write_text("base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  a: 3\n")
    assert read_mapping(tmp_path / "x.yaml", "of keys")[0]["own"] == {"a": 3, "b": 2}


def test_an_option_in_yaml_is_as_strict():
    for text, message in (
        ("{name: clip-t, name: aes}", "--scorer: name: is specified twice"),
        ("[clip-t]", "--scorer: expected a metric's name"),
        ("{name: 5}", "--scorer: name: .*valid string, found 5"),
    ):
        with pytest.raises(UserError, match=message):
            _choice(text)


def test_words_of_a_command_line_are_numbers_where_numbers_are_expected():
    (metric,) = read_metrics(["is:features=lite0:splits=4"])
    assert metric.splits == 4
    for text in ("is:features=lite0:splits=yes", "is:features=lite0:splits=0"):
        with pytest.raises(UserError, match="--metrics: is: splits: "):
            read_metrics([text])


def test_nothing_in_the_package_reads_yaml_in_another_way():
    files = Path(afa_bench.__file__).parent.rglob("*.py")
    readers = [file for file in files if re.search(r"yaml\.(safe_)?(load|compose)", file.read_text())]
    assert [file.name for file in readers] == ["reading.py"]
