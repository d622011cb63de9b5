"""Any data set on the hub whose files are tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from afa_bench.fetch import HubFiles, Library, Needed
from afa_bench.prompts.base import Prompt
from afa_bench.prompts.file import TablePrompts


class HubPrompts(TablePrompts):
    """Prompts of a hub data set.

    Attributes:
        repo: ``owner/name``.
        revision: a commit; a branch's name is pinned to its commit by the lock file when it is fetched.
        files: which files, with ``*``: .parquet, .csv, .tsv or .jsonl; in the order of their names.
    """

    source: ClassVar[str] = "a data set on the Hugging Face hub"
    licence: ClassVar[str] = "the data set's"

    repo: str
    revision: str = "main"
    files: str = "*.parquet"

    def sources(self) -> Sequence[Needed]:
        """The files of the data set."""
        return [HubFiles(repo=self.repo, pattern=self.files, revision=self.revision, kind="datasets")]

    def prompts(self, folder: Path) -> list[Prompt]:
        """The rows of all files.

        Raises:
            UserError: not fetched, changed since, or as ``TablePrompts.of_tables``.
        """
        return self.of_tables(self._files())

    def notes(self, folder: Path) -> Sequence[str]:
        """A column of negative prompts that is not taken."""
        return self.table_notes(self._files())

    def _files(self) -> list[Path]:
        library = Library()
        return [library.locate(source) for need in self.sources() for source in library.files(need)]
