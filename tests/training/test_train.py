"""``afa-bench train``: from a folder of images to weights, in every layout of data, interrupted, on two processes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from sets import picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainings import Silent

from afa_bench.afa.sabw import SABW
from afa_bench.afa.trainable import SABWOptions, TrainAFA
from afa_bench.errors import UserError
from afa_bench.images.stored import read
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.needs import needs_of
from afa_bench.prompts.base import Prompt
from afa_bench.prompts.webdataset import WebDatasetPrompts
from afa_bench.training.cache import Encoding, cache_pairs, cropped
from afa_bench.training.config import read_config
from afa_bench.training.log import read_log
from afa_bench.training.run import _split, train

COUNT = 10


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of several shapes, each with its caption beside it."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        size = (20 + 3 * (index % 3), 18 + index)
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"picture {index}\n")
    return folder


@pytest.fixture
def config(tmp_path: Path, tiny_group: Path, pictures: Path) -> Path:
    """A training of a few steps on tiny models."""
    return written(
        tmp_path / "my.yaml",
        group=str(tiny_group), data={"name": "folder", "path": str(pictures)}, size=16, validation=0, steps=2, batch=2, lr=0.002,
        trainable={"name": "afa", "hidden": 16}, log_every=1,
    )  # fmt: skip


def written(path: Path, **document: Any) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def changed(path: Path, **changes: Any) -> Path:
    return written(path, **{**yaml.safe_load(path.read_text()), **changes})


def test_from_a_folder_of_images_to_weights(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = train(read_config(changed(config, trackers=["tensorboard"])), out, Silent())
    assert outcome.weights == out / "weights"
    sabw = SABW.read(outcome.weights)
    assert max(block.conv_out.weight.abs().max() for block in sabw.blocks) > 0
    assert sorted(path.name for path in out.iterdir()) == [
        "afa-bench", "cache", "checkpoint.pt", "log.jsonl", "training.json", "weights",
    ]  # fmt: skip
    facts = json.loads((out / "training.json").read_text())
    assert facts["models"].keys() == {"one", "two", "three"}
    assert facts["lr"] == 0.002
    log = read_log(out / "log.jsonl")
    assert [line["step"] for line in log] == [1, 2]
    events = EventAccumulator(str(out / "afa-bench")).Reload()
    for name in ("loss", "lr", "seconds"):
        seen = [(event.step, event.value) for event in events.Scalars(name)]
        assert seen == [(line["step"], pytest.approx(line[name])) for line in log], name


@pytest.mark.slow
def test_weights_that_begin_with_others_name_their_own_models(tiny_group: Path, tmp_path: Path) -> None:
    turned = tiny_group.with_name("turned.yaml")
    turned.write_text("pipeline: base\nmodels: {three: three, two: two, one: one}\n")

    def build(file: Path, **options: Any) -> SABW:
        group = read_group(str(file), file.parent, "group")
        return TrainAFA().build(group, load_group(group, "cpu", torch.float32).models, SABWOptions(**options)).learned

    build(tiny_group, hidden=16).save_pretrained(tmp_path)
    assert [expert["name"] for expert in build(turned, start=tmp_path).config.experts] == ["three", "two", "one"]


@pytest.mark.slow
def test_a_resumed_training_logs_a_step_once(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tracked = {"trackers": ["tensorboard"]}
    train(read_config(changed(config, **tracked)), out, Silent())
    earlier = (out / "checkpoint.pt").read_bytes()
    longer = read_config(changed(config, steps=4, **tracked))
    train(longer, out, Silent())
    (out / "checkpoint.pt").write_bytes(earlier)  # as if killed after four steps, with the checkpoint of the second
    train(longer, out, Silent())
    losses = EventAccumulator(str(out / "afa-bench")).Reload().Scalars("loss")
    assert [event.step for event in losses] == [line["step"] for line in read_log(out / "log.jsonl")] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_longer_training_goes_on_and_another_is_refused(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(read_config(config), out, Silent())
    cached = {path: path.stat().st_mtime_ns for path in (out / "cache").rglob("*.safetensors")}
    longer = train(read_config(changed(config, steps=3)), out, Silent())
    assert {path: path.stat().st_mtime_ns for path in cached} == cached, "nothing is encoded twice"
    assert [line["step"] for line in read_log(out / "log.jsonl") if "loss" in line] == [1, 2, 3]
    assert longer.values["loss"] > 0
    with pytest.raises(UserError, match=r"options: this checkpoint has .*; train into another folder"):
        train(read_config(changed(config, trainable={"name": "afa", "hidden": 32})), out, Silent())


def test_every_layout_gives_the_same_pairs(pictures: Path, tmp_path: Path, config: Path) -> None:
    captions = [(file.with_suffix(".png").read_bytes(), file.read_text().strip()) for file in sorted(pictures.glob("*.txt"))]
    table = pa.table({"image": [{"bytes": data, "path": None} for data, _ in captions], "prompt": [text for _, text in captions]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for file in pictures.iterdir():
            archive.add(file, file.name)
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for index, (data, text) in enumerate(captions):
            for suffix, content in (("png", data), ("json", json.dumps({"caption": text}).encode())):
                member = tarfile.TarInfo(f"{index:02d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    table_folder = tmp_path / "with-table"
    shutil.copytree(pictures, table_folder, ignore=shutil.ignore_patterns("*.txt"))
    lines = [json.dumps({"file_name": f"{index:02d}.png", "text": text}) for index, (_, text) in enumerate(captions)]
    (table_folder / "metadata.jsonl").write_text("\n".join(lines))
    sources: list[dict[str, Any]] = [
        {"name": "file", "path": "pairs.parquet", "image_column": "image"},
        {"name": "webdataset", "path": "a.tar"},
        {"name": "webdataset", "path": "b.tar"},
        {"name": "folder", "path": "with-table"},
    ]
    for source in sources:
        pairs = read_config(changed(config, data=source)).read_pairs()
        assert [(read(pair.image or b""), pair.text) for pair in pairs] == captions, source


def test_crops_are_drawn_and_cover_the_image() -> None:
    image = Image.fromarray(np.arange(40 * 20 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 20, 3))
    cuts, places = zip(*(cropped(image, 10, seed) for seed in range(20)), strict=True)
    assert all(cut.shape == (10, 10, 3) for cut in cuts)
    assert len({cut.tobytes() for cut in cuts}) > 5
    assert np.array_equal(cropped(image, 10, 3)[0], cuts[3])
    resized = np.asarray(image.resize((10, 20), Image.Resampling.BICUBIC))
    assert all(
        np.array_equal(cut, resized[top : top + 10, left : left + 10]) for cut, (top, left) in zip(cuts, places, strict=True)
    )
    assert np.array_equal(cropped(image.crop((0, 0, 20, 20)), 20, 7)[0], np.asarray(image.crop((0, 0, 20, 20)))), "nothing to cut"


def test_the_cache_holds_what_the_encoders_say(tiny_group: Path, pictures: Path, tmp_path: Path) -> None:
    loaded = load_group(read_group(str(tiny_group), Path(), "test"), "cpu", torch.float32)
    encoders = [model.text_encoder for model in loaded.models]
    encoding = Encoding.of(loaded, encoders, size=16, crops=2)
    images = [(pictures / f"{index:02d}.png").read_bytes() for index in range(COUNT)]
    prompts = [Prompt(f"{index}", f"picture {index}", image=images[index % COUNT]) for index in range(70)]
    told: list[int] = []
    pairs = cache_pairs(prompts, encoding, tmp_path, told.append)
    assert told == [64, 6]
    assert len(pairs) == 70
    for epoch in (0, 1, 2):
        latents, given = pairs.batch([3, 66], epoch)
        assert torch.equal(latents[1], encoding.image(prompts[66])["latents"][epoch % 2])
        one = encoding.texts(["picture 66"])["text.0"]
        assert given.keys() == {"prompt_embeds"}
        torch.testing.assert_close(given["prompt_embeds"][1:], one.repeat(1, 1, 3))
    assert not torch.equal(pairs.batch([3], 0)[0], pairs.batch([3], 1)[0])
    assert pairs.empty["prompt_embeds"].shape == (1, 12, 48)
    changed_one = [*prompts[:-1], Prompt("69", "other words", image=images[9])]
    assert encoding.fingerprint(changed_one) != encoding.fingerprint(prompts)
    broken = [Prompt("bad", "x", image=b"no image")]
    with pytest.raises(UserError, match="the image of bad: not an image"):
        cache_pairs(broken, encoding, tmp_path, told.append)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lrr": 1}, r"my\.yaml:\d+: lrr: unknown key: did you mean 'lr'"),
        ({"lr": -1}, r"my\.yaml:\d+: lr: .*greater than 0"),
        ({"batch": 11}, r"my\.yaml: data: 10 pairs; expected at least 0 for validation and 11 for a batch"),
        ({"mixed_precision": "fp16"}, r"my\.yaml: mixed_precision: fp16 takes a GPU; expected bf16 or no"),
        ({"trainable": "aaf"}, r"my\.yaml: trainable: unknown trainable 'aaf': did you mean 'afa'"),
        ({"trainable": {"name": "afa", "hiden": 3}}, r"my\.yaml: trainable: afa: hiden: unknown option: did you mean 'hidden'"),
        ({"group": "none.yaml"}, r"my\.yaml: group: unknown group 'none\.yaml'"),
        ({"data": {"name": "folder", "path": "none"}}, r"none: no such folder"),
        ({"trackers": ["wandb"]}, r"my\.yaml: trackers: wandb is not installed: pip install wandb"),
        ({"trackers": ["excel"]}, r"my\.yaml:\d+: trackers\.0: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_is_one_line(config: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(read_config(changed(config, **change)), tmp_path / "out", Silent())
    assert "\n" not in str(caught.value)


def test_too_few_pairs_are_refused_before_anything_is_encoded(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="10 pairs; expected at least 9 for validation"):
        train(read_config(changed(config, validation=9)), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_another_archive_of_the_same_name_is_encoded_anew(tiny_group: Path, tmp_path: Path) -> None:
    """Its images have the names and the sizes of the first one's."""
    loaded = load_group(read_group(str(tiny_group), Path(), "group"), "cpu", torch.float32)
    encoding = Encoding.of(loaded, [loaded.models[0].text_encoder], 16)
    for number in range(2):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for row in range(3):
                data = picture(10 * number + row, "BMP")
                image, caption = tarfile.TarInfo(f"{row}.bmp"), tarfile.TarInfo(f"{row}.txt")
                image.size = len(data)
                archive.addfile(image, io.BytesIO(data))
                archive.addfile(caption)
        prompts = WebDatasetPrompts(path=Path("a.tar")).prompts(tmp_path)
        pairs = cache_pairs(prompts, encoding, tmp_path / "cache", lambda _: None)
        for row in range(3):
            own = encoding.image(Prompt(prompts[row].id, "", image=picture(10 * number + row, "BMP")))
            assert torch.equal(pairs.batch([row], 0)[0], own["latents"])


