"""Writes small results folders, file by file as a run leaves them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from afa_bench.identity import fingerprint, sample_id, seed_of
from afa_bench.stats import Interval, mean_interval
from afa_bench.store.layout import CellStore

PROMPTS = 24
IMAGES = 2
EVALUATOR = hashlib.sha256(b"evaluator").hexdigest()
LITE0 = hashlib.sha256(b"lite0").hexdigest()

ODD = "base: R&B_50%|x*"
METHODS = (("base", "base: people", -0.03), ("base", ODD, -0.025), ("weighted", "weighted", 0.0), ("afa", "afa", 0.01))
"""Plug-in, label and skill of each row; the second label is full of what Markdown and LaTeX must escape."""

SHARED: dict[str, Any] = {
    "suite": "tiny",
    "revision": 3,
    "prompts": fingerprint("prompts"),
    "seed": 0,
    "images_per_prompt": IMAGES,
    "repeats": 1,
    "size": 32,
    "dtype": "float32",
}
SAMPLER = {"scheduler": "DDIMScheduler", "guidance": 3.0, "negative_prompt": ""}


def metric(title: str, value: float | None, n: int, order: int, **more: Any) -> dict[str, Any]:
    entry = {"title": title, "value": value, "low": None, "high": None, "n": n, "kind": "per-sample", "direction": "higher"}
    return {**entry, "unit": "", "digits": 3, "version": "1", "weights": {}, "note": None, "order": order, **more}


def noise(*key: str | int) -> float:
    """A number in [-0.5, 0.5), the same on every machine and for every version of numpy."""
    return seed_of(1, *key) / 2**63 - 0.5


def rows(skill: float, key: str, images: int, offset: float, sign: int) -> pd.DataFrame:
    """Samples whose values are a difficulty that methods share, a little noise of their own, and the method's skill."""
    records = []
    for prompt in range(PROMPTS):
        for image in range(images):
            name = f"p{prompt:02d}"
            value = offset + sign * (skill + 0.15 * noise(name, image) + 0.015 * noise(name, image, round(1e4 * skill)))
            records.append(
                {
                    "sample_id": sample_id(name, image, 0),
                    "prompt_id": name,
                    "prompt": f"prompt {prompt}",
                    "category": "single" if prompt % 2 else "scene",
                    "image_index": image,
                    "repeat": 0,
                    "seed": seed_of(0, name, image, 0),
                    "error": None,
                    key: round(value, 6),
                }
            )
    return pd.DataFrame(records)


def bounds(mean: Interval) -> dict[str, float]:
    return {"value": mean.value, "low": mean.low, "high": mean.high}


def write_cell(
    root: Path,
    group: str = "mini-1",
    method: str = "afa",
    label: str | None = None,
    skill: float = 0.0,
    order: int = 0,
    steps: int | None = 10,
    failed: Sequence[int] = (),
    identity: dict[str, Any] | None = None,
    metrics: dict[str, dict[str, Any]] | None = None,
) -> CellStore:
    """One cell with its samples and its summary; ``steps=None`` is a cell of held-out denoising losses."""
    label = label or method
    task = "denoise" if steps is None else "generate"
    whole = {**SHARED, "group": {"name": group}, "method": {"name": method, "label": label}, "task": task}
    whole |= {"denoise": [{"version": "1"}]} if steps is None else {"sampler": SAMPLER, "steps": steps}
    whole |= identity or {}
    mark = fingerprint(whole)
    cell = CellStore(root / f"{group}-{order}.{task if steps is None else f'{steps:03d}'}.{mark[:8]}")
    if steps is None:
        key, frame = "denoising_loss", rows(skill, "denoising_loss", 1, 0.12, -1)
    else:
        key, frame = "clip_t_mini", rows(skill + steps / 1e4, "clip_t_mini", IMAGES, 0.8, 1)
    for index in failed:
        frame.loc[index, [key, "error"]] = [np.nan, "RuntimeError: out of memory"]
    mean = mean_interval(frame[key], frame["prompt_id"])
    facts: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in bounds(mean).items()}
    facts["n"] = mean.n
    if steps is None:
        measured = {key: metric("Denoising loss", order=0, direction="lower", digits=4, **facts)}
    else:
        measured = {
            key: metric("CLIP-T (mini)", order=1, weights={"evaluator": EVALUATOR}, **facts),
            "fid_lite0": metric(
                "FID (lite0)",
                30 - 100 * skill - steps / 10,
                len(frame) - len(failed),
                order=2,
                low=29.5 - 100 * skill - steps / 10,
                high=33 - 100 * skill - steps / 10,
                kind="set",
                direction="lower",
                digits=2,
                weights={"efficientnet-lite0": LITE0},
                note="against 2,048 images of the training distribution",
            ),
        }
    about = {"suite": "tiny", "revision": 3, "group": group, "method": method, "label": label, "order": order, "task": task}
    about |= {"steps": steps, "fingerprint": mark, "identity": whole, "provenance": {"host": "somewhere"}}
    cell.write_about(about)
    frame.to_parquet(cell.samples)
    cell.write_summary({"fingerprint": mark, "samples": len(frame), "failed": len(failed), "metrics": metrics or measured})
    return cell


def rewrite(file: Path, old: str, new: str) -> None:
    """Replace text in a file of a cell, as one from before these files had a sha256 of their own."""
    file.write_text("{" + file.read_text().partition('",')[2].replace(old, new))


def write_results(root: Path, steps: Sequence[int | None] = (None, 10, 20), groups: Sequence[str] = ("mini-1", "mini-2")) -> Path:
    """Two groups of four rows, every cell whole."""
    order = 0
    for group in groups:
        for method, label, skill in METHODS:
            skill += 0.002 * (group == "mini-2")
            for count in steps:
                write_cell(root, group, method, label, skill, order, count)
            order += 1
    return root


def write_big_results(root: Path, rows: int, prompts: int = 200, images: int = 4) -> Path:
    """As many rows as asked for, in cells of DrawBench's size, each with one metric of samples."""
    per_cell = prompts * images
    names = [f"p{prompt:03d}" for prompt in range(prompts) for _ in range(images)]
    ids = [sample_id(names[place], place % images, 0) for place in range(per_cell)]
    shared = [noise(name) for name in names]
    key = "imagereward"
    for order in range(-(-rows // per_cell)):
        method = "afa" if order % 5 == 0 else f"m{order % 5}"
        own = np.random.default_rng(order).normal(scale=0.05, size=per_cell)
        frame = pd.DataFrame({"sample_id": ids, "prompt_id": names, "seed": range(per_cell), key: own + shared})
        cell = write_cell(root, f"g{order // 25}", method, order=order % 5, steps=10 * (1 + order // 5 % 5))
        frame.to_parquet(cell.samples)
        mean = mean_interval(frame[key], frame["prompt_id"])
        facts = {"value": mean.value, "low": mean.low, "high": mean.high}
        summary = {"fingerprint": (cell.about() or {})["fingerprint"], "samples": per_cell, "failed": 0}
        cell.write_summary({**summary, "metrics": {key: metric("ImageReward", n=per_cell, order=0, digits=4, **facts)}})
    return root
