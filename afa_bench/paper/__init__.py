"""The paper's sixteen tables: their numbers, their layout, and what was measured here beside them. Imports no torch."""

from afa_bench.paper.build import paper_table
from afa_bench.paper.numbers import TABLES, printed_numbers

__all__ = ["TABLES", "paper_table", "printed_numbers"]