def test_repeats_are_of_the_rows_to_train_on_alone(config: Path) -> None:
    rows, held = _split([1, 3, 5], read_config(changed(config, validation=1, batch=4)))
    repeats = {0: 1, 1: 3, 2: 5}
    assert Counter(rows) == {row: repeats[row] for row in repeats if row not in held}
    assert len(held) == 1
    with pytest.raises(UserError, match="3 pairs; expected at least 1 for validation and 9 for a batch"):
        _split([1, 3, 5], read_config(changed(config, validation=1, batch=9)))


@pytest.mark.slow
def test_folders_of_repeats_make_longer_epochs_and_other_trainings(config: Path, pictures: Path, tmp_path: Path) -> None:
    for folder, number in (("3_dog", 0), ("2_cat", 1)):
        (tmp_path / "kohya" / folder).mkdir(parents=True)
        shutil.copy(pictures / f"{number:02d}.png", tmp_path / "kohya" / folder)
    document = {"data": {"name": "folder", "path": "kohya"}, "steps": None, "epochs": 2, "batch": 2}
    train(read_config(changed(config, **document)), tmp_path / "out", Silent())
    assert [line["step"] for line in read_log(tmp_path / "out" / "log.jsonl")] == [1, 2, 3, 4]
    once = changed(config, data={"name": "folder", "path": "kohya", "repeats": False}, epochs=6)
    with pytest.raises(UserError, match="repeats: this checkpoint has"):
        train(read_config(once), tmp_path / "out", Silent())


