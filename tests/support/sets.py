"""Small data sets in the layouts of the real ones: the files of a server, by the paths that they have there."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from afa_bench.prompts.diffusiondb import DiffusionDB

CATEGORIES = (
    "Colors", "Conflicting", "Counting", "DALL-E", "Descriptions", "Gary Marcus et al.", "Misspellings", "Positional",
    "Rare Words", "Reddit", "Text",
)  # fmt: skip


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (12, 8)) -> bytes:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def drawbench_csv(count: int = 200) -> bytes:
    """The sheet's layout with prompts of our own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["Prompts", "Category"])
    colours = ("red", "green", "blue", "yellow", "black")
    for index in range(count):
        writer.writerow([f'{index + 1} {colours[index % 5]} kites, one of them "torn"', CATEGORIES[index * 11 // count]])
    return buffer.getvalue().encode()


def drawbench() -> dict[str, bytes]:
    return {"/datasets/sayakpaul/drawbench/DrawBench Prompts - Sheet1.csv": drawbench_csv()}


def coco2017() -> dict[str, bytes]:
    def captions(ids: list[int]) -> bytes:
        images = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 8, "width": 12, "license": 1} for i in ids]
        notes = [{"image_id": i, "id": 10 * i + k, "caption": f"Picture {i} told in way {k}. "} for k in (2, 1) for i in ids]
        return json.dumps({"info": {}, "licenses": [], "images": images, "annotations": notes}).encode()

    def images(split: str, ids: list[int]) -> bytes:
        return zipped({f"{split}2017/{i:012d}.jpg": picture(i, "JPEG") for i in ids})

    notes = {f"annotations/captions_{split}2017.json": captions(ids) for split, ids in (("val", [9, 3]), ("train", [1, 2, 4]))}
    return {
        "/annotations/annotations_trainval2017.zip": zipped(notes),
        "/zips/val2017.zip": images("val", [9, 3]),
        "/zips/train2017.zip": images("train", [1, 2, 4]),
    }


def diffusiondb(count: int = 4) -> dict[str, bytes]:
    """Two archives, which are those that the seed draws, with ``count`` images each; the table knows of a third."""
    drawn = sorted(DiffusionDB(parts=2)._archives())
    names = {part: [f"{part:08d}-0000-4000-8000-{index:012d}.png" for index in range(count)] for part in (*drawn, 1999)}
    rows = [(name, part) for part, inside in names.items() for name in inside]
    table = parquet(
        image_name=[name for name, _ in rows],
        prompt=[f"a castle of {name[:8]} bricks, {index}" for index, (name, _) in enumerate(rows)],
        part_id=pa.array([part for _, part in rows], pa.uint16()),
        seed=pa.array([1] * len(rows), pa.uint32()),
        image_nsfw=[0.1] * len(rows),
    )
    files = {"/datasets/poloclub/diffusiondb/metadata.parquet": table}
    for part in drawn:
        inside = {name: picture(part + index) for index, name in enumerate(names[part])} | {f"part-{part:06d}.json": b"{}"}
        files[f"/datasets/poloclub/diffusiondb/images/part-{part:06d}.zip"] = zipped(inside)
    return files


def journeydb(folders: tuple[str, ...], split: str = "valid", annotations: str = "valid_anno_repath") -> dict[str, bytes]:
    names = [(folder, f"{folder}_{index}.jpg") for folder in (*folders, "zzz") for index in range(3)]
    lines = [
        {"img_path": f"./{folder}/{name}", "prompt": f" {name} in oil --ar 16:9 ", "Task2": {"Caption": f"A painting of {name}."}}
        for folder, name in names
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    place = f"/datasets/JourneyDB/JourneyDB/data/{split}"
    files = {f"{place}/{annotations}.jsonl.tgz": tarred({f"{annotations}.jsonl": text})}
    for folder in folders:
        inside = {f"./{f}/{name}": picture(index, "JPEG") for index, (f, name) in enumerate(names) if f == folder}
        files[f"{place}/imgs/{folder}.tgz"] = tarred(inside | {"../../../escaped.jpg": picture(0), "evil.sh": b"rm"})
    return files


def laion_coco() -> dict[str, bytes]:
    return {
        f"/datasets/laion/relaion-coco/part-{part:05d}-c000.snappy.parquet": parquet(
            URL=[f"http://localhost/{i}.jpg" for i in range(5)],
            TEXT=["alt"] * 5,
            top_caption=[f"caption {i} of part {part}" if i else None for i in range(5)],
            hash=[part * 100 - i for i in range(5)],
            punsafe=[0.0] * 5,
        )
        for part in range(3)
    }


def parti() -> bytes:
    rows = [
        "Prompt\tCategory\tChallenge\tNote",
        "two kites\tArtifacts\tQuantity\t",
        'a sign that says "Kites"\tArtifacts\tWriting & Symbols\t',
    ]
    return "\n".join(rows).encode()
