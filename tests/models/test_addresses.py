"""What people write in place of a model's path is named, with the entry that would be right."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.models.addresses import address_of, refuse_unknown, require_place
from afa_bench.models.group import read_group_file

HUB, CIVITAI = "https://huggingface.co", "https://civitai.com"

MEANT: dict[str, str] = {
    f"{HUB}/owner/name": "{hub: owner/name}",
    f"{HUB}/owner/name/": "{hub: owner/name}",
    "http://www.hf.co/owner/name": "{hub: owner/name}",
    f"{HUB}/owner/name/tree/dev": "{hub: owner/name, revision: dev}",
    f"{HUB}/owner/name/blob/main/a%20b.safetensors": "{hub: owner/name, file: a b.safetensors}",
    f"{HUB}/owner/name/resolve/fp16/x/y.safetensors?download=true": "{hub: owner/name, file: x/y.safetensors, revision: fp16}",
    f"{HUB}/datasets/owner/name": "which are no models",
    "hub:owner/name": "{hub: owner/name}",
    "hf://owner/name@dev": "{hub: owner/name, revision: dev}",
    "hub:owner/name/m.safetensors": "{hub: owner/name, file: m.safetensors}",
    f"{CIVITAI}/models/4201/realistic-vision?modelVersionId=130072": "{civitai: 130072}",
    f"{CIVITAI}/models/4201?modelVersionId=130072&x=1": "{civitai: 130072}",
    "https://www.civitai.red/models/4201?modelVersionId=130072": "{civitai: 130072}",
    f"{CIVITAI}/api/download/models/130072?type=Model&format=SafeTensor": "{civitai: 130072}",
    f"{CIVITAI}/model-versions/130072": "{civitai: 130072}",
    f"{CIVITAI}/api/v1/model-versions/130072": "{civitai: 130072}",
    f"{CIVITAI}/models/4201/realistic-vision": "names no version (modelVersionId); expected {civitai: VERSION}",
    "civitai:130072": "{civitai: 130072}",
    "civitai:4201@130072": "{civitai: VERSION}",
    "urn:air:sd1:checkpoint:civitai:4201@130072": "{civitai: 130072}",
    "https://example.org/m.safetensors": "an address; models are fetched from the hub and CivitAI",
    "C:\\models\\m.safetensors": "a path of Windows",
    "D:/models/m.safetensors": "a path of Windows",
    "\\\\server\\m.safetensors": "a path of Windows",
    "models\\m": "a path of Windows",
    "m.ckpt": "a pickle, which can run code when it is read; expected safetensors",
    "m.PT": "a pickle",
    "m.bin": "a pickle",
    "m-Q4_0.gguf": "quantised weights of GGUF; expected safetensors",
    "m.onnx": "a network of ONNX; expected safetensors",
    "unet/m.safetensors.index.json": "the index of a model in shards; expected its folder",
    "owner/name": "expected {hub: owner/name} if it is a repository of the hub",
    "nowhere": "no such folder",
    "m.safetensors": "no such file",
    "./a/b/c": "no such folder",
}


def group(folder: Path, **content: Any) -> Path:
    path = folder / "g.yaml"
    path.write_text(yaml.safe_dump({"pipeline": "zoo:base", "models": {"a": "zoo:mini-1/people"}, **content}))
    return path


def suite(folder: Path) -> Path:
    (folder / "p.txt").write_text("a red dog\n")
    content = {"name": "s", "groups": ["g.yaml"], "prompts": {"name": "file", "path": "p.txt"}, "methods": ["base"]}
    content |= {"metrics": [{"name": "is", "features": "lite0", "splits": 1}], "steps": [1], "size": 32}
    (folder / "s.yaml").write_text(yaml.safe_dump(content))
    return folder / "s.yaml"


@pytest.mark.parametrize("text", MEANT)
def test_a_place_that_is_none_is_named_with_the_entry_that_is_meant(tmp_path: Path, text: str) -> None:
    """In a group's pipeline and models, as a text and under a key, by whatever reads groups."""
    for content, key in (({"models": {"a": text}}, "models.a"), ({"models": {"a": {"folder": text}}}, "models.a")):
        path = group(tmp_path, **content)
        for read in (lambda file: file.resolved(), lambda file: file.without_files()):
            with pytest.raises(UserError) as caught:
                read(read_group_file(str(path), Path(), "test"))
            if text.endswith(".safetensors") and key == "models.a" and "no such" in MEANT[text]:
                assert "no such" in str(caught.value)
            assert MEANT[text].split("such f")[0] in str(caught.value)
            assert str(caught.value).startswith(f"{path}: {key}: ")
    with pytest.raises(UserError, match=r"g\.yaml: pipeline: "):
        read_group_file(str(group(tmp_path, pipeline=text)), Path(), "test").without_files()


