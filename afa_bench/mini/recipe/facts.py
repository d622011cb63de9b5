"""What ``zoo.json`` says, for people. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.mini.recipe.settings import GROUPS, ROUTERS
from afa_bench.paths import zoo


def load(root: Path | None = None) -> dict[str, Any]:
    """``zoo.json`` of a zoo's folder.

    Raises:
        UserError: the folder holds no finished zoo.
    """
    file = (root or zoo()) / "zoo.json"
    if not file.is_file():
        raise UserError(f"{file}: expected the file that a finished build writes")
    facts: dict[str, Any] = json.loads(file.read_text())
    return facts


def report(root: Path | None = None) -> str:
    """The parts with their parameters, seconds and last losses; the held-out losses of both groups; where the maps look."""
    return "\n".join(_lines(load(root)["parts"]))


def _lines(parts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'part':16s} {'parameters':>10s} {'seconds':>8s} {'last loss':>9s}"
    for name, part in parts.items():
        if "losses" in part and "parameters" in part:
            yield f"{name:16s} {part['parameters']:10,d} {part['seconds']:8.0f} {part['losses'][-1][1]:9.4f}"
    for group in GROUPS:
        measured = parts[f"{group}-measure"]
        size = f"{measured['pairs']} held-out pairs x {len(measured['timesteps'])} timesteps"
        yield f"\n{group}: denoising loss of {size}, 95% intervals"
        for name, loss in measured["losses"].items():
            versus = measured["afa_minus"].get(name)
            text = f"{name:14s} {loss['value']:.4f} [{loss['low']:.4f}, {loss['high']:.4f}]"
            yield f"{text}  AFA {_signed(versus)} ({versus['relative']:+.1%})" if versus else text
        routing = parts[f"{group}-routing"]
        for method in ROUTERS:
            loss, versus, usage = routing["losses"][method], routing["minus"][method]["afa"], routing["usage"][method]
            text = f"{method:14s} {loss['value']:.4f} [{loss['low']:.4f}, {loss['high']:.4f}]"
            collapsed = f"{len(usage['collapsed'])} of {usage['routers']} routers collapsed"
            yield f"{text}  minus AFA {_signed(versus)} ({versus['relative']:+.1%}), {collapsed}"
        maps = parts[f"{group}-maps"]
        yield f"weight of an object's own expert in its half {maps['own_half']:.3f}, in the other {maps['other_half']:.3f}:"
        yield f"{_signed(maps['difference'])} over {maps['scenes']} scenes"


def _signed(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"