def test_images_are_trained_on_as_they_are_seen(tiny_group: Path, tmp_path: Path) -> None:
    """Turned by EXIF, 16 bits a channel, grey: the latents of what a person sees."""
    pixels = np.random.default_rng(1).integers(0, 255, (24, 40), dtype=np.uint8)
    grey, turned = Image.fromarray(pixels), Image.Exif()
    turned[0x0112] = 6
    made: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("plain", grey.convert("RGB"), {}),
        ("turned", grey.rotate(90, expand=True).convert("RGB"), {"exif": turned}),
        ("sixteen", Image.fromarray(pixels.astype(np.uint16) * 257), {}),
        ("grey", grey, {}),
    )
    loaded = load_group(read_group(str(tiny_group), Path(), "group"), "cpu", torch.float32)
    encoding = Encoding.of(loaded, [loaded.models[0].text_encoder], 16)
    found = {}
    for name, image, more in made:
        image.save(file := io.BytesIO(), "png", **more)
        found[name] = encoding.image(Prompt(id="a", text="x", image=file.getvalue()))["latents"]
    for name, latents in found.items():
        assert torch.equal(latents, found["plain"]), name


def test_fetch_knows_what_a_training_needs(config: Path) -> None:
    assert needs_of(str(config)) == []
    needs = needs_of(str(changed(config, data={"name": "journeydb", "split": "train", "folders": 1})))
    assert needs[0].id.endswith("train_anno_realease_repath.jsonl.tgz")
    assert len(needs) == 2


