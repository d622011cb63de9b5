"""The web report of a suite's results: one static folder that opens from the file system. Imports no torch."""

from afa_bench.report.write import write_report

__all__ = ["write_report"]
