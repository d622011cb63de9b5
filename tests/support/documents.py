"""The files and commands in a Markdown document."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\S+\.\w+)\n")


def files(document: Path) -> dict[str, str]:
    """Blocks that begin with the name of a file, as in ``# suite.yaml``: name -> content."""
    found = [(NAMED.match(text), text) for _, text in BLOCK.findall(document.read_text())]
    return {name[1]: text for name, text in found if name}


def commands(document: Path) -> list[list[str]]:
    """The lines of ``bash`` blocks, as words."""
    return [
        shlex.split(line) for kind, text in BLOCK.findall(document.read_text()) if kind == "bash" for line in text.splitlines()
    ]
