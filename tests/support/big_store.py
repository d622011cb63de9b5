"""A plan of very many samples, and a results folder in which all of them are made: the true layout, with empty images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import yaml

from afa_bench.cells import Plan, Sample
from afa_bench.plan import make_plan
from afa_bench.store.layout import Store
from afa_bench.suite import read_suite

IMAGES = 4
"""A prompt."""


def big_plan(folder: Path, group: Path, prompts: int, steps: int) -> Plan:
    """``3 * prompts * IMAGES * steps`` samples: a group's three models by so many numbers of steps."""
    folder.mkdir(parents=True)
    (folder / "prompts.txt").write_text(
        "".join(f"a drawing of number {number}, in the style of its time\n" for number in range(prompts))
    )
    suite = {
        "name": "big",
        "groups": [str(group)],
        "prompts": {"name": "file", "path": "prompts.txt"},
        "methods": ["base"],
        "metrics": [{"name": "is", "features": "lite0", "splits": 1}],
        "steps": list(range(1, steps + 1)),
        "size": 8,
        "images_per_prompt": IMAGES,
    }
    (folder / "big.yaml").write_text(yaml.safe_dump(suite))
    return make_plan(read_suite(folder / "big.yaml"))


def fill(plan: Plan, root: Path) -> None:
    """Make every file that a run makes, up to scoring; all cells have the same rows."""
    shards = plan.shards(plan.cells[0])
    rows = [[made(sample) for sample in shards[number]] for number in range(len(shards))]
    first = Store(root).cell(plan.cells[0].name)
    for number, part in enumerate(rows):
        first.write_shard(number, part)
    markers = {first.shard(number).name: first.shard(number).read_bytes() for number in range(len(rows))}
    for cell in plan.cells:
        files = Store(root).cell(cell.name)
        files.images.mkdir(parents=True)
        files.shard(0).parent.mkdir(exist_ok=True)
        for row in (row for part in rows for row in part):
            os.close(os.open(f"{files.images}/{row['file']}", os.O_CREAT | os.O_WRONLY))
        for name, data in markers.items():
            (files.shard(0).parent / name).write_bytes(data)


def made(sample: Sample) -> dict[str, object]:
    """A row as a run writes it before scoring."""
    digest = hashlib.sha256(sample.id.encode()).hexdigest()
    about = {"prompt_id": sample.prompt.id, "prompt": sample.prompt.text, "category": sample.prompt.category}
    which = {"image_index": sample.image_index, "repeat": sample.repeat, "seed": sample.seed}
    file = {"file": f"{digest[:16]}.png", "sha256": digest, "error": None, "seconds": 0.5, "device": "cuda"}
    return {"sample_id": sample.id, **about, **which, **file}
