"""Tables of results: read a results folder, build one table object, write it in any format. Imports no torch."""

from afa_bench.tables.build import build_table
from afa_bench.tables.formats import FORMATS, render
from afa_bench.tables.load import Results, load_results
from afa_bench.tables.model import Table

__all__ = ["FORMATS", "Results", "Table", "build_table", "load_results", "render"]
