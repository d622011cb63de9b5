"""Which folder or URL a name means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

from afa_bench.errors import UserError
from afa_bench.paths import expanded
from afa_bench.store.place import failing, key, storage

ONE_SLASH = re.compile(r"(s3a?|gc?s|az|abfss?|adl|file|memory|https?|hf):/*(?!/)", re.IGNORECASE)
"""How a URL begins that lacks a slash; it would be taken for a folder of this name."""


def place(name: str) -> Path:
    """A folder by its name: a path, or a URL such as ``s3://bucket/results``.

    Listings of a URL are never remembered: other processes write there too.

    Raises:
        UserError: no whole URL; the extra, or the protocol's package, is not installed; the storage does not answer, or has no
            such bucket.
    """
    protocol, url, rest = name.partition("://")
    if not url:
        if found := ONE_SLASH.match(name):
            raise UserError(f"{name}: expected a path, or a URL such as {found[1].lower()}://bucket/results")
        return expanded(name)
    protocol = protocol.lower()
    if protocol == "file":
        return Path(unquote(urlsplit(name).path))
    if not rest.strip("/"):
        raise UserError(f"{name}: expected a URL such as s3://bucket/results")
    try:
        from upath import UPath
    except ImportError:
        raise UserError(f"{name}: needs the extra storage: pip install 'afa-bench[storage]'") from None
    try:
        with failing():
            path = cast(Path, UPath(f"{protocol}://{rest}", use_listings_cache=False))
            storage(path).info(key(path))
    except FileNotFoundError as error:
        if error.__cause__ is not None:  # not the folder, which is made: what it was to be in
            raise UserError(f"{name}: {error}") from error
    except OSError as error:
        raise UserError(f"{name}: cannot be reached: {error}") from error
    return path


def foreign(error: Exception) -> bool:
    """Whether an error is a storage package's own: what it says is for the user, where it was raised is not."""
    return type(error).__module__.partition(".")[0] in ("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google")
