"""An aggregator is refused for other models than its own, and for its own in another order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from afa_bench import AFAPipeline, registry
from afa_bench.afa.experts import HASHES, Expert, experts_of, require_experts, trained_for
from afa_bench.afa.method import AFA, AFAOptions
from afa_bench.afa.sabw import SABW
from afa_bench.errors import UserError
from afa_bench.mini import zoo as packaged_zoo
from afa_bench.models.group import Group, ModelRef, read_group
from afa_bench.models.load import LoadedGroup, load_group

ONE, TWO = Expert("one", sha256="1" * 64), Expert("two", sha256="2" * 64)


def named(*names: str) -> list[Expert]:
    return [Expert(name) for name in names]


def test_models_are_compared_by_sha256_else_by_name() -> None:
    require_experts([ONE, TWO], [Expert("uno", sha256="1" * 64), Expert("one", sha256="2" * 64)])
    require_experts([ONE, TWO], [None, None])
    require_experts(named("one", "two"), [ONE, Expert("/models/two")])
    require_experts(named("someone/one", "two"), named("one", "/models/two/"))
    require_experts([], [ONE, TWO])
    with pytest.raises(UserError, match=r"experts: model 1 is two with the sha256 2{64}; expected one with the sha256 1{64}"):
        require_experts([ONE, TWO], [TWO, ONE])
    with pytest.raises(UserError, match=r"experts: model 2 is /models/one; expected two, .*\(check: false allows others\)"):
        require_experts(named("someone/one", "two"), named("one", "/models/one"))
    with pytest.raises(UserError, match="experts: model 1 is someone/two@main; expected one"):
        require_experts(named("one", "two"), named("someone/two@main", "one"))
    with pytest.raises(UserError, match="experts: model 2 is mine; expected two"):
        require_experts(named("one", "two"), named("one", "mine"))
    with pytest.raises(UserError, match="experts: found 1 models; expected 2: one, two"):
        require_experts([ONE, TWO], [ONE])


def test_what_is_not_compared_by_sha256_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        require_experts([], [Expert("a"), Expert("b")], "first")
        require_experts([ONE, Expert("b")], [None, Expert("/models/b", sha256="3" * 64)], "second")
    assert [record.getMessage() for record in caplog.records] == [
        "first: experts: these weights do not say which models they were trained for: nothing is compared",
        "second: experts: model 1 is a loaded one: whether it is one is not compared",
        "second: experts: model 2, /models/b, is compared by its name: there is no sha256",
    ]


def turned(group: Group) -> Group:
    return group.model_copy(update={"models": group.models[::-1]})


@pytest.fixture(scope="module")
def zoo() -> LoadedGroup:
    return load_group(read_group("mini-1", Path(), "test"), "cpu", torch.float32)


TRAINED = {name: registry.load("methods", name) for name in ("afa", "moe-block", "moe-denoiser")}
"""All methods whose weights were trained for a group."""


def shipped() -> Iterator[Any]:
    for path in sorted(packaged_zoo().glob("mini-*/*/config.json")):
        yield pytest.param(path.parent, id=path.parent.relative_to(packaged_zoo()).as_posix())


@pytest.mark.parametrize("folder", shipped())
def test_whatever_ships_has_the_hashes_of_its_models(folder: Path) -> None:
    assert trained_for(folder) == experts_of(read_group(folder.parent.name, Path(), "test"))
    assert all(expert.sha256 for expert in trained_for(folder))


def others(case: str) -> Group:
    """A group whose models are not mini-1's, or are not in their places."""
    own, other = (read_group(name, Path(), "test") for name in ("mini-1", "mini-2"))
    pairs = zip(own.models, other.models, strict=True)
    models = {
        "of another group": other.models,
        "under the same names": tuple(ModelRef(name=one.name, path=two.path) for one, two in pairs),
        "in another order": own.models[::-1],
        "one of them": (*own.models[:2], other.models[0]),
        "fewer": own.models[:2],
    }[case]
    return own.model_copy(update={"models": models})


