"""Images and captions to latents and conditions, once: the frozen VAE and text encoders never run twice on a pair.

A cache is a folder named by everything that fixes its content: the images, the captions, the weights of the encoders, the size
and the crops. It is written in shards, so that an interrupted encoding goes on, and shared out among the processes of a training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
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

from afa_bench.architectures.families import FLUX, SDXL
from afa_bench.architectures.objective import Conditions
from afa_bench.architectures.text import conditions
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint, fingerprint_of_rows, seed_of
from afa_bench.images.square import cut, scaled
from afa_bench.images.stored import identity, is_plain, shown
from afa_bench.models.load import LoadedGroup
from afa_bench.prompts.base import Prompt
from afa_bench.store.atomic import write_bytes

SHARD = 64
"""Pairs in a file."""
BATCH = 8
"""Images of one pass of the VAE."""
VERSION = 1
"""Of the encoding; raise it when a cache's content changes."""
KINDS = {"prompt_embeds": "text", "pooled_prompt_embeds": "pooled"}
"""What text encoders say, and how it is called in a cache's files, where the number of the encoder follows."""


@dataclass(frozen=True)
class Encoding:
    """How pairs are encoded.

    Attributes:
        loaded: the group. Its VAE encodes in fp32; latents are the means of its posterior, shifted and scaled.
        encoders: whose states a denoiser takes side by side; equal ones run once.
        size: height and width of the crops, in pixels.
        crops: of each image.
        seed: of where they are cut.
    """

    loaded: LoadedGroup
    encoders: Sequence[nn.Module]
    size: int
    crops: int = 1
    seed: int = 0

    @classmethod
    def of(cls, loaded: LoadedGroup, encoders: Sequence[nn.Module], size: int, crops: int = 1, seed: int = 0) -> Encoding:
        """By a group's VAE, which is brought to fp32, and its tokenizers.

        Raises:
            UserError: a size whose latents are not FLUX' tokens of 2 x 2.
        """
        loaded.vae.float()
        token = 2 ** len(loaded.vae.config.block_out_channels)
        if loaded.group.family is FLUX and size % token:
            raise UserError(f"size: {size}; expected a multiple of {token} pixels for FLUX")
        return cls(loaded, encoders, size, crops, seed)

    @property
    def distinct(self) -> list[nn.Module]:
        """The encoders, each once."""
        return list({id(encoder): encoder for encoder in self.encoders}.values())

    @property
    def places(self) -> list[int]:
        """Which of the distinct encoders each of the encoders is."""
        ids = [id(encoder) for encoder in self.distinct]
        return [ids.index(id(encoder)) for encoder in self.encoders]

    def image(self, prompt: Prompt) -> dict[str, Tensor]:
        """A prompt's image, on the CPU: ``latents`` ``(crops, C, H, W)`` in fp32 and, for SDXL, ``time_ids`` ``(crops, 6)``.

        Raises:
            UserError: an image that cannot be read.
        """
        vae = self.loaded.vae
        image = shown(prompt.image or b"", f"the image of {prompt.id}")
        cuts = [cropped(image, self.size, seed_of(self.seed, prompt.id, "crop", crop)) for crop in range(self.crops)]
        pixels = torch.from_numpy(np.stack([cut for cut, _ in cuts])).permute(0, 3, 1, 2)
        device = next(vae.parameters()).device
        with torch.no_grad():
            parts = [vae.encode(part.to(device, torch.float32) / 127.5 - 1) for part in pixels.split(BATCH)]
        means = torch.cat([part.latent_dist.mode().cpu() for part in parts])
        found = {"latents": (means - vae.config.shift_factor if vae.config.shift_factor else means) * vae.config.scaling_factor}
        if self.loaded.group.family is SDXL:
            sizes = [(image.height, image.width, *place, self.size, self.size) for _, place in cuts]
            found["time_ids"] = torch.tensor(sizes, dtype=torch.float32)
        return found

    def texts(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """What each distinct encoder says, on the CPU: states ``(len(captions), L, D)`` under "text.0" and so on.

        The pooled embeddings ``(len(captions), P)`` of SDXL and FLUX are under "pooled.0" and so on.
        """
        said = [conditions(captions, "", False, self.loaded, [encoder]) for encoder in self.distinct]
        return {f"{KINDS[key]}.{i}": value.cpu().contiguous() for i, own in enumerate(said) for key, value in own.items()}

    def empty(self) -> dict[str, Tensor]:
        """The same of the empty prompt, one row; SDXL takes zeros for it, as its stock pipeline does."""
        said = self.texts([""])
        return {name: torch.zeros_like(value) for name, value in said.items()} if self.loaded.group.family is SDXL else said

    def fingerprint(self, prompts: Sequence[Prompt]) -> str:
        """Of everything that a cache of these prompts depends on."""
        images = [prompt.image or b"" for prompt in prompts]
        odd = ([] if is_plain(image) else ["as seen"] for image in images)
        rows = ([prompt.id, prompt.text, identity(image), *own] for prompt, image, own in zip(prompts, images, odd, strict=True))
        words: list[object] = []
        for tokenizer in self.loaded.tokenizers:
            vocabulary = repr(sorted(tokenizer.get_vocab().items())).encode()
            words += [hashlib.sha256(vocabulary).hexdigest(), tokenizer.model_max_length]
        weights = [_digest(module) for module in (self.loaded.vae, *self.distinct)]
        return fingerprint([VERSION, fingerprint_of_rows(rows), *words, weights, self.size, self.crops, self.seed])


def cropped(image: Image.Image, size: int, seed: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A square of the image by :mod:`afa_bench.images.square`'s rule, cut at a place that the seed draws.

    Returns:
        ``(size, size, 3)``, and the top and left of the place.
    """
    image = scaled(image, size)
    random = np.random.Generator(np.random.PCG64(seed))
    left, top = int(random.integers(image.width - size + 1)), int(random.integers(image.height - size + 1))
    return np.asarray(cut(image, size, (top, left))), (top, left)


def side_by_side(said: Mapping[str, Tensor], places: Sequence[int]) -> dict[str, Tensor]:
    """The conditions of a cache's tensors: what the encoders at these places say side by side, and an image's ``time_ids``."""
    kinds = {key: kind for key, kind in KINDS.items() if f"{kind}.0" in said}
    found = {key: torch.cat([said[f"{kind}.{place}"] for place in places], dim=-1) for key, kind in kinds.items()}
    return found | {name: said[name] for name in ("time_ids",) if name in said}


class CachedPairs:
    """Encoded pairs in a folder, read row by row as they are needed; see :class:`afa_bench.training.pairs.Pairs`."""

    def __init__(self, folder: Path, count: int, places: Sequence[int]) -> None:
        self.folder, self.count, self.places = folder, count, places
        self.empty = side_by_side(load_file(folder / "empty.safetensors"), places)
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Conditions]:
        """Latents ``(B, C, H, W)`` of the epoch's crops, and the conditions; those of N encoders side by side."""
        found = [self._row(row, epoch) for row in rows]
        told = {name: torch.cat([own[name] for _, own in found]) for name in found[0][1]}
        return torch.cat([latents for latents, _ in found]), told

    def _row(self, row: int, epoch: int) -> tuple[Tensor, Conditions]:
        shard, place = divmod(row, SHARD)
        if shard not in self._open:
            self._open[shard] = safe_open(_file(self.folder, shard), framework="pt")
        file = self._open[shard]
        found = {name: file.get_slice(name)[place : place + 1] for name in file.keys()}  # noqa: SIM118 - it is no mapping
        for name in {"latents", "time_ids"} & found.keys():
            found[name] = found[name][:, epoch % found[name].shape[1]]
        return found["latents"], side_by_side(found, self.places)


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
            images = [encoding.image(prompt) for prompt in part]
            stacked = {name: torch.stack([image[name] for image in images]).contiguous() for name in images[0]}
            write_bytes(_file(own, shard), save({**stacked, **encoding.texts([prompt.text for prompt in part])}))
        advance(len(part))
    if rank == 0 and not (own / "empty.safetensors").exists():
        write_bytes(own / "empty.safetensors", save(encoding.empty()))
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
