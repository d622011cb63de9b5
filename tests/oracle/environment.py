"""The environment of the official packages: built once, kept in pytest's cache.

    python tests/oracle/environment.py FOLDER

builds it in a folder and prints its interpreter.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def build(cache: Path) -> Path:
    """The interpreter of an environment below ``cache``; another version of torch or of a pin is another environment.

    uv is used where there is one, which takes seconds; venv and pip otherwise.
    """
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + f"{torch.__version__} {sys.version} {sys.prefix}".encode()).hexdigest()[:8]
    folder = cache / key
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _install(folder)
        (folder / "complete").touch()
    return folder / "bin" / "python"


def _install(folder: Path) -> None:
    python = str(folder / "bin" / "python")
    uv = [shutil.which("uv") or ""] if shutil.which("uv") else [sys.executable, "-m", "uv"] if find_spec("uv") else []
    if uv:
        _run([*uv, "venv", "-q", "--python", sys.executable, str(folder)])
        _run([*uv, "pip", "install", "-q", "--python", python, "--no-deps", "-r", str(REQUIREMENTS)])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([python, "-m", "pip", "install", "-q", "--no-deps", "-r", str(REQUIREMENTS)])
    (packages,) = folder.glob("lib/python*/site-packages")
    # What is not installed there comes from the tests' own environment: torch, torchvision and what they need.
    (packages / "zz_torch.pth").write_text(str(Path(torch.__file__).parent.parent))
    # hpsv2's wheel lacks the vocabulary that its tokenizer opens.
    shutil.copy(packages / "clip" / "bpe_simple_vocab_16e6.txt.gz", packages / "hpsv2" / "src" / "open_clip")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
