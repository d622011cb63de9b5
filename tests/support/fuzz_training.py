"""Readers of what a training leaves, under damage: its checkpoint, log, record and cache, and whom its weights are for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from fuzzing import WORDS, Finding, mutated, tried
from safetensors.torch import save

from afa_bench.afa.experts import HASHES, trained_for
from afa_bench.training.cache import _read
from afa_bench.training.checkpoint import Checkpoint
from afa_bench.training.items import is_whole
from afa_bench.training.log import read_log
from afa_bench.training.record import FACTS, Record


def reworded(data: bytes, chance: random.Random) -> bytes:
    """Bytes of which some are others, or JSON of which a value is."""
    if chance.random() < 0.6:
        return mutated(data, chance)
    text = data.decode()
    place = text.find(":", chance.randrange(len(text)))
    return f"{text[: place + 1]}{chance.choice(WORDS)}{text[text.find(',', place) :]}".encode("utf-8", "surrogatepass")


def files(
    name: str, whole: bytes, read: Callable[[Path], object], damage: Callable[[bytes, random.Random], bytes], **beside: bytes
) -> Callable[[Path, random.Random], Iterator[Finding]]:
    """A file that is damaged and read, with others beside it."""

    def tries(folder: Path, chance: random.Random) -> Iterator[Finding]:
        for other, content in beside.items():
            (folder / other.replace("_", ".")).write_bytes(content)
        while True:
            (folder / name).write_bytes(data := damage(whole, chance))
            yield tried(partial(read, folder / name), f"{name} {data!r}")

    return tries


def checkpoints(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """A small checkpoint."""
    file, about = folder / "checkpoint.pt", {"lr": 0.1, "pairs": "a"}
    layer = torch.nn.Linear(2, 2)
    parts = {"learned": layer, "optimizer": torch.optim.AdamW(layer.parameters())}
    layer(torch.ones(1, 2)).sum().backward()
    parts["optimizer"].step()  # type: ignore[operator]
    Checkpoint(file, about, parts).save(3, {"loss": torch.ones(())})
    yield from files(
        file.name, file.read_bytes(), lambda found: Checkpoint(found, about, parts).load(10), mutated
    )(folder, chance)  # fmt: skip


def read_item(file: Path) -> None:
    if is_whole(file):
        _read(file)


LINES = [{"step": step, "loss": 0.5, "lr": 1e-4, "seconds": 0.1} for step in range(1, 6)]
RECORD = {"lr": 0.1, "done": 2, "earlier": [{"until": 1, "lr": 0.2}], "versions": {"torch": "2"}}
EXPERTS = {"experts": ["a", {"name": "b", "revision": None, "sha256": "1" * 64}]}
SUMS = "".join(f"{digit * 64}  {name}\n" for digit, name in zip("12", "ab", strict=True)).encode()
NAMES = json.dumps(EXPERTS).encode()

TRAININGS = {
    "checkpoints": checkpoints,
    "logs": files("log.jsonl", "".join(json.dumps(line) + "\n" for line in LINES).encode(), read_log, reworded),
    "records": files(FACTS, json.dumps(RECORD).encode(), lambda file: Record(file.parent, {"lr": 0.3}, 2).write(3), reworded),
    "experts": files("config.json", NAMES, lambda file: trained_for(file.parent), reworded, experts_sha256=SUMS),
    "hashes": files(HASHES, SUMS, lambda file: trained_for(file.parent), mutated, config_json=NAMES),
    "items": files("item.safetensors", save({"latents": torch.zeros(1, 4, 2, 2)}), read_item, mutated),
}
