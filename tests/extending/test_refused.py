"""What is no plug-in, or not the one that it seems to be: one line which names it, for whoever uses it and nobody else."""

import logging

import numpy as np
import pytest
import yaml
from PIL import Image
from runs import run
from strangers import FILES, install, write
from typer.testing import CliRunner

from afa_bench import registry
from afa_bench.cli import app
from afa_bench.errors import NothingToDoError, UserError
from afa_bench.needs import needs_of
from afa_bench.plan import make_plan
from afa_bench.scoring.folder import read_metrics
from afa_bench.suite import read_suite

METHOD, EXTRACTOR, METRIC = FILES["switch.py"], FILES["opponents.py"], FILES["colourfulness.py"]
PROMPTS, TRAINABLE = FILES["grid.py"], FILES["blend.py"]
SWITCH, COLOURFUL = ("methods", "switch.py:Switch"), ("metrics", "colourfulness.py:Colourfulness")
SLERP, MERGE = ("merge_methods", "slerp.py:slerp"), FILES["slerp.py"]
OPPONENTS, GRID = ("extractors", "opponents.py:Opponents"), ("prompts", "grid.py:Grid")


def refused(caught):
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, NothingToDoError)


@pytest.mark.parametrize(
    ("kind", "name", "source", "message"),
    [
        (*SWITCH, "import nothing_of_this_name", r"switch\.py:1 does not load: ModuleNotFoundError: No mod"),
        (*SWITCH, "x = 1\nimport sys\nsys.exit(3)", r"switch\.py:3 does not load: SystemExit: 3"),
        (*SWITCH, "x = 1\n\n1 / 0", r"switch\.py:3 does not load: ZeroDivisionError: division by zero"),
        (*SWITCH, "def broken(:", r"switch\.py does not load: SyntaxError: invalid syntax \(switch\.py, line 1"),
        (*SWITCH, "\0", r"switch\.py does not load: "),
        (*SWITCH, "raise ValueError('a\\nb')", r"does not load: ValueError: a b"),
        (*SWITCH, "import helper", r"switch\.py:1: imports helper\.py, whose bytes would be no part"),
        (*SWITCH, "def f():\n    from . import x", r"switch\.py:2: imports a file beside it, whose bytes"),
        ("methods", "switch.py:Swich", METHOD, r"switch\.py has no 'Swich': did you mean 'Switch'"),
        ("methods", "switch.py:SwitchUNet", METHOD, r"expected a class derived from afa_bench\.method\.Method, found <class"),
        ("methods", "switch.py:Method", METHOD, r"expected a class derived from afa_bench\.method\.Method, found <class"),
        ("methods", "switch.py:torch", METHOD, r"expected a class derived from afa_bench\.method\.Method, found <module"),
        (*SWITCH, METHOD.replace("version = 1", "x = 1"), r"'switch\.py:Switch': has no class variable 'version'"),
        (*SWITCH, METHOD.replace("version = 1", "version = '1'"), r"version: Input should be a valid integer"),
        (*SWITCH, METHOD.replace('name = "switch"', "x = 1"), r"has no class variable 'name'"),
        (*SWITCH, METHOD.replace("Options = SwitchOptions", "Options = dict"), r"Options: Input should be a subclass"),
        (*SWITCH, METHOD.replace("def build", "def built"), r"does not implement 'build'"),
        (*SWITCH, METHOD + "\n    def __init__(self, size): ...", r"is made with no arguments: missing .* 'size'"),
        (*OPPONENTS, EXTRACTOR + "\n    def __init__(self): ...", r"is made with preprocess, dtype: got an unexpected"),
        (*COLOURFUL, METRIC.replace('"per-sample"', '"sample"'), r"kind: Input should be 'per-sample' or"),
        (*COLOURFUL, METRIC.replace("label =", "label: str ="), r"has no class variable 'label'"),
        (*COLOURFUL, METRIC.replace("digits = 1", ""), r"has no class variable 'digits'"),
        (*OPPONENTS, EXTRACTOR.replace("def weights", "def w"), r"does not implement 'weights'"),
        (*OPPONENTS, EXTRACTOR.replace('"opponents"', '"../x"', 1), r"name: String should match pattern"),
        (*GRID, PROMPTS.replace("def prompts", "def p"), r"does not implement 'prompts'"),
        (*GRID, PROMPTS.replace("licence =", "license ="), r"does not load: PydanticUserError: A non-annotated"),
        (*GRID, PROMPTS.replace("licence =", "_licence ="), r"has no class variable 'licence'"),
        (*SLERP, MERGE.replace("@merge_method(whole=True)", ""), "expected a function decorated with @merge_method, found <"),
        (*SLERP, MERGE.replace(": float = 0.5", ""), r"slerp\.py:\d+ does not load: TypeError: slerp: alpha: expected a type, a"),
        ("trainables", "blend.py:Blend", TRAINABLE, r"expected a class derived from afa_bench\.training\.trainable\.Trainable"),
        ("methods", "none.py:Switch", "", r"method 'none\.py:Switch': .*none\.py: cannot be read: No such file"),
        ("methods", "~nobody-of-this-name/x.py:Switch", "", r"x\.py: cannot be read: No such file"),
        ("methods", "a\0.py:Switch", "", r"cannot be read: embedded null byte"),
        ("methods", "./switch.py", METHOD, r"expected a registered name, or FILE\.py:NAME such as \./mine\.py:Mine"),
        ("methods", "./switch:Switch", "", r"expected a registered name, or FILE\.py:NAME such as \./mine\.py:Mine"),
        ("methods", "swtch", "", r"unknown method 'swtch': known: .*\(or FILE\.py:NAME\)"),
    ],
)  # fmt: skip
def test_files(tmp_path, kind, name, source, message):
    if source:
        (tmp_path / name.partition(":")[0]).write_text(source)
    (tmp_path / "helper.py").write_text("")
    with pytest.raises(UserError, match=f"^my.yaml: {kind}: .*{message}") as caught:
        registry.load(kind, name, f"my.yaml: {kind}", tmp_path)
    refused(caught)


