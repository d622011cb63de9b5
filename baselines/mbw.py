"""The method ``mbw``: ``merge`` with other weights in every block of the U-Net (merge block weighted)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from afa_bench.errors import UserError
from baselines.merge import Merge, MergeOptions


class MBWOptions(MergeOptions):
    """Options of ``merge`` whose method is ``mbw``."""

    method: str = "mbw"


class MBW(Merge):
    """25 weights of every model for SD 1.5, 19 for SDXL, and BASE for the text encoders."""

    name = "mbw"
    Options = MBWOptions

    @override
    def read_options(self, given: Mapping[str, Any], where: str, folder: Path) -> MergeOptions:
        """The options of ``mbw``, or those of a recipe of it, such as ``afa-bench search`` finds."""
        options = super().read_options(given if "recipe" in given else {"method": self.name, **given}, where, folder)
        if options.method != self.name:
            raise UserError(f"{where}: method: {options.method}; expected {self.name}")
        return options
