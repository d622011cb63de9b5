"""The paper's figures, drawn from results. Needs matplotlib (``pip install "afa-bench[figures]"``), and no torch."""

from afa_bench.paper.figures.draw import FIGURES, draw_figure

__all__ = ["FIGURES", "draw_figure"]
