"""The library's face: what ``import afa_bench`` offers, and what each function takes, gives, prints and raises."""

from __future__ import annotations

import ast
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkpoints import SD15, checkpoint
from PIL import Image
from results_factory import METHODS, write_cell, write_results
from safetensors.torch import load_file
from typer.testing import CliRunner

import afa_bench
from afa_bench.cli import app
from afa_bench.errors import NotFetchedError, NotFoundError, NothingToDoError, UserError
from afa_bench.gate import Policy
from afa_bench.merging.recipe import as_recipe
from afa_bench.metrics.inception_score import InceptionScore
from afa_bench.suite import Suite, as_suite, find_suite, read_suite
from afa_bench.tables.load import CellResult

IS = "is:features=lite0:splits=1"


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_import_brings_nothing_with_it() -> None:
    code = "import sys; before = {*sys.modules}; import afa_bench; print(sorted({*sys.modules} - before))"
    brought = {module.partition(".")[0] for module in ast.literal_eval(python(code))}
    assert brought <= {*sys.stdlib_module_names, "afa_bench"}


def test_every_name_is_there_and_known_to_type_checkers() -> None:
    assert set(afa_bench.__all__) <= set(dir(afa_bench))
    assert all(getattr(afa_bench, name) is not None for name in afa_bench.__all__)
    (checked,) = (node for node in ast.parse(Path(afa_bench.__file__).read_text()).body if isinstance(node, ast.If))
    for node in checked.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert getattr(__import__(node.module, fromlist=[alias.name]), alias.name) is getattr(afa_bench, alias.name)
    known = {alias.name for node in checked.body for alias in node.names}
    assert known == {*afa_bench.__all__} - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        afa_bench.rum  # noqa: B018


@pytest.mark.parametrize("first", ["import afa_bench.gate", "from afa_bench.tables import Table", "afa_bench.run"])
def test_functions_stay_where_modules_of_their_names_are_imported(first: str) -> None:
    code = (
        f"import afa_bench\n{first}\nfrom afa_bench.gate import judge\nimport afa_bench.gate.policy\n"
        "print(afa_bench.gate.__module__, afa_bench.run.__module__, judge.__module__)"
    )
    assert python(code) == "afa_bench.api afa_bench.api afa_bench.gate.verdicts"


def test_what_only_reads_imports_no_torch() -> None:
    code = """
import sys, afa_bench as ab
results = ab.load_results("mini_full")
results.samples(), results.summaries(), str(ab.table(results, steps=20, metrics="clip_t_mini", versus="afa"))
ab.compare(results, "mini_full", steps=20, groups="mini-1", only="afa", metrics="clip_t_mini")
ab.gate(results, results, {"metrics": {"clip_t_mini": {"margin": 1}}, "steps": [20], "methods": ["afa"]})
ab.Results, ab.Method, ab.Metric, ab.Extractor, ab.PromptSet, ab.Suite
print(sorted({"torch", "diffusers", "transformers"} & {*sys.modules}))
"""
    assert python(code) == "[]"


def test_a_run_takes_a_file_keys_or_a_suite_and_prints_nothing(
    tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny_suite.parent)
    keys = yaml.safe_load(tiny_suite.read_text())
    made = {"only": "one", "device": "cpu", "batch_size": 4, "limit": 2}
    first = afa_bench.run(tiny_suite, out=tmp_path / "out", **made)
    assert (first.outcome.generated, first.outcome.failed, first.folder) == (4, 0, tmp_path / "out" / "tiny-limit2")
    assert [result.cell.label for result in first.results] == ["one"]
    for suite in (str(tiny_suite), keys, read_suite(tiny_suite), Suite.model_validate(keys)):
        again = afa_bench.run(suite, out=str(tmp_path / "out"), **made)
        assert (again.outcome.generated, again.outcome.reused, again.cells) == (0, 4, first.cells)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("afa_bench.terminal.QUIET", 0)  # seconds between the lines that stand for bars where no terminal is
    afa_bench.run(keys, out=tmp_path / "out", progress=True, **{**made, "limit": 1})
    drawn = capfd.readouterr()
    assert "generate" in drawn.err
    assert drawn.out == ""


def test_a_suite_by_its_keys_extends_another(tmp_path: Path) -> None:
    suite = as_suite({"extends": "mini", "name": "mine", "steps": [5]})
    assert (suite.name, suite.steps, suite.groups) == ("mine", (5,), read_suite(find_suite("mini")).groups)
    for keys, words in (
        ({"extends": "mini"}, "suite: name: a suite that extends another needs a name of its own"),
        ({"extends": "minni", "name": "x"}, "did you mean 'mini'"),
        ({"name": "x", "stps": 3}, "suite: stps: unknown key: did you mean 'steps'"),
        ({"extends": "mini", "name": "x", "file": "y"}, "suite: file: unknown key"),
    ):
        with pytest.raises(UserError, match=words):
            as_suite(keys)


def test_scores_take_names_mappings_or_metrics_and_print_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (20 * number, 100, 200 - 9 * number)).save(f"images/{number:02}.png")
    kinds = [IS, [{"name": "is", "features": "lite0", "splits": 1}], [InceptionScore(features="lite0", splits=1)]]
    scored = [afa_bench.score("images", metrics, device="cpu") for metrics in kinds]
    assert scored[0].folder == Path("scores/images")
    assert len({repr(one.values) for one in scored}) == 1
    assert set(scored[0].values) == {"is_lite0"}
    assert len(scored[0].samples()) == 12
    for metrics, words in (([{"features": "lite0"}], "expected a mapping with a name"), ("iss", "unknown metric 'iss'")):
        with pytest.raises(ValueError, match=words):
            afa_bench.score("images", metrics)
    assert capfd.readouterr() == ("", "")


