"""Reference statistics in a file: the moments of a set's features, computed once, with what they were computed from.

The arrays ``mu`` and ``sigma`` are named as in the files of pytorch-fid, clean-fid and FID's authors: each reads the others'.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import POOL, Extractor, Floats
from afa_bench.identity import fingerprint
from afa_bench.images.decode import decode
from afa_bench.images.stored import StoredImage
from afa_bench.metrics.gaussian import Gaussian, fitted
from afa_bench.metrics.read import check_features
from afa_bench.provenance import provenance
from afa_bench.store.atomic import write_bytes

SCHEMA = 1


@dataclass(frozen=True)
class Statistics:
    """A set of images as Fréchet distances see it.

    Attributes:
        gaussian: of its features.
        about: what they were computed from; empty in a file of another package, which does not say.
    """

    gaussian: Gaussian
    about: Mapping[str, Any]

    def check(self, extractor: Extractor, where: Path) -> None:
        """Make sure that they are of an extractor's features, as far as anything says.

        Raises:
            UserError: they are of another's, of other settings or weights.
        """
        check_features(extractor, POOL, str(where))
        width, own = (extractor.gives or {}).get(POOL), len(self.gaussian.mean)
        if width not in (None, own):
            raise UserError(f"{where}: mu: expected {width} numbers, as {extractor.name} gives features, found {own}")
        if self.about and self.about["extractor"] != extractor.identity:
            theirs, ours = (_in_words(identity) for identity in (self.about["extractor"], extractor.identity))
            raise UserError(f"{where}: expected statistics of {ours}, found those of {theirs}")


def compute(files: Sequence[Path], extractor: Extractor, device: str, batch_size: int, done: Callable[[int], None]) -> Statistics:
    """Statistics of image files, read as a person sees them; no more than a batch of images is held at a time.

    Args:
        files: two images at least, of any size and mode.
        extractor: whose ``pool`` features are taken; it is loaded here.
        device: a torch device.
        batch_size: images at once.
        done: is told how many images are through.

    Raises:
        UserError: a file is unreadable or no image.
    """
    extractor.load(device)
    hashes: dict[str, str] = {}

    def features() -> Iterator[Floats]:
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            yield np.asarray(extractor.images([_seen(path, hashes) for path in chunk])[POOL], dtype=np.float64)
            done(len(chunk))

    gaussian = fitted(features())
    about = {
        "schema": SCHEMA,
        "extractor": extractor.identity,
        "images": len(files),
        "files": fingerprint(sorted(hashes.values())),
        "provenance": provenance(device),
    }
    return Statistics(gaussian, about)


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write an .npz file: ``mu`` ``(D,)``, ``sigma`` ``(D, D)``, ``n``, and ``about`` as JSON."""
    buffer = io.BytesIO()
    gaussian = statistics.gaussian
    np.savez(
        buffer,
        allow_pickle=False,
        mu=gaussian.mean,
        sigma=gaussian.covariance,
        n=np.array(gaussian.n),
        about=np.array(json.dumps(statistics.about, sort_keys=True)),
    )
    write_bytes(path, buffer.getvalue())


def read_statistics(path: Path) -> Statistics:
    """Read statistics of ours, or those that pytorch-fid, clean-fid and the authors of FID publish.

    Raises:
        UserError: unreadable, damaged, or without ``mu`` and ``sigma`` of fitting shapes.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in ("mu", "sigma", "n", "about") if name in content}
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read as statistics: {error}") from error
    mu, sigma = arrays.get("mu"), arrays.get("sigma")
    if mu is None or sigma is None or mu.ndim != 1 or len(mu) == 0 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path}: mu, sigma: expected arrays (D,) and (D, D)")
    if mu.dtype.kind not in "fiu" or sigma.dtype.kind not in "fiu" or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path}: mu, sigma: expected finite numbers")
    mu, sigma = mu.astype(np.float64), sigma.astype(np.float64)
    largest = float(np.abs(sigma).max())
    if np.abs(sigma - sigma.T).max() > 1e-3 * largest or sigma.diagonal().min() < -1e-3 * largest:
        raise UserError(f"{path}: sigma: expected a covariance: symmetric, nothing below 0 on its diagonal")
    return Statistics(Gaussian(mu, sigma, _count(arrays.get("n"), path)), _about(arrays.get("about"), path))


UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError),
    *(SyntaxError, BadZipFile, zlib.error, struct.error),
)
"""What numpy and zipfile raise of a file that is no archive of arrays, or a damaged one."""


def _count(n: Any, path: Path) -> int | None:
    if n is None:
        return None
    if n.shape != () or n.dtype.kind not in "iu" or int(n) < 2:
        raise UserError(f"{path}: n: expected a number of images, 2 at least")
    return int(n)


def _about(text: Any, path: Path) -> Mapping[str, Any]:
    """What ``afa-bench stats`` writes; empty where there is nothing of the kind."""
    if text is None:
        return {}
    try:
        about = json.loads(str(text))
        extractor = about["extractor"]
        whole = isinstance(extractor["name"], str) and isinstance(extractor["weights"], dict) and "version" in extractor
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{path}: about: expected what afa-bench stats writes of the extractor; a file of others has none")
    return cast(Mapping[str, Any], about)


def _seen(path: Path, hashes: dict[str, str]) -> Image.Image:
    data = StoredImage(path, "", "").read()
    hashes[str(path)] = hashlib.sha256(data).hexdigest()
    return decode(data, str(path), as_seen=True)


def _in_words(identity: Mapping[str, Any]) -> str:
    settings = "".join(f", {name} {value}" for name, value in identity.get("settings", {}).items())
    weights = ", ".join(digest[:8] for digest in identity["weights"].values())
    return f"{identity['name']} (version {identity['version']}, weights {weights}{settings})"
