"""Readers of weights and of files about them, under damage: single files, recipes, groups, policies, trainings, statistics."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fuzzing import WORDS, Finding, mutated, tried
from merges import merge
from tiny_models import sd15

from afa_bench.architectures.contents import require_contents
from afa_bench.architectures.sd15 import SD15
from afa_bench.gate.policy import read_policy
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge
from afa_bench.metrics.reference import read_statistics
from afa_bench.models.group import read_group
from afa_bench.training.config import read_config


def single_files(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """A small model's single file, damaged in its header, is merged with another model."""
    for seed, name in enumerate("AB"):
        sd15(folder / name, seed)
    file, _ = merge(folder, {name: folder / name for name in "AB"}, "both.safetensors", method="weight-sum", alpha=0.5)
    recipe = folder / "again.yaml"
    recipe.write_text("models: {A: A, B: both.safetensors}\nmethod: weight-sum\nalpha: 0.5\n")
    whole = file.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    while True:
        data = mutated(whole[8:head], chance)
        length = len(data) if chance.random() < 0.9 else chance.randrange(2**40)
        file.write_bytes(length.to_bytes(8, "little") + data + whole[head:])
        yield tried(partial(merged, recipe, folder), repr(data))
        yield tried(partial(require_contents, file, SD15(), folder / "A", chance.random() < 0.5), repr(data))


def merged(recipe: Path, folder: Path) -> None:
    write_merge(prepare(read_recipe(recipe), folder), folder / "out.safetensors", force=True)


def reworded(document: Any, chance: random.Random) -> bytes:
    """YAML of which a value is another, or bytes are."""
    text = yaml.safe_dump(document, sort_keys=False).encode()
    if chance.random() < 0.4:
        return mutated(text, chance)
    lines = text.decode().splitlines()
    place = chance.randrange(len(lines))
    lines[place] = lines[place].split(":")[0] + ": " + chance.choice(WORDS)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def documents(read: Callable[[Path], object], *known: Any) -> Callable[[Path, random.Random], Iterator[Finding]]:
    """Changed YAML documents of a kind, read by ``read``."""

    def tries(folder: Path, chance: random.Random) -> Iterator[Finding]:
        file = folder / "file.yaml"
        while True:
            data = reworded(chance.choice(known), chance)
            file.write_bytes(data)
            yield tried(partial(read, file), repr(data))

    return tries


RECIPE = {
    "models": {"A": "zoo:a", "B": "b.safetensors"},
    "method": "mbw",
    "chain": [{"blocks": "GRAD_V", "base": 0.5}],
    "dtype": "float16",
}
GROUP = {
    "pipeline": "zoo:base",
    "models": {"people": "zoo:mini-1/people", "nature": {"folder": "zoo:mini-1/nature"}},
    "sabw": "zoo:mini-1/sabw",
    "architecture": "sd15",
}
POLICY = {"metrics": {"clip_t": {"margin": 0.01}, "fid": {"margin": 2}}, "methods": ["afa"], "steps": [10, 20], "alpha": 0.05}
TRAINING = {"group": "mini-1", "data": {"name": "mini"}, "steps": 10, "lr": 0.001, "batch": 4, "trainable": "afa"}

recipes = documents(read_recipe, RECIPE)
groups = documents(lambda file: read_group(str(file), file.parent, "groups"), GROUP)
policies = documents(read_policy, POLICY)
trainings = documents(read_config, TRAINING)


def statistics(folder: Path, chance: random.Random) -> Iterator[Finding]:
    """Files of moments, as pytorch-fid writes them."""
    file = folder / "s.npz"
    np.savez(file, mu=np.zeros(6), sigma=np.eye(6))
    whole = file.read_bytes()
    while True:
        data = mutated(whole, chance)
        file.write_bytes(data)
        yield tried(partial(read_statistics, file), repr(data))


WEIGHTS = {
    "single_files": single_files,
    "recipes": recipes,
    "groups": groups,
    "policies": policies,
    "trainings": trainings,
    "statistics": statistics,
}
