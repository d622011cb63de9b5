"""Repositories in the layouts that libraries write: their files are listed, and those that are read are fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from servers import COMMIT, World, safetensors, served

from afa_bench.architectures.flux import FLUX
from afa_bench.architectures.sd15 import SD15
from afa_bench.architectures.sdxl import SDXL
from afa_bench.errors import NotFetchedError, UserError
from afa_bench.fetch import HubModel, Library
from afa_bench.fetch.engine import Fetcher
from afa_bench.fetch.layout import needed_files
from afa_bench.fetch.transfer import Patience
from afa_bench.models.entry import architecture_parts

QUICK = Patience(tries=2, backoff=0.01, timeout=0.5)
W, T = "diffusion_pytorch_model", "model"

SD15_REPOSITORY = [
    *("model_index.json", "README.md", ".gitattributes", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt"),
    *(
        "unet/config.json",
        f"unet/{W}.bin",
        f"unet/{W}.safetensors",
        f"unet/{W}.fp16.safetensors",
        f"unet/{W}.non_ema.safetensors",
    ),
    *("vae/config.json", f"vae/{W}.safetensors", f"vae/{W}.fp16.safetensors"),
    *("text_encoder/config.json", f"text_encoder/{T}.safetensors", f"text_encoder/{T}.fp16.safetensors"),
    *("tokenizer/merges.txt", "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json"),
    *("scheduler/scheduler_config.json", "safety_checker/config.json", f"safety_checker/{T}.safetensors"),
    *("feature_extractor/preprocessor_config.json",),
]
SHARDS = [f"unet/{W}.safetensors.index.json", *(f"unet/{W}-0000{part}-of-00002.safetensors" for part in (1, 2))]

MODELS: dict[str, tuple[list[str], list[str]]] = {
    "everything": (
        SD15_REPOSITORY,
        [
            *("unet/config.json", f"unet/{W}.safetensors", "text_encoder/config.json", f"text_encoder/{T}.safetensors"),
            "scheduler/scheduler_config.json",
        ],
    ),
    "a U-Net alone": (["unet/config.json", f"unet/{W}.safetensors"], ["unet/config.json", f"unet/{W}.safetensors"]),
    "a U-Net at the root": (["README.md", "config.json", f"{W}.safetensors"], ["config.json", f"{W}.safetensors"]),
    "a variant alone": (["unet/config.json", f"unet/{W}.fp16.safetensors"], ["unet/config.json", f"unet/{W}.fp16.safetensors"]),
    "shards": (["unet/config.json", *SHARDS, f"unet/{W}.fp16.safetensors"], ["unet/config.json", *SHARDS]),
    "a text encoder's leftovers": (
        ["unet/config.json", f"unet/{W}.safetensors", "text_encoder/README.md"],
        ["unet/config.json", f"unet/{W}.safetensors"],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_models_files_are_those_that_are_read(name: str) -> None:
    names, expected = MODELS[name]
    assert needed_files(names, architecture_parts(SD15(), shared=False), "x") == expected


PIPELINE = [name for name in SD15_REPOSITORY if not name.startswith("tokenizer/")]
TOKENIZERS = {
    "as before": ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"],
    "one file": ["tokenizer.json", "tokenizer_config.json"],
    "both": ["merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"],
    "sentencepiece": ["spiece.model", "tokenizer_config.json"],
    "added": ["added_tokens.json", "merges.txt", "tokenizer_config.json", "vocab.json"],
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_is_whatever_files_there_are(name: str) -> None:
    names = [*PIPELINE, *(f"tokenizer/{file}" for file in TOKENIZERS[name])]
    found = needed_files(names, architecture_parts(SD15(), shared=True), "x")
    assert sorted(file for file in found if file.startswith("tokenizer/")) == [f"tokenizer/{file}" for file in TOKENIZERS[name]]
    assert [file for file in found if file.startswith(("unet", "safety", "feature"))] == []
    assert found[0] == "model_index.json"


def test_what_flux_has_is_what_its_repository_lists() -> None:
    parts = {"text_encoder_2": [f"{T}.safetensors.index.json", *(f"{T}-0000{n}-of-00002.safetensors" for n in (1, 2))]}
    parts |= {"text_encoder": [f"{T}.safetensors"], "vae": [f"{W}.safetensors"]}
    names = [f"{part}/{name}" for part, files in parts.items() for name in ("config.json", *files)]
    names += [f"tokenizer/{name}" for name in TOKENIZERS["as before"]] + ["scheduler/scheduler_config.json", "model_index.json"]
    second = ["special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
    names += [f"tokenizer_2/{name}" for name in second]
    found = needed_files(names, architecture_parts(FLUX(), shared=True), "x")
    assert set(names) - set(found) == {"tokenizer_2/spiece.model"}  # tokenizer.json is read


@pytest.mark.parametrize(
    ("names", "shared", "message"),
    [
        (["a.safetensors", "README.md"], False, "unet/: not there; .* file names one: a.safetensors"),
        (["README.md"], False, "unet/: not there; expected a repository or a folder in the diffusers layout"),
        (["unet/config.json", f"unet/{W}.bin"], False, rf"unet: expected a .safetensors file .*found {W}\.bin"),
        ([f"unet/{W}.safetensors"], False, r"unet: expected config\.json"),
        (["unet/config.json", SHARDS[1]], False, "unet: .* a shard without its index"),
        (["unet/config.json", f"unet/{W}.safetensors"], True, "vae/: not there"),
        (PIPELINE, True, "tokenizer/: not there; expected a vocabulary"),
        ([name for name in SD15_REPOSITORY if "scheduler" not in name], True, "scheduler/: not there; expected a scheduler"),
        ([name for name in SD15_REPOSITORY if "text_enc" not in name], True, "text_encoder/: not there"),
    ],
)
def test_what_is_lacking_is_named(names: list[str], shared: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        needed_files(names, architecture_parts(SD15(), shared=shared), "hub:a/b@main")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    content = {
        f"/owner/model/{name}": safetensors(name.encode()) if name.endswith(".safetensors") else b"{}" for name in SD15_REPOSITORY
    }
    content |= {
        f"/owner/unet/{name}": safetensors(b"x") if name.endswith(".safetensors") else b"{}"
        for name in ("config.json", f"{W}.safetensors")
    }
    with served(World(content)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


class Silent:
    def advance(self, source: Any, count: int) -> None: ...

    def done(self, source: Any) -> None: ...


def model(repo: str, shared: bool = False) -> HubModel:
    return HubModel(repo=repo, parts=tuple(architecture_parts(SD15(), shared)))


def test_a_repository_is_listed_once_and_held_to_its_commit(world: World) -> None:
    needs = [model("owner/model", shared=True), model("owner/model"), model("owner/unet")]
    fetcher = Fetcher(Library(), QUICK)
    assert fetcher.run(fetcher.survey(needs), Silent()) == []
    assert len(world.asked("/api/models/owner/model/")) == 1
    names = [source.file for need in needs for source in Library().files(need)]  # type: ignore[union-attr]
    assert not any(word in name for name in names for word in ("fp16", ".bin", "safety", "pruned"))
    assert all(Library().locate(source).is_file() for need in needs for source in Library().files(need))
    lock = json.loads(Library().lock_file.read_text())["files"]
    assert lock["hub:owner/model@main/*"]["revision"] == COMMIT
    asked = len(world.seen)
    again = Fetcher(Library(), QUICK)
    assert again.run(again.survey(needs), Silent()) == []
    assert len(world.seen) == asked


def test_a_repository_that_is_not_there_stops_no_other(world: World) -> None:
    jobs = Fetcher(Library(), QUICK).survey([model("owner/none"), model("owner/unet"), model("owner/unet", shared=True)])
    problems = [job.problem for job in jobs if job.problem]
    assert ["no such repository" in problem or "vae/: not there" in problem for problem in problems] == [True, True]
    assert len(jobs) == 4


def test_what_another_program_fetched_counts_where_it_is_whole(world: World) -> None:
    """Of a snapshot that holds no text encoder it is not known whether the repository has one."""
    from huggingface_hub import constants

    snapshot = Path(constants.HF_HUB_CACHE) / "models--owner--model"
    part = Library().folder / "hub/owner/model/main"
    assert not snapshot.exists()
    for name in MODELS["everything"][1]:
        assert not Library().listed(model("owner/model"))
        with pytest.raises(NotFetchedError, match="not fetched yet"):
            Library().files(model("owner/model"))
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(b"{}")
    assert [source.file for source in Library().files(model("owner/model"))] == MODELS["everything"][1]  # type: ignore[union-attr]


def test_sdxl_asks_for_both_text_encoders() -> None:
    parts = {part.folder: part for part in architecture_parts(SDXL(), shared=True)}
    assert {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae", "scheduler"} == parts.keys()
    assert not any(part.required for part in architecture_parts(SDXL(), shared=False)[1:])
