"""Results with images, as a run leaves them, for the report and for what is published."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image
from results_factory import METHODS, write_cell

from afa_bench.identity import seed_of
from afa_bench.store.atomic import read_json
from afa_bench.store.layout import CellStore, write_checked

SCRIPT = "<script>window.attacked = true</script><img src=x onerror=\"window.attacked=true\"> & 'quoted' \\ \u2028"


def png(name: str, size: int = 8) -> bytes:
    """A picture in one colour of its own."""
    colour = tuple(seed_of(0, name).to_bytes(8, "big")[1:4])
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")  # type: ignore[arg-type]
    return buffer.getvalue()


def add_images(root: Path, size: int = 8) -> Path:
    """Give every generated sample of a results folder its image, and the first one a hostile prompt."""
    for folder in sorted(path.parent for path in root.glob("*/cell.json")):
        file = folder / "samples.parquet"
        rows = pd.read_parquet(file)
        rows.loc[rows["sample_id"] == "p00/0/0", "prompt"] = SCRIPT
        if read_json(folder / "cell.json")["task"] == "generate":
            (folder / "images").mkdir()
            names, hashes = [], []
            for identity in rows["sample_id"]:
                data = png(f"{folder.name} {identity}", size)
                names.append(f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.png")
                hashes.append(hashlib.sha256(data).hexdigest())
                (folder / "images" / names[-1]).write_bytes(data)
            rows["file"], rows["sha256"] = names, hashes
        rows.to_parquet(file)
    return root


def begun(root: Path, scored: int) -> Path:
    """Four cells are planned, three begun, each with the first shard of its samples, and some of them scored."""
    cells = [write_cell(root, label=f"m{order}", order=order) for order in range(3)]
    add_images(root)
    for cell in cells[scored:]:
        rows = pd.read_parquet(cell.samples).iloc[:32].drop(columns="clip_t_mini").assign(seconds=1.0)
        CellStore(cell.folder).write_shard(0, json.loads(rows.to_json(orient="records")))
        cell.samples.unlink()
        (cell.folder / "summary.json").unlink()
    names = [cell.folder.name for cell in cells] + ["mini-1-3.010.00000000"]
    plan = [{"name": name, "group": "mini-1", "label": f"m{i}", "steps": 10, "samples": 48} for i, name in enumerate(names)]
    write_checked(root / "suite.json", {"cells": plan})
    return root


def write_many(root: Path, samples: int, methods: Sequence[tuple[str, str, float]] = METHODS[2:]) -> Path:
    """One group, one number of steps, and so many samples; all images of a cell are one file."""
    for order, (method, label, skill) in enumerate(methods):
        cell = write_cell(root, method=method, label=label, skill=skill, order=order)
        rows = pd.concat([pd.read_parquet(cell.samples)] * (samples // 48 + 1), ignore_index=True).iloc[:samples]
        rows["sample_id"] = [f"q{index:06d}/0/0" for index in range(samples)]
        rows["prompt_id"] = [f"q{index:06d}" for index in range(samples)]
        rows["prompt"] = [f"prompt number {index}, a little longer than the others" for index in range(samples)]
        rows["seed"] = range(samples)
        rows["clip_t_mini"] += [index / 1e6 for index in range(samples)]
        rows["file"] = [f"{index:016x}.png" for index in range(samples)]
        rows["sha256"] = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(samples)]
        rows.to_parquet(cell.samples)
        cell.images.mkdir()
        (cell.images / rows["file"][0]).write_bytes(png(label))
        for name in rows["file"][1:]:
            os.link(cell.images / rows["file"][0], cell.images / name)
    return root
