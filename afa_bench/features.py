"""Image features of a run: extracted shard by shard, kept beside the images, read by the metrics."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.metrics.base import Extractor, Floats
from afa_bench.plan import Plan, Sample
from afa_bench.prompts.images import identity, read
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import CellStore, Store

BATCH = 64


class FeatureBank:
    """All features that a plan's metrics ask for. Extractors load on first use, and each image goes through each of them once."""

    def __init__(self, plan: Plan, store: Store, device: str) -> None:
        self.plan = plan
        self.store = store
        self.device = device
        self._loaded: dict[str, Extractor] = {}
        self._memory: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def of_shard(self, extractor: Extractor, cell: CellStore, shard: int, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Features of a shard's images: name -> ``(n, D)``, in the order of ``rows``."""
        made_of = fingerprint([extractor.identity, [row["sha256"] for row in rows]])
        path = cell.features(f"{extractor.name}-{made_of[:8]}", shard)
        return _kept(path, lambda: self._images(extractor, [_stored(cell, row) for row in rows]))

    def texts(self, extractor: Extractor, samples: Sequence[Sample]) -> Floats:
        """Text embeddings of the samples' prompts ``(n, D)``."""
        return self._of_prompts(
            "texts", extractor, samples, lambda chunk: self._load(extractor).texts([s.prompt.text for s in chunk])
        )

    def paired(self, extractor: Extractor, name: str, samples: Sequence[Sample]) -> Floats | None:
        """Features of the prompts' own real images ``(n, D)``, or None unless all have one."""
        if any(sample.prompt.image is None for sample in samples):
            return None

        def images(chunk: Sequence[Sample]) -> Any:
            return self._images(extractor, [decode(read(s.prompt.image or b""), s.prompt.id) for s in chunk])[name]

        return self._of_prompts(f"paired {name}", extractor, samples, images)

    def reference(self, extractor: Extractor, name: str, kind: str) -> Floats | None:
        """Features of the prompt set's reference images ``(m, D)``, or None where it has none."""
        key = ("reference", extractor.name, kind)
        if key not in self._memory:
            pictures = self.plan.prompts.reference(self.plan.suite.file.parent)
            if not pictures:
                return None
            pipeline = self.plan.cells[0].group.pipeline
            vae = self.plan.cells[0].identity["group"]["pipeline"]["vae"] if kind == "vae" else None
            digest = fingerprint(
                [extractor.identity, kind, vae, self.plan.suite.size, [identity(picture) for picture in pictures]]
            )

            def extract() -> Mapping[str, Any]:
                chunks = []
                for start in range(0, len(pictures), BATCH):
                    chunk = pictures[start : start + BATCH]
                    images = [decode(read(picture), f"reference image {start + i}") for i, picture in enumerate(chunk)]
                    chunks.append(
                        self._images(extractor, reconstruct(images, pipeline, self.device) if kind == "vae" else images)
                    )
                return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

            self._memory[key] = _kept(self.store.references(f"{extractor.name}-{kind}-{digest[:8]}"), extract)
        return np.asarray(self._memory[key][name], dtype=np.float64)

    def _of_prompts(
        self, what: str, extractor: Extractor, samples: Sequence[Sample], compute: Callable[[Sequence[Sample]], Any]
    ) -> Floats:
        known = self._memory.setdefault((what, extractor.name), {})
        assert isinstance(known, dict)
        new = [sample for sample in {s.prompt.id: s for s in samples}.values() if sample.prompt.id not in known]
        for start in range(0, len(new), BATCH):
            chunk = new[start : start + BATCH]
            known.update(zip((sample.prompt.id for sample in chunk), compute(chunk), strict=True))
        return np.stack([known[sample.prompt.id] for sample in samples]).astype(np.float64)

    def _images(self, extractor: Extractor, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        network = self._load(extractor)
        chunks = [network.images(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]} if chunks else {}

    def _load(self, extractor: Extractor) -> Extractor:
        if extractor.name not in self._loaded:
            extractor.load(self.device)
            self._loaded[extractor.name] = extractor
        return self._loaded[extractor.name]


def decode(data: bytes, where: str) -> Image.Image:
    """An encoded image as RGB.

    Raises:
        UserError: it is damaged.
    """
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: damaged image: {error}") from error


def reconstruct(images: Sequence[Image.Image], pipeline: Path, device: str) -> list[Image.Image]:
    """Images through a pipeline's VAE and back."""
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(str(pipeline / "vae"), local_files_only=True).float().eval().to(device)
    results: list[Image.Image] = []
    for start in range(0, len(images), BATCH):
        batch = np.stack([np.asarray(image) for image in images[start : start + BATCH]])
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).to(device) / 127.5 - 1
        with torch.no_grad():
            decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        back = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        results += [Image.fromarray(array) for array in back]
    return results


def _stored(cell: CellStore, row: Mapping[str, Any]) -> Image.Image:
    path = cell.images / row["file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise UserError(f"{path}: not the image that was generated (its sha256 is another); delete it and run again")
    return decode(data, str(path))


def _kept(path: Path, compute: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Arrays from an .npz file, computed and written where there is none (or a damaged one)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        pass  # absent or damaged: only a cache, made again below
    arrays = compute()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_bytes(path, buffer.getvalue())
    return arrays
