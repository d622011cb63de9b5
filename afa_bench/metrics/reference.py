"""Reference statistics in a file: the moments of a set's features, computed once, with what they were computed from.

The arrays ``mu`` and ``sigma`` are named as in the files of pytorch-fid, clean-fid and FID's authors: each reads the others'.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.base import Extractor, Floats
from afa_bench.identity import fingerprint
from afa_bench.images.decode import decode
from afa_bench.images.stored import StoredImage
from afa_bench.metrics.gaussian import Gaussian, fitted
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
        """Make sure that they are of an extractor's features.

        Raises:
            UserError: they are of another's, of other settings or weights.
        """
        if self.about and self.about["extractor"] != extractor.identity:
            theirs, ours = (_told(identity) for identity in (self.about["extractor"], extractor.identity))
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
            yield np.asarray(extractor.images([_seen(path, hashes) for path in chunk])["pool"], dtype=np.float64)
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
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as statistics: {error}") from error
    mu, sigma = arrays.get("mu"), arrays.get("sigma")
    if mu is None or sigma is None or mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path}: mu, sigma: expected arrays (D,) and (D, D)")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path}: mu, sigma: expected finite numbers")
    n = int(arrays["n"]) if "n" in arrays else None
    about = json.loads(str(arrays["about"])) if "about" in arrays else {}
    return Statistics(Gaussian(mu.astype(np.float64), sigma.astype(np.float64), n), about)


def _seen(path: Path, hashes: dict[str, str]) -> Image.Image:
    data = StoredImage(path, "", "").read()
    hashes[str(path)] = hashlib.sha256(data).hexdigest()
    return decode(data, str(path), as_seen=True)


def _told(identity: Mapping[str, Any]) -> str:
    settings = "".join(f", {name} {value}" for name, value in identity.get("settings", {}).items())
    weights = ", ".join(digest[:8] for digest in identity["weights"].values())
    return f"{identity['name']} (version {identity['version']}, weights {weights}{settings})"
