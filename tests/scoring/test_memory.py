"""What scoring holds in memory: as much for twenty thousand images as for six thousand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MIB = 2**20

WIDE = '''
"""Features as wide as Inception's and as ViT-H/14's, which cost next to nothing: random projections of 8 x 8 pixels."""

from pathlib import Path

import numpy as np

from afa_bench.extractors.base import Extractor

RNG = np.random.default_rng(0)
POOL, CLASSES, EMBEDDING = (RNG.standard_normal((192, width), dtype=np.float32) for width in (2048, 1008, 1024))


class Wide(Extractor):
    name = "wide"
    version = 1
    tag = "wide"

    def weights(self):
        return {"wide": Path(__file__)}

    def load(self, device):
        pass

    def prepare(self, image):
        return np.asarray(image).reshape(192).astype(np.float32) / 255

    def encode(self, prepared, captions=()):
        x = np.stack(prepared)
        odds = np.exp(x @ CLASSES / 4)
        embedding = x @ EMBEDDING
        return {
            "pool": np.tanh(x @ POOL),
            "probabilities": odds / odds.sum(axis=1, keepdims=True),
            "embedding": embedding / np.linalg.norm(embedding, axis=1, keepdims=True),
        }

    def texts(self, texts):
        seeds = [sum(text.encode()) for text in texts]
        rows = np.stack([np.random.default_rng(seed).standard_normal(1024, dtype=np.float32) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
'''

METRICS = "clip-t:features=wide,clip-i:features=wide,fid:features=wide,is:features=wide,kid:features=wide:subsets=5"


def write_images(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:06}.png", compress_level=0)
    return folder


def peak_of_scoring(work: Path, count: int) -> int:
    """The largest anonymous memory of ``afa-bench score`` on so many images, captions and reference images, in bytes."""
    images, reference = write_images(work / "images", count, seed=1), write_images(work / "reference", count, seed=2)
    (work / "captions.txt").write_text("".join(f"caption {number}\n" for number in range(count)))
    command = [sys.executable, "-m", "afa_bench", "score", images, "--prompts", work / "captions.txt", "--reference", reference]
    command += ["--metrics", METRICS, "--out", work / "out", "--device", "cpu"]
    with (work / "log").open("w") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=os.environ)
        peak = 0
        while process.poll() is None:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))])
            time.sleep(0.02)
    assert process.returncode == 0, (work / "log").read_text()
    return peak


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "wide-1.0.dist-info").mkdir(parents=True)
    (site / "wide-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: wide\nVersion: 1.0\n")
    (site / "wide-1.0.dist-info" / "entry_points.txt").write_text("[afa_bench.extractors]\nwide = wide:Wide\n")
    (site / "wide.py").write_text(WIDE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    peaks, few, many = {}, 5_500, 12_000
    for count in (few, many):
        work = tmp_path / str(count)
        work.mkdir()
        begun = time.perf_counter()
        peaks[count] = peak_of_scoring(work, count)
        print(f"{count:,} images: {peaks[count] / MIB:.0f} MiB, {time.perf_counter() - begun:.0f} s")
    features = (many - few) * 4 * (2 * (2048 + 1008 + 1024) + 1024)
    assert peaks[many] - peaks[few] < features / 4
