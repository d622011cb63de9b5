"""A model is the files that are read: what lies beside them changes nothing, and every layout of today's libraries loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_unet
from transformers import CLIPTextModel, CLIPTokenizer

from afa_bench.afa.experts import Expert
from afa_bench.checkpoints.parts import Weights, choose, read_weights
from afa_bench.errors import UserError
from afa_bench.models.group import Group, read_group
from afa_bench.models.identity import group_identity
from afa_bench.models.load import from_folder, load_group
from afa_bench.paths import zoo

UNET, TEXT = "diffusion_pytorch_model", "model"

BESIDE = [
    "one/unet/diffusion_pytorch_model.fp16.safetensors",
    "one/unet/diffusion_pytorch_model.non_ema.safetensors",
    "one/unet/._diffusion_pytorch_model.safetensors",
    "one/unet/._config.json",
    "one/unet/.cache/notes.json",
    "one/unet/diffusion_pytorch_model.bin",
    "one/unet/diffusion_pytorch_model.bin.index.json",
    "one/unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "one/unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "one/unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
    "one/unet/before/diffusion_pytorch_model.safetensors",
    "one/unet/other.safetensors",
    "one/unet/training.json",
    "one/unet/README.txt",
    "base/vae/diffusion_pytorch_model.fp16.safetensors",
    "base/text_encoder/model.fp16.safetensors",
    "base/text_encoder/pytorch_model.bin.index.json",
    "base/text_encoder/generation_config.json",
    "base/tokenizer/._tokenizer.json",
    "base/tokenizer/notes.txt",
    "base/scheduler/config.json",
    "base/scheduler/._scheduler_config.json",
    "base/README.txt",
]


@pytest.fixture
def group(tiny_group: Path, tmp_path: Path) -> Group:
    """A copy that can be changed: a pipeline and two models."""
    for name in ("base", "one", "two"):
        shutil.copytree(tiny_group.parent / name, tmp_path / name)
    (tmp_path / "g.yaml").write_text("pipeline: base\nmodels: {one: one, two: two}\n")
    return read_group("g.yaml", tmp_path, "test")


def test_what_lies_beside_is_no_part_of_a_model(group: Group, tmp_path: Path) -> None:
    """Neither of its identity nor of what an aggregator knows it by; and it loads, and merges, as before."""
    from afa_bench.merging.checkpoint import open_checkpoint

    known, expert = group_identity(group), Expert.of(tmp_path / "one")
    merged = open_checkpoint(tmp_path / "one").sha256()
    weights = load_group(group, "cpu", torch.float32).models[0].unet.state_dict()
    for name in BESIDE:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something else")
        assert group_identity(group) == known, name
    assert Expert.of(tmp_path / "one") == expert
    assert open_checkpoint(tmp_path / "one").sha256() == merged
    found = load_group(group, "cpu", torch.float32).models[0].unet.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize(
    "name",
    [
        f"one/unet/{UNET}.safetensors",
        "one/unet/config.json",
        f"base/vae/{UNET}.safetensors",
        f"base/text_encoder/{TEXT}.safetensors",
        "base/tokenizer/tokenizer.json",
        "base/tokenizer/tokenizer_config.json",
        "base/scheduler/scheduler_config.json",
    ],
)
def test_what_is_read_is_all_a_part_of_it(group: Group, tmp_path: Path, name: str) -> None:
    known = group_identity(group)
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(path.read_text() + " ")
    else:
        from safetensors.torch import load_file

        save_file({key: tensor + 1 for key, tensor in load_file(path).items()}, path)
    assert group_identity(group) != known


def saved(folder: Path, **how: object) -> torch.nn.Module:
    unet = tiny_unet(7)
    shutil.rmtree(folder)
    unet.save_pretrained(folder, **how)
    return unet


def old_names(folder: Path) -> None:
    """Shards of a variant as earlier libraries called them."""
    index = folder / f"{UNET}.safetensors.index.fp16.json"
    text = index.read_text()
    for path in sorted(folder.glob("*-of-*")):
        name = path.name.replace(f"{UNET}.fp16", UNET).replace(".safetensors", ".fp16.safetensors")
        path.rename(folder / name)
        text = text.replace(path.name, name)
    index.write_text(text)


@pytest.mark.parametrize(
    "how", [{}, {"variant": "fp16"}, {"max_shard_size": "100KB"}, {"max_shard_size": "100KB", "variant": "fp16"}], ids=str
)
def test_every_layout_of_a_denoiser_loads_and_merges(group: Group, tmp_path: Path, how: dict[str, object]) -> None:
    from afa_bench.merging.checkpoint import open_checkpoint

    folder = tmp_path / "one/unet"
    expected = saved(folder, **how).state_dict()
    if len(how) == 2:
        old_names(folder)
    assert ("max_shard_size" in how) == (len(list(folder.glob("*-of-*"))) > 1)
    found = load_group(group, "cpu", torch.float32).models[0].unet.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    assert open_checkpoint(tmp_path / "one").specs.keys()
    assert len(group_identity(group)["models"]["one"]["unet"]) == 64
    assert len(Expert.of(tmp_path / "one").sha256 or "") == 64


def test_text_encoders_of_every_layout_load(group: Group, tmp_path: Path) -> None:
    place = tmp_path / "base/text_encoder"
    encoder = from_folder(tmp_path / "base", "text_encoder", CLIPTextModel, torch.float32)
    for how in ({"variant": "fp16"}, {"max_shard_size": "10KB"}):
        shutil.rmtree(place)
        encoder.save_pretrained(place, **how)
        found = from_folder(tmp_path / "base", "text_encoder", CLIPTextModel, torch.float32).state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in encoder.state_dict().items())
        assert group_identity(group)["pipeline"]["text_encoder"]


def test_tokenizers_of_every_layout_load(group: Group, tmp_path: Path) -> None:
    place = tmp_path / "base/tokenizer"
    for keep in (("tokenizer.json", "tokenizer_config.json"), ("vocab.json", "merges.txt", "tokenizer_config.json")):
        shutil.rmtree(place)
        place.mkdir()
        for name in keep:
            shutil.copy(zoo() / "base/tokenizer" / name, place / name)
        tokenizer = from_folder(tmp_path / "base", "tokenizer", CLIPTokenizer, torch.float32)
        assert tokenizer("a red dog").input_ids == [1733, 320, 556, 728, 1734]
        assert group_identity(group)["pipeline"]["tokenizer"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([f"{UNET}.safetensors", f"{UNET}.fp16.safetensors"], Weights(f"{UNET}.safetensors")),
        ([f"{TEXT}.fp16.safetensors"], Weights(f"{TEXT}.fp16.safetensors", (), "fp16")),
        (
            [f"{TEXT}.safetensors.index.json", f"{TEXT}-00001-of-00001.safetensors"],
            Weights(f"{TEXT}.safetensors.index.json", (f"{TEXT}-00001-of-00001.safetensors",)),
        ),
        (
            [f"{UNET}.safetensors.index.fp16.json", *(f"{UNET}.fp16-0000{part}-of-00002.safetensors" for part in (1, 2))],
            Weights(
                f"{UNET}.safetensors.index.fp16.json",
                (f"{UNET}.fp16-00001-of-00002.safetensors", f"{UNET}.fp16-00002-of-00002.safetensors"),
                "fp16",
            ),
        ),
    ],
)
def test_weights_are_chosen_by_the_names_that_libraries_write(names: list[str], expected: Weights) -> None:
    assert choose(names, "x") == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found neither"),
        (["pytorch_model.bin"], r"found pytorch_model\.bin"),
        (["other.safetensors"], r"found other\.safetensors"),
        ([f"{UNET}-00001-of-00002.safetensors"], "a shard without its index"),
        ([f"{UNET}.fp16.safetensors", f"{UNET}.bf16.safetensors"], "bf16.*fp16"),
        ([f"{UNET}.safetensors", f"{UNET}.safetensors.index.json"], "index.json"),
    ],
)
def test_what_may_be_either_or_is_not_there_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(names, "x")


def test_an_index_of_shards_that_are_not_there_or_elsewhere_is_refused(tmp_path: Path) -> None:
    for places, message in (({"a": "../x.safetensors"}, "weight_map"), ([], "weight_map")):
        (tmp_path / f"{UNET}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path)