def test_ctrl_c_while_a_file_loads_is_ctrl_c(tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.load("methods", "slow.py:Slow", "", tmp_path)


@pytest.fixture
def suite(tmp_path, tiny_group):
    write(tmp_path)
    document = {
        "name": "theirs", "groups": [str(tiny_group)], "prompts": {"name": "grid.py:Grid"}, "methods": ["switch.py:Switch"],
        "metrics": ["colourfulness.py:Colourfulness"], "sampler": {"guidance": 1.0}, "steps": [1], "size": 8,
        "images_per_prompt": 1,
    }  # fmt: skip
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "theirs.yaml"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metrics", ["colourfulness.py:Colourfulness"] * 2, "metrics: colourfulness is specified twice; give one a label"),
        ("methods", ["switch.py:Switch"] * 2, "methods: switch is specified twice; give one a label"),
        (
            "metrics",
            [{"name": "colourfulness.py:Colourfulness", "label": "Seed"}],
            "label: 'Seed' is a column of samples.parquet",
        ),
        (
            "metrics",
            [{"name": "colourfulness.py:Colourfulness", "label": "..."}],
            r"label: '\.\.\.': expected letters or digits",
        ),
        ("metrics", [{"name": "is", "features": "opponents.py:Oponents"}], "has no 'Oponents': did you mean 'Opponents'"),
        ("metrics", [{"name": "clip-t", "features": "opponents.py:Opponents"}], "features: opponents has no embeddings of texts"),
        ("metrics", [{"name": "is", "groups": ["tiny"]}], "metrics: is: groups: unknown option"),
        ("prompts", {"name": "grid.py:Grid", "label": "mine"}, r"prompts: grid\.py:Grid: label: unknown option"),
        ("prompts", {"name": "grid.py:Grid", "colors": ["red"]}, "colors: unknown option: did you mean 'colours'"),
    ],
)
def test_choices_of_a_suite(suite, key, value, message):
    suite.write_text(yaml.safe_dump({**yaml.safe_load(suite.read_text()), key: value}))
    with pytest.raises(UserError, match=message) as caught:
        make_plan(read_suite(suite))
    refused(caught)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("switch.py", "return Denoiser(", "return (", "build: expected a Denoiser, found"),
        ("switch.py", "def device", "def place", "build: SwitchUNet has no 'device'"),
        ("grid.py", 'f"{thing}-{colour}",', '"one",', "prompt 2: the id 'one' is another prompt's"),
        ("grid.py", 'Prompt(f"{thing}-{colour}", f"{colour} {thing} on white", thing)', "thing", "expected a Prompt with an"),
        ("opponents.py", "np.stack(prepared)", "np.stack(prepared)[:1]", "opponents: encode: opponents: expected the shape"),
        ("opponents.py", '{"opponents":', '{"others":', "opponents: gives no features 'opponents', only others"),
        ("colourfulness.py", "np.hypot(*mean.T)", "np.hypot(*mean.T)[:, None]", r"Colourfulness: per_sample: expected 4 values"),
        ("colourfulness.py", "def per_sample", "def p", "generate, per-sample: does not implement 'per_sample'"),
        ("colourfulness.py", '"per-sample"', '"set"', "generate, set: does not implement 'over_set'"),
        ("slerp.py", "* a + alpha * b", "* a.mean()", r"merge: merge method slerp: expected a tensor of the shape \[2, 2\]"),
        ("slerp.py", "* b) / torch", "* b).mean() / torch", r"method slerp: expected a tensor of the shape \[.*\], found \[\]"),
        ("alignment.py", ".cpu().numpy()}", ".cpu().numpy()[1:]}", "Alignment: of_denoiser: expected 2 values in alignment"),
        ("alignment.py", "def of_denoiser", "def o", "denoise, per-sample: does not implement 'of_denoiser'"),
        ("alignment.py", '"per-sample"', '"set"', "kind: expected per-sample for a metric of denoisers"),
        (
            "colourfulness.py", '"per-sample"', '"set"\n    def over_set(self, features): return self.per_sample(features)\n',
            "Colourfulness: over_set: expected an Interval or None, found array",
        ),
    ],
)  # fmt: skip
def test_what_it_gives(suite, tmp_path, file, old, new, message):
    source = tmp_path / file
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    if file in ("slerp.py", "alignment.py"):
        merge = {"name": "merge", "method": "slerp.py:slerp", "models": ["one", "two"]}
        changes = {"methods": [merge], "metrics": ["alignment.py:Alignment"], "prompts": {"name": "mini", "limit": 2}}
        suite.write_text(yaml.safe_dump({**yaml.safe_load(suite.read_text()), **changes}))
    with pytest.raises(UserError, match=message) as caught:
        run(suite, tmp_path / "out")
    refused(caught)