@pytest.mark.parametrize("case", ["of another group", "under the same names", "in another order", "one of them", "fewer"])
@pytest.mark.parametrize("name", TRAINED)
def test_weights_of_another_group_are_refused_before_any_is_read(name: str, case: str) -> None:
    """``validate`` and ``run`` ask a method for its weights before they load anything; ``maps`` as it builds the ensemble."""
    method = TRAINED[name]()
    options = method.Options()
    with pytest.raises(UserError, match=r"experts: (model \d is .*; expected .*\(check: false|found 2 models; expected 3)"):
        method.weights(others(case), options)
    assert method.weights(others(case), method.Options(check=False))
    assert options.model_dump() == method.Options(check=True).model_dump()
    assert "check" not in options.model_dump(), "it is no part of an identity that was"


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_models_under_other_names_are_taken(name: str) -> None:
    group = read_group("mini-1", Path(), "test")
    renamed = tuple(ModelRef(name=f"my {model.name}", path=model.path) for model in group.models)
    assert TRAINED[name]().weights(group.model_copy(update={"models": renamed}), TRAINED[name].Options())


@pytest.mark.parametrize("held", [False, True])
def test_a_pipeline_refuses_them_too(held: bool) -> None:
    folder = packaged_zoo() / "mini-1" / "sabw"
    sabw = SABW.read(folder) if held else folder
    with pytest.raises(UserError, match=r"SABW: experts: model 1 is .*natural with the sha256"):
        AFAPipeline.from_experts([ref.path for ref in others("of another group").models], sabw=sabw, base=packaged_zoo() / "base")


def test_no_experts_are_none_and_not_the_aggregator_s() -> None:
    with pytest.raises(UserError, match="experts: found 0; expected at least two models"):
        AFAPipeline.from_experts([], sabw=packaged_zoo() / "mini-1" / "sabw")


@pytest.mark.parametrize(
    ("config", "hashes", "message"),
    [
        ('{"experts": 3}', "", r"config\.json: experts: expected names, or mappings"),
        ('{"experts": [3]}', "", r"config\.json: experts: expected names, or mappings"),
        ('{"experts": [{"sha256": "1"}]}', "", r"config\.json: experts: expected names, or mappings"),
        ("{", "", r"config\.json: "),
        ('{"experts": ["a"]}', "1234  a", r"experts\.sha256:1: expected a sha256, two spaces and a name"),
        ('{"experts": ["a"]}', "\xff", r"experts\.sha256: .*expected UTF-8"),
    ],
)
def test_a_damaged_record_of_experts_is_named(tmp_path: Path, config: str, hashes: str, message: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / HASHES).write_bytes(hashes.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        trained_for(tmp_path)


@pytest.mark.parametrize("hashed", [False, True])
def test_the_method_refuses_another_order(hashed: bool, zoo: LoadedGroup, tmp_path: Path) -> None:
    """By the file beside the zoo's aggregators, and by the configuration that ``afa-bench train`` writes."""
    group, models, options = zoo.group, zoo.models, AFAOptions()
    if hashed:
        sabw = SABW.read(group.sabw)  # type: ignore[arg-type]
        sabw.register_to_config(experts=[expert.entry() for expert in experts_of(group)])
        sabw.save_pretrained(tmp_path)
        options = AFAOptions(sabw=tmp_path)
    AFA().build(group, models, options)
    with pytest.raises(UserError, match="SABW: experts: model 1 is things"):
        AFA().build(turned(group), models[::-1], options)
    AFA().build(turned(group), models[::-1], options.model_copy(update={"check": False}))


def test_the_check_is_no_part_of_an_identity_that_was() -> None:
    assert AFAOptions().model_dump(mode="json") == {"sabw": None}
    assert AFAOptions(without=["text"], check=False).model_dump(mode="json") == {
        "sabw": None,
        "without": ["text"],
        "check": False,
    }
