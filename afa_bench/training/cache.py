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

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.objective import Conditions
from afa_bench.identity import fingerprint, fingerprint_of_rows, seed_of
from afa_bench.images.square import cut, scaled
from afa_bench.images.stored import identity, is_plain, name_of, shown
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
"""What text encoders say that is called otherwise in a cache's files; there the number of the encoder follows, as in "text.0"."""


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
            UserError: a size that has no latents of its own.
        """
        loaded.vae.float()
        loaded.group.family.require_size(loaded.vae, size)
        return cls(loaded, encoders, size, crops, seed)

    @property
    def architecture(self) -> Architecture:
        """Of the group."""
        return self.loaded.group.family

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
        """A prompt's image, on the CPU: ``latents`` ``(crops, C, H, W)`` and size conditions ``(crops, ...)``, in fp32.

        Raises:
            UserError: an image that cannot be read.
        """
        vae = self.loaded.vae
        name = name_of(prompt.image or b"", f"the image of {prompt.id}")
        image = shown(prompt.image or b"", name)
        cuts = [cropped(image, self.size, seed_of(self.seed, prompt.id, "crop", crop), name) for crop in range(self.crops)]
        pixels = torch.from_numpy(np.stack([cut for cut, _ in cuts])).permute(0, 3, 1, 2)
        device = next(vae.parameters()).device
        batches = (part.to(device, torch.float32) / 127.5 - 1 for part in pixels.split(BATCH))
        with torch.no_grad():
            latents = torch.cat([self.architecture.latents(vae, batch).cpu() for batch in batches])
        size, own = (image.height, image.width), (self.size, self.size)
        sizes = [self.architecture.size_conditions(size, corner, own) for _, corner in cuts]
        return {"latents": latents, **{name: torch.tensor([one[name] for one in sizes]) for name in sizes[0]}}

    def texts(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """What each distinct encoder says, on the CPU: states ``(len(captions), L, D)`` under "text.0" and so on.

        The pooled embeddings ``(len(captions), P)`` of SDXL and FLUX are under "pooled.0" and so on.
        """
        return self._encoded(lambda own: self.architecture.conditions(captions, self.loaded.tokenizers, own))

    def empty(self) -> dict[str, Tensor]:
        """The same of no text, one row."""
        return self._encoded(lambda own: self.architecture.unconditional(self.loaded.tokenizers, own))

    def _encoded(self, read: Callable[[Sequence[nn.Module]], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {
            f"{KINDS.get(key, key)}.{number}": value.cpu().contiguous()
            for number, encoder in enumerate(self.distinct)
            for key, value in read([encoder]).items()
        }

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
        own = self.architecture.identity()
        parts = [VERSION, fingerprint_of_rows(rows), *words, weights, self.size, self.crops, self.seed]
        return fingerprint([*parts, own] if own else parts)


def cropped(image: Image.Image, size: int, seed: int, name: str = "an image") -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A square of the image by :mod:`afa_bench.images.square`'s rule, cut at a place that the seed draws.

    ``name`` is the image's, for an error.

    Returns:
        ``(size, size, 3)``, and the top and left of the place.
    """
    image = scaled(image, size, name)
    random = np.random.Generator(np.random.PCG64(seed))
    left, top = int(random.integers(image.width - size + 1)), int(random.integers(image.height - size + 1))
    return np.asarray(cut(image, size, (top, left))), (top, left)


def side_by_side(parts: Mapping[str, Tensor], places: Sequence[int]) -> dict[str, Tensor]:
    """The conditions of a cache's tensors: what the encoders at these places say side by side, and those of an image's size."""
    keys = {kind: key for key, kind in KINDS.items()}
    kinds = [name.removesuffix(".0") for name in parts if name.endswith(".0")]
    found = {keys.get(kind, kind): torch.cat([parts[f"{kind}.{place}"] for place in places], dim=-1) for kind in kinds}
    return found | {name: value for name, value in parts.items() if "." not in name and name != "latents"}


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
        conditions = {name: torch.cat([own[name] for _, own in found]) for name in found[0][1]}
        return torch.cat([latents for latents, _ in found]), conditions

    def _row(self, row: int, epoch: int) -> tuple[Tensor, Conditions]:
        shard, place = divmod(row, SHARD)
        if shard not in self._open:
            self._open[shard] = safe_open(_file(self.folder, shard), framework="pt")
        file = self._open[shard]
        found = {name: file.get_slice(name)[place : place + 1] for name in file.keys()}  # noqa: SIM118 - it is no mapping
        for name in found:
            if "." not in name:  # of the image: one for each crop
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
