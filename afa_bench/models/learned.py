"""What was trained for a group, such as a SABW or a router, in a folder: written whole, read whole."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file

from afa_bench.errors import UserError


def read_learned(kind: Any, folder: Path, name: str) -> Any:
    """What ``save_pretrained`` wrote to a folder, in fp32, in eval mode and without gradients; every weight must be there.

    Args:
        kind: its class, a diffusers ``ModelMixin``.
        folder: on this machine.
        name: what it is called, for the error.

    Raises:
        UserError: the folder holds another thing, or a damaged one.
    """
    try:
        learned = kind.from_config(kind.load_config(str(folder), local_files_only=True))
        learned.load_state_dict(load_file(folder / SAFETENSORS_WEIGHTS_NAME))
    except UserError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: not a {name}'s folder: {error}") from error
    return learned.eval().requires_grad_(False)


def save_learned(learned: Any, folder: Path) -> None:
    """``save_pretrained``, whole or not at all; what the folder held is replaced."""
    token = secrets.token_hex(4)
    fresh, old = (folder.with_name(f".{folder.name}.{token}.{kind}") for kind in ("part", "old"))
    try:
        learned.save_pretrained(fresh)
        if folder.exists():
            folder.replace(old)
        fresh.replace(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
