"""What comes from elsewhere: where it is, where it lies once fetched, what its bytes must be.

A :class:`Source` names one file. ``afa-bench fetch`` brings it into the data folder and writes its sha256 into the lock file
there; :func:`locate` finds it, checks it, and never makes a connection.
"""

from afa_bench.fetch.civitai import CivitaiFile
from afa_bench.fetch.layout import HubModel
from afa_bench.fetch.library import Library, locate
from afa_bench.fetch.sources import HubFile, HubFiles, Needed, Source, UrlFile

__all__ = ["CivitaiFile", "HubFile", "HubFiles", "HubModel", "Library", "Needed", "Source", "UrlFile", "locate"]