def test_a_name_of_two_packages_breaks_only_its_users(tmp_path, monkeypatch):
    for package in ("one", "two"):
        install(
            tmp_path / package, monkeypatch, package, METHOD, methods=f"shared = {package}:Switch\n{package} = {package}:Switch"
        )
    with pytest.raises(UserError, match=r"'shared': is registered more than once: one:Switch \(one\) and two:Switch \(two\)"):
        registry.load("methods", "shared")
    for name in ("one", "two", "base"):
        assert registry.load("methods", name)
    assert "shared" in CliRunner().invoke(app(), ["ls"]).output


def test_a_package_that_does_not_load_stands_in_nobodys_way(tmp_path, monkeypatch, caplog):
    source = "import sys; sys.exit('no licence')"
    install(tmp_path / "site", monkeypatch, "broken", source, metrics="broken = broken:Broken", methods="broken = broken:Broken")
    message = r"metric 'broken': broken:Broken \(broken\) does not load: SystemExit: no licence"
    with pytest.raises(UserError, match=f"^--metrics: {message}") as caught:
        read_metrics(["broken"])
    refused(caught)
    with caplog.at_level(logging.WARNING):
        assert needs_of("metrics")
    assert [record.getMessage() for record in caplog.records] == [
        "left out: metrics: metric 'broken': broken:Broken (broken) does not load: SystemExit: no licence"
    ]


def test_the_former_name_of_a_group_goes_on_working_with_one_line(tmp_path, monkeypatch, caplog):
    install(tmp_path / "site", monkeypatch, "former", EXTRACTOR, features="former = former:Opponents")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert registry.load("extractors", "former").name == "opponents"
    assert [record.getMessage() for record in caplog.records] == [
        "former registers a plug-in in the entry-point group afa_bench.features, which is now called afa_bench.extractors"
    ]


def test_plug_ins_of_one_name_have_results_of_their_own(tmp_path, monkeypatch):
    """Every package says ``name = "switch"``, ``version = 1``: whose results are whose follows from where the class is from."""
    found = []
    for package, version in (("first", "1.0"), ("second", "1.0"), ("third", "2.0")):
        install(tmp_path / package, monkeypatch, package, METHOD, version, methods=f"{package} = {package}:Switch")
        found.append(registry.origin(registry.load("methods", package)))
    (tmp_path / "mine.py").write_text(METHOD)
    found.append(registry.origin(registry.load("methods", "mine.py:Switch", "", tmp_path)))
    assert found[2] == {"origin": {"qualname": "third.Switch", "distribution": "third", "version": "2.0"}}
    assert len({str(origin) for origin in found}) == 4
    for kind in registry.POINTS:
        ours = [name for name in registry.available(kind) if name not in ("first", "second", "third")]
        things = [registry.load(kind, name) for name in ours]
        assert all(registry.origin(getattr(thing, "function", thing)) == {} for thing in things)


def test_a_damaged_image_of_a_strangers_metric_is_named(tmp_path, monkeypatch):
    write(tmp_path, "opponents.py", "colourfulness.py")
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app(), ["score", ".", "--metrics", "colourfulness.py:Colourfulness", "--device", "cpu"])
    assert (shown.exit_code, "b.png" in shown.output) == (1, True)