@pytest.mark.parametrize("command", ["validate", "run", "fetch"])
def test_every_verb_says_it(tmp_path: Path, command: str) -> None:
    """All but ``fetch``, which brings what is elsewhere, of folders that are not there too."""
    places = ["https://civitai.com/models/4201?modelVersionId=130072", "m.ckpt", *(["nowhere"] if command != "fetch" else [])]
    for text in places:
        group(tmp_path, models={"a": text})
        with pytest.raises(UserError, match=r"g\.yaml: models\.a: "):
            app()([command, str(suite(tmp_path)), *(["--out", str(tmp_path / "out")] if command == "run" else [])])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hub": "https://huggingface.co/owner/name"}, "expected {hub: owner/name}"),
        ({"hub": "name"}, "hub: name: expected owner/name"),
        ({"hub": "owner/name/unet"}, "hub: owner/name/unet: expected owner/name"),
        ({"civitai": "https://civitai.com/models/1?modelVersionId=2"}, "expected {civitai: 2}"),
        ({"civitai": "name"}, "civitai: "),
        ({"hub": "a/b", "sha256": "0" * 64}, "sha256: expected with a single file"),
        ({"folder": ".", "sha256": "0" * 64}, "sha256: expected with a single file"),
        ({"folder": ".", "revision": "main"}, "revision: expected with hub"),
        ({"civitai": 1, "revision": "main"}, "revision: expected with hub"),
        ({"civitai": 1, "sha256": "ABCDEF1234"}, "expected the 64 hexadecimal digits of a sha256"),
        ({"civitai": 1, "file": "m.ckpt"}, "m.ckpt: expected a .safetensors file"),
        ({"hub": "a/b", "file": "m.gguf"}, "m.gguf: expected a .safetensors file"),
        ({"hub": "a/b", "civitai": 1}, "expected one of folder, file, hub and civitai"),
    ],
)
def test_keys_that_do_not_belong_together_are_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_group_file(str(group(tmp_path, models={"a": entry})), Path(), "test")
    assert message in str(caught.value)
    assert "g.yaml: models" in str(caught.value)


def test_a_local_file_is_held_to_its_sha256(tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save_file
    from torch import zeros

    save_file({"model.diffusion_model.x": zeros(3)}, tmp_path / "m.safetensors")
    found = hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    for text, message in ((found, "has no tensor of it"), (found.upper(), "has no tensor of it"), ("0" * 64, "wrong hash")):
        file = read_group_file(str(group(tmp_path, models={"a": {"file": "m.safetensors", "sha256": text}})), Path(), "test")
        for read in (file.resolved, file.without_files):
            with pytest.raises(UserError, match=rf"models\.a: .*m\.safetensors: {message}"):
                read()


def test_a_model_that_the_data_folder_is_to_have_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from afa_bench.needs import missing_of
    from afa_bench.suite import read_suite

    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    group(tmp_path, models={"a": "data:mine"})
    assert missing_of(read_suite(suite(tmp_path))) == [str(tmp_path / "data/mine")]


def test_fetch_takes_a_groups_file_and_its_dry_run_ends_as_it_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from servers import World, safetensors, served

    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    path = group(tmp_path, models={"a": {"hub": "owner/name", "file": "m.safetensors"}})
    with served(World({"/owner/name/m.safetensors": safetensors(b"x")})) as world:
        monkeypatch.setenv("HF_ENDPOINT", world.address)
        assert app()(["fetch", str(path), "--dry-run"], standalone_mode=False) in (None, 0)
        assert "to fetch" in capsys.readouterr().out
        world.files.clear()
        for more in ([], ["--dry-run"]):
            with pytest.raises(SystemExit) as ended:
                app()(["fetch", str(path), *more])
            assert ended.value.code == 2
            assert "not there (status 404)" in capsys.readouterr().err
    for more in ([], ["--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            app()(["fetch", str(path), "--from", str(tmp_path), *more])
        assert ended.value.code == 2
        assert f"not in {tmp_path}" in capsys.readouterr().err.replace("\n", "")


QUIET = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

PLACES = {
    "https://huggingface.co/owner/name/tree/dev": "a page of the hub; expected owner/name@dev",
    "https://civitai.com/models/4201?modelVersionId=1": "a page of CivitAI; expected a folder, or a pipeline",
    "https://example.org/x": "expected a folder, or a repository of the hub",
    "C:\\models\\m": "a path of Windows",
    "m.ckpt": "a pickle",
    "./nowhere": "no such folder: ./nowhere; expected one, or a repository of the hub: owner/name",
    "nowhere": "no such folder",
    "a/b/c": "no such folder",
}


@pytest.mark.parametrize("text", PLACES)
@pytest.mark.parametrize("key", ["experts", "base", "sabw"])
def test_a_stock_pipeline_is_made_of_folders_and_repositories(tmp_path: Path, text: str, key: str) -> None:
    from afa_bench.afa.pipeline import AFAPipeline

    places: dict[str, Any] = {"experts": [tmp_path, tmp_path], "base": tmp_path, "sabw": tmp_path}
    places[key] = [tmp_path, text] if key == "experts" else text
    with pytest.raises(UserError) as caught:
        AFAPipeline.from_experts(**places)
    assert str(caught.value).startswith(f"AFAPipeline: {key}: ")
    assert PLACES[text] in str(caught.value)


def test_a_single_file_is_loaded_before(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="a single file; expected a folder, or the pipeline that from_single_file makes of it"):
        require_place(str(tmp_path / "m.safetensors"), "x")
    for text in (str(tmp_path), "owner/name", "owner/name@main"):
        require_place(text, "x")


@QUIET
@given(st.text(max_size=60) | st.from_regex(r"(https?://|hub:|civitai:|urn:air:)[a-z./?=@:0-9\\[-]{0,30}", fullmatch=True))
def test_any_text_is_a_path_or_something_that_is_named(text: str) -> None:
    found = address_of(text)
    assert found is None or str(found)
    with contextlib.suppress(UserError):
        refuse_unknown(text, "x")
        require_place(text, "x")
