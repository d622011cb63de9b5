"""Checkpoints of SD 1.5, SDXL and FLUX as folders and as single files: loaded without a connection, and sampled."""

import json
import socket
from pathlib import Path

import checkpoints
import pytest
import tiny_models
import torch
import yaml
from safetensors.torch import load_file, save_file

from afa_bench.errors import UserError
from afa_bench.fetch import HubModel
from afa_bench.generation.generator import Generator, initial_noise
from afa_bench.identity import fingerprint
from afa_bench.models.group import Group, packaged, read_group, read_group_file
from afa_bench.models.identity import group_identity
from afa_bench.models.load import load_group
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite

SAMPLERS = {
    "sd15": {"guidance": 3.0},
    "sdxl": {"guidance": 3.0},
    "flux": {"guidance": 3.5, "scheduler": "FlowMatchEulerDiscreteScheduler"},
}

SLOW_SDXL = pytest.param("sdxl", checkpoints.SDXL, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.fixture
def zoo(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The folder with, for the test's architecture, two pipeline folders, each as a single file too, and their configurations."""
    name = (getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")) or "sd15"
    for number in (1, 2):
        if not (folder / f"{name}-{number}").is_dir():
            getattr(tiny_models, name)(folder / f"{name}-{number}", number)
            if name != "flux":
                tiny_models.merged_file(folder, {"A": f"{name}-{number}"}, f"{name}-{number}.safetensors")
    if not (folder / f"{name}-configs").is_dir():
        tiny_models.configs_of(folder / f"{name}-1", folder / f"{name}-configs")
    return folder


def group(folder: Path, name: str, **content: object) -> Group:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return read_group(f"{name}.yaml", folder, "test")


def folders(zoo: Path, name: str) -> Group:
    models = {"one": f"{name}-1", "two": f"{name}-2"}
    return group(zoo, f"{name}-folders", pipeline=f"{name}-1", models=models)


def files(zoo: Path, name: str, **content: object) -> Group:
    """As :func:`folders`, of single files."""
    models = [{"name": "one", "file": f"{name}-1.safetensors"}, {"name": "two", "file": f"{name}-2.safetensors"}]
    return group(zoo, f"{name}-files", pipeline=f"{name}-1.safetensors", models=models, configs=f"{name}-configs", **content)


def images(folder: Path, of: Group, *methods: str, batch: int = 2) -> dict[str, torch.Tensor]:
    """What each row of a suite of two prompts makes: row -> ``(2, 3, H, W)``."""
    (folder / "prompts.txt").write_text("a red dog\n狗 on a {blue} mat, " + "very " * 20 + "long\n")
    suite = {
        "name": "s", "groups": [f"{of.name}.yaml"], "prompts": {"name": "file", "path": "prompts.txt"},
        "methods": list(methods), "metrics": [{"name": "is", "features": "lite0", "splits": 1}],
        "sampler": SAMPLERS[of.architecture], "steps": [2], "size": 32, "images_per_prompt": 1,
    }  # fmt: skip
    (folder / f"{of.name}-suite.yaml").write_text(yaml.safe_dump(suite))
    plan = make_plan(read_suite(folder / f"{of.name}-suite.yaml"))
    generator = Generator(plan, "cpu", batch)
    made = {cell.label: [generator.sample(cell, plan.samples[i : i + batch]) for i in range(0, 2, batch)] for cell in plan.cells}
    return {label: torch.cat(parts) for label, parts in made.items()}


@pytest.mark.parametrize("name", ["sd15", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_a_single_file_gives_the_images_of_its_folder(zoo, name):
    expected = images(zoo, folders(zoo, name), "base")
    found = images(zoo, files(zoo, name), "base")
    assert list(found) == ["one", "two"]
    for label in found:
        assert torch.isfinite(found[label]).all()
        assert torch.allclose(found[label], expected[label], atol=1e-5)
    assert not torch.allclose(found["one"], found["two"], atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_our_conditions_are_those_of_the_stock_pipeline(zoo, name):
    import diffusers

    of = folders(zoo, name)
    found = images(zoo, of, "base")["one"]
    kind = getattr(diffusers, of.family.pipeline)
    unchecked = {"safety_checker": None} if name == "sd15" else {}
    pipeline = kind.from_pretrained(str(of.pipeline), local_files_only=True, **unchecked)
    pipeline.set_progress_bar_config(disable=True)
    plan = make_plan(read_suite(zoo / f"{of.name}-suite.yaml"))
    cell = plan.cells[0]
    generator = Generator(plan, "cpu", 2)
    stock, _, _ = generator._denoiser(cell)
    longest = {"max_sequence_length": 20} if name == "flux" else {}
    expected = pipeline(
        [sample.prompt.text for sample in plan.samples], latents=initial_noise(of.family, stock, plan.suite, list(plan.samples)),
        num_inference_steps=2, guidance_scale=SAMPLERS[name]["guidance"], height=32, width=32, output_type="pt", **longest,
    ).images  # fmt: skip
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_merges_and_ensembles_of_single_files_run(zoo, name):
    found = images(zoo, files(zoo, name), "base", "weighted", "noise-average", "block-average")
    assert len({tensor.numpy().tobytes() for tensor in found.values()}) == 5
    alone = images(zoo, files(zoo, name), "noise-average", batch=1)["noise-average"]
    assert torch.allclose(alone, found["noise-average"], atol=1e-4)


@pytest.mark.parametrize(("name", "config"), [("sd15", checkpoints.SD15), SLOW_SDXL])
def test_the_single_files_have_the_true_names(zoo, name, config):
    found = set(load_file(zoo / f"{name}-1.safetensors"))
    expected = set(checkpoints.names(config))
    assert {key for key in expected - found if "position_ids" not in key and "logit_scale" not in key} == set()


@pytest.mark.slow
def test_a_merge_of_two_files_loads_as_a_third(zoo):
    merged = tiny_models.merged_file(zoo, {"A": "sd15-1.safetensors", "B": "sd15-2.safetensors"}, "both.safetensors")
    models = {"both": merged.name, "one": "sd15-1.safetensors", "two": "sd15-2.safetensors"}
    of = group(zoo, "merged", pipeline="sd15-1.safetensors", models=models, configs="sd15-configs")
    found = images(zoo, of, "base", {"name": "weighted", "models": ["one", "two"]})
    assert torch.allclose(found["both"], found["weighted"], atol=1e-4)


def test_a_file_without_text_encoders_takes_the_pipelines(zoo):
    tensors = {key: tensor for key, tensor in load_file(zoo / "sd15-2.safetensors").items() if key.startswith("model.diffusion")}
    save_file(tensors, zoo / "unet-only.safetensors")
    of = group(zoo, "unet-only", pipeline="sd15-1", models={"it": "unet-only.safetensors"}, configs="sd15-configs")
    loaded = load_group(of, "cpu", torch.float32)
    assert torch.equal(
        loaded.models[0].unet.state_dict()["conv_in.weight"], tensors["model.diffusion_model.input_blocks.0.0.weight"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_are_loaded_in_the_format_asked_for(zoo, dtype):
    model = load_group(files(zoo, "sd15"), "cpu", dtype).models[0]
    assert {parameter.dtype for part in (model.unet, model.text_encoder) for parameter in part.parameters()} == {dtype}


@pytest.mark.slow
def test_velocity_is_predicted_where_the_group_or_the_files_say_so(zoo):
    assert load_group(files(zoo, "sd15"), "cpu", torch.float32).scheduler.config.prediction_type == "epsilon"
    said = load_group(files(zoo, "sd15", prediction_type="v_prediction"), "cpu", torch.float32)
    assert said.scheduler.config.prediction_type == "v_prediction"
    marked = load_file(zoo / "sd15-1.safetensors") | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(marked, zoo / "marked.safetensors")
    of = group(zoo, "marked", pipeline="sd15-1", models={"it": "marked.safetensors"}, configs="sd15-configs")
    config = load_group(of, "cpu", torch.float32).scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)
    both = {"it": "marked.safetensors", "other": "sd15-2.safetensors"}
    mixed = group(zoo, "mixed", pipeline="sd15-1", models=both, configs="sd15-configs")
    with pytest.raises(UserError, match="it is of the kind v_prediction with zero SNR, other epsilon"):
        load_group(mixed, "cpu", torch.float32)


@pytest.mark.slow
def test_a_single_file_of_flux_loads_at_its_true_width(folder, tmp_path):
    """One double and one single block: diffusers' converter knows the true width alone."""
    from diffusers import FluxTransformer2DModel

    from afa_bench.architectures.find import architecture_of
    from afa_bench.architectures.flux import FLUX
    from afa_bench.architectures.single_file import load_denoiser

    config = json.loads((FLUX().configs / "transformer/config.json").read_text()) | {"num_layers": 1, "num_single_layers": 1}
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = FluxTransformer2DModel.from_config(config).to(torch.bfloat16)
    expected = {key: torch.empty(tensor.shape, dtype=torch.bfloat16) for key, tensor in model.state_dict().items()}
    for index, tensor in enumerate(expected.values()):
        tensor.view(-1)[:: max(1, tensor.numel() // 97)] = index
    path = tiny_models.flux_file(expected, tmp_path / "flux.safetensors")
    assert isinstance(architecture_of(path), FLUX)
    shared = {"text_encoder": torch.nn.Identity(), "text_encoder_2": torch.nn.Identity()}
    found = load_denoiser(path, FLUX(), tmp_path, torch.bfloat16, shared)["transformer"].state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key].view(torch.int16), expected[key].view(torch.int16)) for key in expected)


def test_a_damaged_or_incomplete_file_is_one_line(zoo):
    data = (zoo / "sd15-1.safetensors").read_bytes()
    (zoo / "cut.safetensors").write_bytes(data[:-100])
    tensors = load_file(zoo / "sd15-1.safetensors")
    del tensors["model.diffusion_model.out.2.weight"]
    save_file(tensors, zoo / "incomplete.safetensors")
    for name, message in (("cut", "truncated or damaged"), ("incomplete", "lacks 1 of the 686 tensors of the unet")):
        with pytest.raises(UserError, match=message) as caught:
            group(zoo, f"g-{name}", pipeline="sd15-1", models={"it": f"{name}.safetensors"}, configs="sd15-configs")
        assert f"{name}.safetensors" in str(caught.value)


def test_a_groups_identity_is_its_bytes(zoo):
    one, again = group_identity(files(zoo, "sd15")), group_identity(files(zoo, "sd15"))
    assert one == again
    assert set(one["models"]) == {"one", "two"}
    assert one["models"]["one"] != one["models"]["two"]
    assert one["pipeline"] != group_identity(files(zoo, "sd15", prediction_type="v_prediction"))["pipeline"]


def test_the_order_of_a_groups_models_is_part_of_it(zoo):
    """Canonical JSON sorts keys, but a method's weights and references go by the order."""
    one = files(zoo, "sd15")
    other = one.model_copy(update={"models": one.models[::-1]})
    assert fingerprint(group_identity(one)) != fingerprint(group_identity(other))


def test_the_packaged_vocabulary_is_clips():
    import open_clip

    from afa_bench.architectures.single_file import clip_tokenizer

    texts = ["a photo of a Cat, isn't it?", "狗 🐕 très café", "very " * 100, ""]
    ours = clip_tokenizer("!")(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ours, open_clip.get_tokenizer("ViT-L-14")(texts))


@pytest.mark.parametrize("name", [name for name in packaged() if not name.startswith("mini")])
def test_packaged_groups_name_every_file_that_they_need(name, monkeypatch, tmp_path):
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path))
    file = read_group_file(name, Path(), "test")
    ids = [source.id for source in file.sources()]
    assert {f"civitai:{model.civitai}" for model in file.models} <= set(ids)
    (pipeline,) = [source for source in file.sources() if isinstance(source, HubModel)]
    assert {"vae", "text_encoder", "tokenizer", "scheduler"} <= {part.folder for part in pipeline.parts if part.required}
    with pytest.raises(UserError, match=f"{name}.yaml: pipeline: hub:.*not fetched yet"):
        file.resolved()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pipeline": "p", "models": []}, "models: expected a list of entries with a name"),
        (
            {"pipeline": "p", "models": [{"name": "a", "civitai": 1, "hub": "b/c"}]},
            "expected one of folder, file, hub and civitai",
        ),
        ({"pipeline": "p", "models": [{"name": "a"}]}, "expected one of folder, file, hub and civitai"),
        ({"pipeline": "p", "models": [{"name": "a", "civitai": 1}, {"name": "a", "civitai": 2}]}, "a name of its own"),
        ({"pipeline": "p", "models": {"a": {"civitei": 1}}}, "civitei: unknown key"),
        ({"pipeline": "p", "models": {"a": "none"}}, "pipeline: no such folder"),
        (
            {"pipeline": ".", "models": {"a": "."}, "architecture": "sd14"},
            "architecture: unknown architecture 'sd14': did you mean 'sd15'",
        ),
        (
            {"pipeline": {"hub": "a/b"}, "models": {"a": "."}},
            "architecture: expected flux or sd15 or sdxl, which says what files a/b has",
        ),
    ],
)
def test_a_mistake_in_a_groups_file_is_one_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as caught:
        group(tmp_path, "bad", **content)
    assert str(tmp_path / "bad.yaml") in str(caught.value)
