"""Images and captions to latents and text states, once: the frozen VAE and text encoders never run twice on a pair.

A cache is a folder named by everything that fixes its content: the images, the captions, the weights of the encoders, the size
and the crops. It is written in shards, so that an interrupted encoding goes on, and shared out among the processes of a training.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from afa_bench.errors import UserError
from afa_bench.identity import fingerprint, fingerprint_of_rows, seed_of
from afa_bench.models.load import LoadedGroup
from afa_bench.models.text import encode
from afa_bench.prompts.base import Prompt
from afa_bench.prompts.images import identity, read
from afa_bench.store.atomic import write_bytes

SHARD = 64
"""Pairs in a file."""
BATCH = 8
"""Images of one pass of the VAE."""
VERSION = 1
"""Of the encoding; raise it when a cache's content changes."""


@dataclass(frozen=True)
class Encoding:
    """How pairs are encoded.

    Attributes:
        vae: encodes in fp32; latents are the means of its posterior, scaled.
        tokenizer: of all text encoders.
        encoders: whose states a denoiser takes side by side; equal ones run once.
        size: height and width of the crops, in pixels.
        crops: of each image.
        seed: of where they are cut.
    """

    vae: Any
    tokenizer: Any
    encoders: Sequence[nn.Module]
    size: int
    crops: int = 1
    seed: int = 0

    @classmethod
    def of(cls, loaded: LoadedGroup, encoders: Sequence[nn.Module], size: int, crops: int = 1, seed: int = 0) -> Encoding:
        """By a group's VAE, which is brought to fp32, and its tokenizer.

        Raises:
            UserError: a group of another architecture than Stable Diffusion 1.5.
        """
        family = loaded.group.family
        if family.name != "sd15":
            raise UserError(f"group {loaded.group.name}: {family.name} cannot be trained on or studied yet; expected sd15")
        return cls(loaded.vae.float(), loaded.tokenizer, encoders, size, crops, seed)

    @property
    def distinct(self) -> list[nn.Module]:
        """The encoders, each once."""
        return list({id(encoder): encoder for encoder in self.encoders}.values())

    @property
    def places(self) -> list[int]:
        """Which of the distinct encoders each of the encoders is."""
        ids = [id(encoder) for encoder in self.distinct]
        return [ids.index(id(encoder)) for encoder in self.encoders]

    def latents(self, prompt: Prompt) -> Tensor:
        """``(crops, C, H, W)`` of a prompt's image, in fp32 on the CPU.

        Raises:
            UserError: an image that cannot be read.
        """
        try:
            image = Image.open(io.BytesIO(read(prompt.image or b""))).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{prompt.id}: its image cannot be read: {error}") from error
        cuts = [cropped(image, self.size, seed_of(self.seed, prompt.id, "crop", crop)) for crop in range(self.crops)]
        pixels = torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2)
        device = next(self.vae.parameters()).device
        with torch.no_grad():
            parts = [self.vae.encode(part.to(device, torch.float32) / 127.5 - 1) for part in pixels.split(BATCH)]
        latents = torch.cat([part.latent_dist.mode().cpu() for part in parts]) * self.vae.config.scaling_factor
        return latents  # type: ignore[no-any-return]

    def texts(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Text states ``(len(captions), L, D)`` of each distinct encoder, under "text.0" and so on, on the CPU."""
        return {
            f"text.{index}": encode(captions, self.tokenizer, [encoder]).cpu().contiguous()
            for index, encoder in enumerate(self.distinct)
        }

    def fingerprint(self, prompts: Sequence[Prompt]) -> str:
        """Of everything that a cache of these prompts depends on."""
        rows = ([prompt.id, prompt.text, identity(prompt.image or b"")] for prompt in prompts)
        words = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()
        weights = [_digest(module) for module in (self.vae, *self.distinct)]
        facts = [VERSION, fingerprint_of_rows(rows), words, self.tokenizer.model_max_length, weights]
        return fingerprint([*facts, self.size, self.crops, self.seed])


def cropped(image: Image.Image, size: int, seed: int) -> NDArray[np.uint8]:
    """``(size, size, 3)``: the image with its shorter side resized to ``size``, cut at a place that the seed draws."""
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    if (wide, high) != image.size:
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
    random = np.random.Generator(np.random.PCG64(seed))
    left, top = int(random.integers(wide - size + 1)), int(random.integers(high - size + 1))
    return np.asarray(image.crop((left, top, left + size, top + size)))


class CachedPairs:
    """Encoded pairs in a folder, read row by row as they are needed; see :class:`afa_bench.training.pairs.Pairs`."""

    def __init__(self, folder: Path, count: int, places: Sequence[int]) -> None:
        self.folder, self.count, self.places = folder, count, places
        self.empty = self._side_by_side(load_file(folder / "empty.safetensors").get)
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Latents ``(B, C, H, W)`` of the epoch's crops, and text states ``(B, L, N * D)``."""
        latents, texts = zip(*(self._row(row, epoch) for row in rows), strict=True)
        return torch.cat(latents), torch.cat(texts)

    def _row(self, row: int, epoch: int) -> tuple[Tensor, Tensor]:
        shard, place = divmod(row, SHARD)
        if shard not in self._open:
            self._open[shard] = safe_open(_file(self.folder, shard), framework="pt")
        file = self._open[shard]

        def one(name: str) -> Tensor:
            return file.get_slice(name)[place : place + 1]  # type: ignore[no-any-return]

        crops = one("latents")
        return crops[:, epoch % crops.shape[1]], self._side_by_side(one)

    def _side_by_side(self, named: Callable[[str], Tensor | None]) -> Tensor:
        states = [named(f"text.{place}") for place in self.places]
        return torch.cat([state for state in states if state is not None], dim=-1)


def cache_pairs(
    prompts: Sequence[Prompt],
    encoding: Encoding,
    folder: Path,
    advance: Callable[[int], None],
    rank: int = 0,
    world: int = 1,
    wait: Callable[[], None] = lambda: None,
) -> CachedPairs:
    """The pairs of prompts with images, encoded where they are not yet.

    Args:
        prompts: all with an image.
        encoding: how.
        folder: of all caches.
        advance: told of each number of pairs that is encoded or found.
        rank, world: this process, of how many that share the work.
        wait: returns when all processes are there.

    Raises:
        UserError: an image that cannot be read.
    """
    own = folder / encoding.fingerprint(prompts)[:16]
    for shard in range(rank, -(-len(prompts) // SHARD), world):
        part = prompts[shard * SHARD : (shard + 1) * SHARD]
        if not _file(own, shard).exists():
            latents = torch.stack([encoding.latents(prompt) for prompt in part]).contiguous()
            write_bytes(_file(own, shard), save({"latents": latents, **encoding.texts([prompt.text for prompt in part])}))
        advance(len(part))
    if rank == 0 and not (own / "empty.safetensors").exists():
        write_bytes(own / "empty.safetensors", save(encoding.texts([""])))
    wait()
    return CachedPairs(own, len(prompts), encoding.places)


def _file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.safetensors"


def _digest(module: nn.Module) -> str:
    """sha256 of a module's weights."""
    digest = hashlib.sha256()
    tensors: Iterable[tuple[str, Tensor]] = sorted(module.state_dict().items())
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