# --- other processes


def command(config: Path, out: Path, *launcher: str) -> list[str]:
    return [sys.executable, "-m", *(launcher or ("afa_bench",)), "train", str(config), "--out", str(out)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def learned(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = SABW.read(folder / "weights").state_dict()
    return state


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bits(config: Path, tmp_path: Path) -> None:
    changed(config, steps=12, checkpoint_every=2, ema=0.9)
    train(read_config(config), tmp_path / "whole", Silent())
    out = tmp_path / "killed"
    process = subprocess.Popen(command(config, out), env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (out / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "weights").exists(), "it was killed in its midst"
    train(read_config(config), out, Silent())
    whole, resumed = learned(tmp_path / "whole"), learned(out)
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(config: Path, tmp_path: Path) -> None:
    """By ``accelerate launch``, under gloo, for the same batches: of 4, 2 in each process."""
    changed(config, steps=4, batch=4, validation=2, validate_every=3)
    train(read_config(config), tmp_path / "one", Silent())
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "-m")
    done = subprocess.run(
        command(config, tmp_path / "two", *launcher, "afa_bench"), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    facts = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("one", "two")]
    assert [found["processes"] for found in facts] == [1, 2]
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 7, "four steps, three validations"
    for one, two in zip(*logs, strict=True):
        for key in {"loss", "validation_loss"} & one.keys():
            assert two[key] == pytest.approx(one[key], abs=1e-5)
