"""A training's record is what was done, and what would be another training is refused before anything is written."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_unet
from trainings import Silent, changed, learner
from trainings import train as train_in_memory

from afa_bench.afa.sabw import SABW
from afa_bench.afa.trainable import SABWOptions, TrainAFA
from afa_bench.errors import UserError
from afa_bench.method import Model
from afa_bench.mini import zoo
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.training.config import read_config
from afa_bench.training.log import read_log
from afa_bench.training.record import Record
from afa_bench.training.run import train
from baselines.moe.trainable import RouterOptions, TrainDenoiserMoE


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())  # type: ignore[no-any-return]


def other_caption(config: Path) -> dict[str, Any]:
    folder = config.parent / "others"
    shutil.copytree(read_config(config).data.options["path"], folder)
    (folder / "03.txt").write_text("another caption")
    return {"data": {"name": "folder", "path": str(folder)}}


OTHERS: dict[str, tuple[str, Mapping[str, Any] | Callable[[Path], dict[str, Any]]]] = {
    "fewer steps": ("steps", {"steps": 1}),
    "a higher rate": ("lr", {"lr": 0.01}),
    "seed": ("seed", {"seed": 1}),
    "size": ("pairs", {"size": 32}),
    "crops": ("pairs", {"crops": 2}),
    "batch": ("batch", {"batch": 4}),
    "text_dropout": ("text_dropout", {"text_dropout": 0.5}),
    "ema": ("ema", {"ema": 0.9}),
    "cooldown": ("cooldown", {"cooldown": 1}),
    "validation": ("validation", {"validation": 2}),
    "options": ("options", {"trainable": {"name": "afa", "hidden": 32}}),
    "trainable": ("trainable", {"trainable": "moe-denoiser"}),
    "a caption": ("pairs", other_caption),
}


@pytest.fixture(scope="module")
def finished() -> dict[str, Path]:
    """Where a training of two steps is finished, once one was asked for."""
    return {}


QUICK = ("fewer steps", "options", "a caption")


@pytest.mark.parametrize("case", [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in OTHERS])
def test_another_training_changes_nothing_of_a_finished_one(
    config: Path, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, case: str
) -> None:
    """No file: neither the record, nor the log, nor the cache."""
    if not finished:
        finished["folder"] = tmp_path_factory.mktemp("finished")
        train(read_config(config), finished["folder"], Silent())
    before, (key, change) = contents(finished["folder"]), OTHERS[case]
    changed(config, **(change(config) if callable(change) else change))
    with pytest.raises(UserError, match=rf"checkpoint\.pt: {key}: this checkpoint has .*; train into another folder"):
        train(read_config(config), finished["folder"], Silent())
    assert contents(finished["folder"]) == before


def test_a_record_has_what_was_otherwise_before(tmp_path: Path) -> None:
    def recorded(done: int | None, until: int | None = None, **facts: Any) -> dict[str, Any]:
        record = Record(tmp_path, {"lr": 1.0, "sizes": (1, 2), **facts}, done)
        if until is not None:
            record.write(until)
        return json.loads((tmp_path / "training.json").read_text())  # type: ignore[no-any-return]

    assert recorded(None, steps=2) == {"lr": 1.0, "sizes": [1, 2], "steps": 2, "done": 0}
    assert recorded(None, 2, steps=2)["done"] == 2
    before = (tmp_path / "training.json").read_bytes()
    assert recorded(2, steps=9)["steps"] == 2
    assert (tmp_path / "training.json").read_bytes() == before, "nothing was done with it"
    assert recorded(2, 4, steps=4)["earlier"] == [{"until": 2, "steps": 2}]
    assert recorded(4, 5, steps=5, lr=0.5)["earlier"] == [{"until": 2, "steps": 2}, {"until": 4, "steps": 4, "lr": 1.0}]
    assert recorded(5, 6, steps=5, lr=0.5)["earlier"] == [{"until": 2, "steps": 2}, {"until": 4, "steps": 4, "lr": 1.0}]
    assert "earlier" not in recorded(None, 1, steps=1), "a training from its beginning"


@pytest.mark.slow
def test_the_record_is_what_was_done(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(read_config(config), out, Silent())
    first = facts(out)
    assert (first["done"], first["steps"], "earlier" in first) == (2, 2, False)
    before = (out / "training.json").read_bytes()
    train(read_config(changed(config, log_every=5)), out, Silent())
    assert (out / "training.json").read_bytes() == before, "nothing was done"
    train(read_config(changed(config, steps=3, lr=0.001)), out, Silent())
    train(read_config(changed(config, steps=4)), out, Silent())
    assert facts(out)["done"] == facts(out)["steps"] == 4
    assert facts(out)["earlier"] == [{"until": 2, "steps": 2, "lr": 0.002, "log_every": 1}, {"until": 3, "steps": 3}]
    assert {line["step"]: line["lr"] for line in read_log(out / "log.jsonl") if "lr" in line} == {
        1: 0.002,
        2: 0.002,
        3: 0.001,
        4: 0.001,
    }


@pytest.mark.slow
def test_the_record_of_an_interrupted_training_has_the_steps_of_its_checkpoint(config: Path, tmp_path: Path) -> None:
    class Interrupts(Silent):
        def trained(self, done: int, total: int, values: Mapping[str, float]) -> None:
            if done == 1:
                os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(read_config(changed(config, steps=4)), out, Interrupts())
    assert (facts(out)["done"], facts(out)["steps"]) == (2, 4)
    train(read_config(config), out, Silent())
    assert (facts(out)["done"], "earlier" in facts(out)) == (4, False)


@pytest.mark.slow
def test_weights_without_a_checkpoint_are_not_replaced(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(read_config(config), out, Silent())
    (out / "checkpoint.pt").unlink()
    before = contents(out)
    with pytest.raises(UserError, match=r"weights: would be replaced: there is no checkpoint\.pt to go on from"):
        train(read_config(changed(config, seed=3)), out, Silent())
    assert contents(out) == before


def test_what_is_annealed_does_not_go_on_for_more_steps(tmp_path: Path) -> None:
    """Six steps and six are not twelve."""
    seen: list[float] = []

    def annealed() -> Any:
        return replace(learner(), anneal=seen.append)

    train_in_memory(2, start=annealed, folder=tmp_path)
    with pytest.raises(UserError, match=r"checkpoint\.pt: steps: this checkpoint has 2, the training 4; train into another"):
        train_in_memory(4, start=annealed, folder=tmp_path)
    train_in_memory(2, start=annealed, folder=tmp_path)
    assert seen == [0.0, 0.5]


@pytest.mark.parametrize("end", [None, 0.25])
def test_routers_are_annealed_where_they_are_asked_to_be(end: float | None) -> None:
    models = [Model(name, tiny_unet(seed), torch.nn.Identity()) for seed, name in enumerate("ab")]
    group: Any = SimpleNamespace(models=())
    found = TrainDenoiserMoE().build(group, models, RouterOptions(hidden=16, temperature_end=end))
    assert (found.anneal is None) == (end is None)


START: dict[str, tuple[dict[str, Any], str]] = {
    "hidden": ({"hidden": 64}, "hidden: 64; expected 16, which the weights of start have"),
    "heads": ({"heads": 2}, "heads: 2; expected 1"),
    "layers": ({"layers": 3}, "layers: 3; expected 2"),
    "without": ({"without": ["text"]}, r"without: \('text',\); expected \(\)"),
    "last_only": ({"last_only": True}, "last_only: True; expected False"),
    "the same": ({"hidden": 16, "layers": 2, "without": []}, ""),
}


@pytest.mark.parametrize("case", START)
def test_options_beside_start_are_those_of_its_weights(case: str) -> None:
    given, message = START[case]
    folder = zoo() / "mini-1" / "sabw"
    options = SABWOptions(start=folder, **given)
    assert options.model_dump(mode="json") == {"start": str(folder)}, "the record has what is in force"
    with pytest.raises(UserError, match=f"trainable: afa: {message}") if message else nullcontext():
        options.require_same(SABW.read(folder).config)


@pytest.mark.slow
def test_what_a_training_begins_with_is_known_by_its_content(config: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    group = read_group(read_config(config).group, Path(), "group")
    made = TrainAFA().build(group, load_group(group, "cpu", torch.float32).models, SABWOptions(hidden=16)).learned
    made.save_pretrained(start)
    changed(config, trainable={"name": "afa", "start": str(start)})
    train(read_config(config), tmp_path / "out", Silent())
    assert facts(tmp_path / "out")["options"] == {}
    assert len(facts(tmp_path / "out")["weights"]["start"]) == 64
    made.blocks[0].conv_out.weight.data.add_(1)
    made.save_pretrained(start)
    with pytest.raises(UserError, match=r"checkpoint\.pt: weights: this checkpoint has"):
        train(read_config(config), tmp_path / "out", Silent())


def spoilt(state: dict[str, Any], case: str) -> Any:
    parts = state["parts"]
    return {
        "a list": [1],
        "no parts": {key: value for key, value in state.items() if key != "parts"},
        "no steps": {key: value for key, value in state.items() if key != "done"},
        "no sums": {key: value for key, value in state.items() if key != "sums"},
        "sums of texts": {**state, "sums": {"loss": "x"}},
        "a list of facts": {**state, "about": [1]},
        "a part less": {**state, "parts": {"learned": parts["learned"]}},
        "cut weights": {**state, "parts": {**parts, "learned": {key: value[:1] for key, value in parts["learned"].items()}}},
        "another optimizer": {**state, "parts": {**parts, "optimizer": {"state": {}, "param_groups": []}}},
        "parts of numbers": {**state, "parts": dict.fromkeys(parts, 3)},
    }[case]


STATES = (
    "a list", "no parts", "no steps", "no sums", "sums of texts", "a list of facts", "a part less", "cut weights",
    "another optimizer", "parts of numbers",
)  # fmt: skip
BYTES = {"nothing": b"", "cut": 100, "half": 2, "other": b"\x80\x04junk", "text": b"hello", "zip": b"PK\x03\x04"}


@pytest.mark.parametrize("case", [*STATES, *BYTES])
def test_a_damaged_checkpoint_is_one_line_and_stays(case: str, tmp_path: Path) -> None:
    train_in_memory(1, folder=tmp_path)
    file = tmp_path / "checkpoint.pt"
    if case in STATES:
        torch.save(spoilt(torch.load(file, weights_only=True), case), file)
    else:
        data, form = file.read_bytes(), BYTES[case]
        file.write_bytes(form if isinstance(form, bytes) else data[: form if case == "cut" else len(data) // form])
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a checkpoint of a training, or a damaged one; expected") as caught:
        train_in_memory(2, folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


LINES = {
    "a list": '[]\n{"step": 1}\n',
    "no step": '{"loss": 1}\n{"step": 1}\n',
    "a number": '3\n{"step": 1}\n',
    "a text as step": '{"step": "x"}\n{"step": 1}\n',
    "a text as loss": '{"step": 1, "loss": "x"}\n{"step": 1}\n',
    "deep": "[" * 100_000 + '\n{"step": 1}\n',
    "cut within": '{"step": 1, "lo\n{"step": 1}\n',
}


@pytest.mark.parametrize("case", LINES)
def test_a_damaged_log_is_named_with_its_line(case: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(LINES[case])
    with pytest.raises(UserError, match=r"log\.jsonl:1: damaged: .*; expected a line of a training's log"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n\xff\n')
    with pytest.raises(UserError, match=r"log\.jsonl: not a training's log: .*; expected UTF-8"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1}], "the last line of a training that was killed"
