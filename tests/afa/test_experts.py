"""An aggregator is refused for other models than its own, and for its own in another order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from afa_bench.afa.experts import Expert, denoiser_folder, experts_of, require_experts
from afa_bench.afa.method import AFA, AFAOptions
from afa_bench.afa.sabw import SABW
from afa_bench.errors import UserError
from afa_bench.models.group import Group, read_group
from afa_bench.models.load import LoadedGroup, load_group

ONE, TWO = Expert("one", sha256="1" * 64), Expert("two", sha256="2" * 64)


def named(*names: str) -> list[Expert]:
    return [Expert(name) for name in names]


def test_models_are_compared_by_sha256_else_by_name() -> None:
    require_experts([ONE, TWO], [Expert("uno", sha256="1" * 64), Expert("one", sha256="2" * 64)])
    require_experts([ONE, TWO], [None, None])
    require_experts(named("one", "two"), [ONE, Expert("/models/two")])
    require_experts(named("someone/one", "two"), named("one", "mine"))
    require_experts([], [ONE, TWO])
    with pytest.raises(UserError, match=r"experts: model 1 is two with the sha256 2{64}; expected one with the sha256 1{64}"):
        require_experts([ONE, TWO], [TWO, ONE])
    with pytest.raises(UserError, match=r"experts: model 2 is /models/one; expected two, .*\(check: false allows others\)"):
        require_experts(named("someone/one", "two"), named("new", "/models/one"))
    with pytest.raises(UserError, match="experts: model 1 is someone/two@main; expected one"):
        require_experts(named("one", "two"), named("someone/two@main", "one"))


def turned(group: Group) -> Group:
    return group.model_copy(update={"models": group.models[::-1]})


@pytest.fixture(scope="module")
def zoo() -> LoadedGroup:
    return load_group(read_group("mini-1", Path(), "test"), "cpu", torch.float32)


@pytest.mark.parametrize("hashed", [False, True])
def test_the_method_refuses_another_order(hashed: bool, zoo: LoadedGroup, tmp_path: Path) -> None:
    """The zoo's aggregators name their experts; what ``afa-bench train`` writes has their sha256 too."""
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


@pytest.mark.parametrize(
    ("names", "variant", "expected"),
    [
        (["unet/config.json", "unet/{}.safetensors", "unet/{}.fp16.safetensors", "m.ckpt"], None, "unet/{}.safetensors"),
        (["unet/config.json", "unet/{}.safetensors", "unet/{}.fp16.safetensors"], "fp16", "unet/{}.fp16.safetensors"),
        (["unet/config.json", "unet/{}.fp16.safetensors"], None, "unet/{}.fp16.safetensors"),
        (["config.json", "{}.safetensors", "v1-5-pruned.safetensors"], None, "{}.safetensors"),
    ],
)
def test_a_repository_s_expert_is_the_file_that_is_read(
    names: list[str], variant: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub stands beside it: a folder, of which those files come that are asked for."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    from afa_bench.afa.pipeline import _folder
    from afa_bench.checkpoints.parts import read_weights

    stem = "diffusion_pytorch_model"

    def snapshot(name: str, allow_patterns: list[str], ignore_patterns: list[str] | None = None, **_: object) -> str:
        files = [file.format(stem) for file in names]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_bytes(b"{}")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    folder = _folder("owner/name", {"variant": variant} if variant else {})
    _, files = read_weights(denoiser_folder(folder), variant)
    assert files == [folder / expected.format(stem)]
    assert len(list(folder.rglob("*.safetensors"))) == 1
