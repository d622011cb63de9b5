"""Where a result comes from: versions, revision, machine. Recorded beside the results, never part of their identity."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("afa-bench", "torch", "diffusers", "transformers", "numpy", "pillow", "timm")


def provenance(device: str) -> dict[str, Any]:
    """Versions of what computes, the git revision of a checkout, and the kind of machine."""
    return {
        "versions": dict(versions()),
        "git": _git(),
        "host": {"system": platform.system(), "machine": platform.machine(), "device": device},
    }


@cache  # once a process: it is asked for with every shard
def versions() -> Mapping[str, str | None]:
    """Of Python and of the packages that compute; None of one that is not there."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _git() -> str | None:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
