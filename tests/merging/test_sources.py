"""What is read is what loaders read: shards by their index, variants, whole headers; and what is written can be made again."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from merges import merge, two
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from afa_bench.checkpoints.header import read_header
from afa_bench.errors import UserError
from afa_bench.merging.checkpoint import open_checkpoint
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import destination, write_merge

STEM = "diffusion_pytorch_model"


def sharded(small: Path, target: Path, count: int = 3, variant: str = "") -> Path:
    """A pipeline folder whose U-Net lies in shards with an index."""
    shutil.copytree(small / "sd15" / "A", target)
    whole = target / "unet" / f"{STEM}.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    places = {}
    for number in range(count):
        name = f"{STEM}{variant}-{number + 1:05}-of-{count:05}.safetensors"
        part = dict(list(tensors.items())[number::count])
        save_file(part, target / "unet" / name)
        places |= dict.fromkeys(part, name)
    index = f"{STEM}.safetensors.index{variant}.json"
    (target / "unet" / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return target


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_shards_by_their_index(small: Path, tmp_path: Path, variant: str) -> None:
    folder = sharded(small, tmp_path / "A", variant=variant)
    expected = open_checkpoint(small / "sd15" / "A")
    old = {
        key: torch.zeros_like(value) for key, value in load_file(small / "sd15" / "A" / "unet" / f"{STEM}.safetensors").items()
    }
    save_file(old, folder / "unet" / f"{STEM}{variant}-00001-of-00002.safetensors")  # stale
    found = open_checkpoint(folder)
    assert found.specs.keys() == expected.specs.keys()
    assert all(torch.equal(found.read(key), expected.read(key)) for key in expected.specs)


def test_shards_that_do_not_fit_their_index(small: Path, tmp_path: Path) -> None:
    folder = sharded(small, tmp_path / "A")
    unet, index = folder / "unet", folder / "unet" / f"{STEM}.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    first = next(iter(places))
    index.write_text(json.dumps({"weight_map": {**places, first: f"{STEM}-00002-of-00003.safetensors"}}))
    with pytest.raises(UserError, match=rf"index\.json: {first}: is not in {STEM}-00002-of-00003\.safetensors"):
        open_checkpoint(folder)
    for broken in ({**places, first: "../x.safetensors"}, [], None):
        index.write_text(json.dumps({"weight_map": broken}))
        with pytest.raises(UserError, match=r"weight_map: expected the file of each tensor"):
            open_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": places}))
    (unet / f"{STEM}-00003-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"00003-of-00003\.safetensors: expected a \.safetensors file"):
        open_checkpoint(folder)
    index.unlink()
    with pytest.raises(UserError, match=r"a shard without its index"):
        open_checkpoint(folder)


def test_variants(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small / "sd15" / "A", tmp_path / "A")
    plain, half = (folder / "unet" / f"{STEM}{variant}.safetensors" for variant in ("", ".fp16"))
    tensors = load_file(plain)
    save_file({key: value.half() for key, value in tensors.items()}, half)
    key = "model.diffusion_model.out.2.weight"
    assert open_checkpoint(folder).specs[key].dtype == torch.float32
    plain.unlink()
    assert open_checkpoint(folder).specs[key].dtype == torch.float16
    shutil.copyfile(half, folder / "unet" / f"{STEM}.bf16.safetensors")
    with pytest.raises(UserError, match=r"expected .* or its index, found .*bf16\.safetensors, .*fp16\.safetensors"):
        open_checkpoint(folder)
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match="or its index, found neither"):
        open_checkpoint(folder)


def entry(start: int, end: int, shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (json.dumps({"a": entry(0, 8), "b": entry(4, 12)}), "invalid offset"),
        (json.dumps({"a": entry(0, 12), "b": entry(0, 12)}), "invalid offset"),
        (json.dumps({"a": entry(0, 4), "b": entry(8, 12)}), "invalid offset"),
        ('{"a": %s, "a": %s}' % ((json.dumps(entry(0, 12)),) * 2), "'a' is specified twice"),
        (json.dumps({"a": entry(0, 12, [4])}), "invalid shape"),
        (json.dumps({"a": entry(0, 8)}), "truncated or damaged: expected"),
        (json.dumps({"a": entry(0, 16)}), "truncated or damaged: expected"),
        (json.dumps({"a": 3}), "not a safetensors file"),
        (json.dumps([]), "not a safetensors file"),
        ("[" * 10_000, "not a safetensors file"),
        ("{}", "truncated or damaged"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(12))
    with pytest.raises(UserError, match=message):
        read_header(path)


def test_random_edits_of_a_file_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.randn(3), "b": torch.zeros(2, dtype=torch.int64)}, path, metadata={"x": "y"})
    whole = path.read_bytes()
    random = torch.Generator().manual_seed(0)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(int(torch.randint(1, 4, (), generator=random))):
            data[int(torch.randint(0, len(data), (), generator=random))] = int(torch.randint(0, 256, (), generator=random))
        cut = int(torch.randint(0, 2, (), generator=random)) * int(torch.randint(0, len(data), (), generator=random))
        path.write_bytes(data[: len(data) - cut])
        with suppress(UserError):  # nothing else is raised
            read = [entry.start for entry in read_header(path).tensors.values()]
            assert all(start <= len(data) for start in read)


def test_a_merge_made_again_from_its_metadata_has_the_same_bytes(small: Path, tmp_path: Path) -> None:
    keys = {"method": "weight-sum", "alpha": {"blocks": "GRAD_V", "base": 0.25}, "dtype": "float16"}
    models = {"zebra": small / "sd15" / "A", "ant": small / "sd15" / "B"}  # not in alphabetical order
    out, _ = merge(tmp_path, models, "one.safetensors", **keys)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    again = tmp_path / "again.yaml"
    again.write_text(metadata["afa_bench.recipe"])
    assert list(yaml.safe_load(metadata["afa_bench.recipe"])["models"]) == ["zebra", "ant"]
    write_merge(prepare(read_recipe(again), tmp_path), tmp_path / "two.safetensors")
    assert (tmp_path / "two.safetensors").read_bytes() == out.read_bytes()


def test_what_parents_say_of_themselves_is_kept(small: Path, tmp_path: Path) -> None:
    said = {"modelspec.title": "Parent", "modelspec.architecture": "stable-diffusion-v1", "modelspec.hash_sha256": "0xab"}
    first, _ = merge(tmp_path, two(small, "sd15"), "first.safetensors")
    save_file(load_file(first), tmp_path / "A.safetensors", metadata={**said, "sd_merge_recipe": "{}"})
    models = {"A": tmp_path / "A.safetensors", "B": first}
    out, _ = merge(tmp_path, models, "out.safetensors", like=str(small / "sd15" / "A"))
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    parents = json.loads(metadata["afa_bench.parents"])
    assert parents["A"] == {key: value for key, value in {**said, "sd_merge_recipe": "{}"}.items() if "hash" not in key}
    assert json.loads(parents["B"]["afa_bench.recipe"])["models"] == {name: str(small / "sd15" / name) for name in "AB"}
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1"
    assert "modelspec.hash_sha256" not in metadata


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.ckpt", r"m\.ckpt: expected a name that ends in \.safetensors, or that of a new folder"),
        ("m.PT", "expected a name that ends in"),
        ("afile/x.safetensors", "afile is no folder"),
        ("afile/x", "afile is no folder"),
        ("there.safetensors", "exists already; expected another name, or --force to replace it"),
        ("folder", "exists already; expected the name of a new folder"),
        ("folder.safetensors", "exists already; expected another name"),
    ],
)
def test_names_that_are_refused_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    for file in ("afile", "there.safetensors"):
        (tmp_path / file).write_text("")
    for folder in ("folder", "folder.safetensors"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=message):
        destination(tmp_path / name)


def test_names_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.safetensors").write_text("")
    assert destination(tmp_path / "there.safetensors", force=True) == tmp_path / "there.safetensors"
    assert destination(tmp_path / "m.SAFETENSORS") == tmp_path / "m.SAFETENSORS"
    assert destination(tmp_path / "model-v1.5") == tmp_path / "model-v1.5"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert destination(Path("~/m.safetensors")) == tmp_path / "m.safetensors"


def test_upper_case_suffixes_and_the_home_folder(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one, _ = merge(tmp_path, two(small, "sd15"), "ONE.SAFETENSORS")
    two_, _ = merge(tmp_path, {"X": Path("~/ONE.SAFETENSORS")}, "two.safetensors", like=str(small / "sd15" / "A"))
    assert load_file(one).keys() == load_file(two_).keys()


CODE = """
import sys
from contextlib import suppress
from pathlib import Path
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
folder = Path(sys.argv[1])
merge = prepare(read_recipe(folder / sys.argv[2]), folder)
print("ready", flush=True)
sys.stdin.readline()
write_merge(merge, folder / "out")
"""


def test_two_merges_to_one_folder_do_not_mix(small: Path, tmp_path: Path) -> None:
    processes = []
    for name in "AB":
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"models": {"X": str(small / "sd15" / name)}}))
        command = [sys.executable, "-c", CODE, str(tmp_path), f"{name}.yaml"]
        processes.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    codes = [process.wait(timeout=600) for process in processes]
    assert 0 in codes
    found = open_checkpoint(tmp_path / "out")
    same = []
    for name in "AB":
        source = open_checkpoint(small / "sd15" / name)
        same.append(all(torch.equal(found.read(key), source.read(key)) for key in source.specs))
    assert sum(same) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