def test_a_merge_takes_a_file_keys_or_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        checkpoint(tmp_path / f"{name}.safetensors", SD15, seed)
    keys = {"models": {"A": "a.safetensors", "B": "b.safetensors"}, "weights": [0.25, 0.75]}
    Path("recipe.yaml").write_text(yaml.safe_dump(keys))
    made = [
        afa_bench.merge(recipe, f"{number}.safetensors")
        for number, recipe in enumerate(["recipe.yaml", Path("recipe.yaml"), keys, as_recipe(keys, "recipe")])
    ]
    assert len({one.path.read_bytes() for one in made}) == 1
    assert made[0].tensors == len(load_file(made[0].path))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match=r"^recipe: weights: "):
        afa_bench.merge({**keys, "weights": [1, 1]}, "x.safetensors")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "tiny")


def test_results_as_objects_and_as_tables_of_pandas(results: Path) -> None:
    found = afa_bench.load_results(results)
    assert found is afa_bench.load_results(found)
    assert (found.folder, found.suite, len(found)) == (results, "tiny", len(list(results.glob("*/cell.json"))))
    assert all(isinstance(result, CellResult) for result in found)
    summaries, samples = found.summaries(), found.samples()
    assert len(summaries) == sum(len(result.summary.metrics) for result in found if result.summary)
    assert len(samples) == sum(result.summary.samples for result in found if result.summary)
    chosen = summaries.query("group == 'mini-1' and label == 'afa' and metric == 'clip_t_mini' and steps == 10")
    one = samples.query("group == 'mini-1' and label == 'afa' and steps == 10")
    assert chosen["value"].item() == pytest.approx(one["clip_t_mini"].mean(), abs=1e-4)
    assert chosen["low"].item() < chosen["value"].item() < chosen["high"].item()


def test_the_functions_are_what_the_commands_do(results: Path) -> None:
    def command(*words: str) -> str:
        return CliRunner().invoke(app(), list(words)).stdout

    one = str(results)
    table = afa_bench.table(results, steps=10, only="afa,base", versus="afa", metrics=["clip_t_mini"])
    options = ("--steps", "10", "--only", "afa,base", "--vs", "afa", "--metrics", "clip_t_mini")
    assert str(table) == command("table", one, *options)
    assert table.render("csv") == command("table", one, *options, "-f", "csv")
    assert command("compare", one, one).count("same") == len(afa_bench.compare(results, one))
    with pytest.raises(UserError, match="unknown format 'docx'"):
        table.render("docx")


def test_a_decision(results: Path, tmp_path: Path) -> None:
    policy = {"metrics": {"clip_t_mini": {"margin": 0.02}}}
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(policy))
    decisions = [afa_bench.gate(results, results, held) for held in (policy, file, str(file), Policy.model_validate(policy))]
    assert {decision.headline for decision in decisions} == {decisions[0].headline}
    assert decisions[0].passed
    for order, (method, label, skill) in enumerate(METHODS):
        write_cell(tmp_path / "worse", "mini-1", method, label, skill - 0.1, order)
    assert not afa_bench.gate(results, tmp_path / "worse", policy).passed
    with pytest.raises(ValueError, match="policy: metrics: 'clip' is in neither of the results"):
        afa_bench.gate(results, results, {"metrics": {"clip": {"margin": 1}}})


def test_errors_are_ordinary_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        afa_bench.load_results(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"recipe\.yaml: cannot be read"):
        afa_bench.merge(tmp_path / "recipe.yaml", tmp_path / "m.safetensors")
    with pytest.raises(FileNotFoundError, match="no such suite"):
        afa_bench.run("minni")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDoError):
        afa_bench.load_results(tmp_path / "empty")
    for kind in (UserError, NothingToDoError, NotFoundError, NotFetchedError):
        error = pickle.loads(pickle.dumps(kind("one\n line")))
        assert (type(error), str(error)) == (kind, "one line")
        assert isinstance(error, ValueError)
        assert isinstance(error, FileNotFoundError) == issubclass(kind, NotFoundError)


def test_a_name_that_is_no_text_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"images\xff")
    (tmp_path / odd).mkdir()
    with pytest.raises(UserError, match="not UTF-8"):
        afa_bench.score(tmp_path / odd, IS)
    monkeypatch.chdir(tmp_path / odd)  # by which the results would be called
    with pytest.raises(UserError, match="not UTF-8"):
        afa_bench.score(".", IS)


def test_an_error_in_a_file_that_is_being_written_stays_what_it_is(tmp_path: Path) -> None:
    """A file that is not found is an OSError, too: not one of the file that is written."""
    from afa_bench.store.atomic import new_folder, writing
    from afa_bench.store.outputs import output_folder

    for context in (writing(tmp_path / "file"), new_folder(tmp_path / "new"), output_folder(tmp_path / "out", "report")):
        with pytest.raises(NotFoundError, match=r"^it is not there$"), context:
            raise NotFoundError("it is not there")


def test_images_that_are_too_large_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is no ValueError of the library that decodes."""
    from afa_bench.images import decode

    monkeypatch.setattr(decode, "MOST_PIXELS", 10)
    data = io.BytesIO()
    Image.new("L", (4, 4)).save(data, "PNG")
    with pytest.raises(UserError, match=r"^x.png: too large: expected at most 10 pixels: 4 x 4$"):
        decode.decode(data.getvalue(), "x.png")
