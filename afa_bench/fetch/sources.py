"""Files of the world outside: of a hub repository, of CivitAI, behind an address."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from afa_bench.identity import select

HUB = "HF_ENDPOINT"
"""Environment variable: the hub's address, or a mirror's."""


@dataclass(frozen=True)
class Facts:
    """What a server says of a file before it is fetched; None where it does not say.

    Attributes:
        size: in bytes; good enough to plan with, since CivitAI gives rounded kB.
        sha256: of the bytes.
        revision: the commit that the source's revision stands for now.
        url: where it is fetched, if that is another address than the source's own.
    """

    size: int | None = None
    sha256: str | None = None
    revision: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file from elsewhere.

    Attributes:
        sha256: of its bytes, where it is known beforehand; otherwise the first fetch pins it in the lock file.
        size: in bytes, where it is known beforehand.
        token: the environment variable with the token that its server takes.
        absent: what may be wrong where its server does not have it.
    """

    sha256: str | None = None
    size: int | None = None
    token: ClassVar[str | None] = None
    absent: ClassVar[str] = ""

    @property
    def id(self) -> str:
        """What it is called in the lock file and in messages."""
        raise NotImplementedError

    @property
    def path(self) -> PurePosixPath:
        """Where it lies in the data folder."""
        raise NotImplementedError

    def url(self, revision: str | None = None) -> str:
        """Its address; ``revision`` is the commit that a lock file pins."""
        raise NotImplementedError

    @property
    def facts_url(self) -> str:
        """An address that is asked for its size and sha256."""
        return self.url()

    facts_method: ClassVar[Literal["HEAD", "GET"]] = "HEAD"

    def facts(self, headers: Mapping[str, str], content: Any) -> Facts:
        """What the server's answer says; ``content`` is its JSON for GET.

        Raises:
            UserError: there is no such file.
        """
        length = headers.get("Content-Length", "")
        return Facts(int(length) if length.isdecimal() else None)

    @property
    def page(self) -> str:
        """Where a person reads its terms."""
        return self.url()


@dataclass(frozen=True)
class HubFile(Source):
    """A file of a repository on the Hugging Face hub, at a revision (a commit, or a name that the lock file pins to one)."""

    repo: str
    file: str
    revision: str = "main"
    kind: Literal["models", "datasets"] = "models"
    token: ClassVar[str | None] = "HF_TOKEN"

    @property
    def _place(self) -> str:
        return f"datasets/{self.repo}" if self.kind == "datasets" else self.repo

    @property
    def id(self) -> str:
        """``hub:OWNER/NAME@REVISION/FILE``."""
        return f"hub:{self._place}@{self.revision}/{self.file}"

    @property
    def path(self) -> PurePosixPath:
        """``hub/OWNER/NAME/REVISION/FILE``."""
        return PurePosixPath("hub", self._place, quote(self.revision, safe=""), self.file)

    def url(self, revision: str | None = None) -> str:
        """The hub's ``resolve`` address."""
        return f"{self.page}/resolve/{quote(revision or self.revision, safe='')}/{quote(self.file)}"

    def facts(self, headers: Mapping[str, str], content: Any) -> Facts:
        """The hub's own headers: the commit, and for a large file its size and sha256."""
        size = headers.get("X-Linked-Size") or headers.get("Content-Length", "")
        tag = (headers.get("X-Linked-ETag") or "").strip('W/"')
        return Facts(int(size) if size.isdecimal() else None, tag if is_sha256(tag) else None, headers.get("X-Repo-Commit"))

    @property
    def page(self) -> str:
        """The repository's page."""
        return f"{endpoint(HUB, 'https://huggingface.co')}/{self._place}"


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Files of a hub repository by a pattern, or some of them drawn at random; the lock file keeps what they were at first.

    Attributes:
        pattern: of their names, ``*`` matches ``/`` as well.
        draw: so many of them, drawn by ``seed``; all where it is None.
    """

    repo: str
    pattern: str
    revision: str = "main"
    kind: Literal["models", "datasets"] = "models"
    draw: int | None = None
    seed: int = 0
    token: ClassVar[str] = "HF_TOKEN"
    absent: ClassVar[str] = ""

    @property
    def id(self) -> str:
        """``hub:OWNER/NAME@REVISION/PATTERN``."""
        return HubFile(repo=self.repo, file=self.pattern, revision=self.revision, kind=self.kind).id

    @property
    def path(self) -> PurePosixPath:
        """Where its files lie in the data folder: ``hub/OWNER/NAME/REVISION``."""
        return HubFile(repo=self.repo, file="x", revision=self.revision, kind=self.kind).path.parent

    @property
    def facts_url(self) -> str:
        """The hub's description of the revision: its commit and its files."""
        address = endpoint(HUB, "https://huggingface.co")
        return f"{address}/api/{self.kind}/{self.repo}/revision/{quote(self.revision, safe='')}"

    @property
    def page(self) -> str:
        """The repository's page."""
        return HubFile(repo=self.repo, file=self.pattern, kind=self.kind).page

    def matching(self, names: Iterable[str]) -> list[str]:
        """Those of a repository's names that the pattern matches, in order."""
        return sorted(name for name in names if fnmatchcase(name, self.pattern))

    def files(self, names: Iterable[str], commit: str) -> list[HubFile]:
        """Those that the pattern and the draw choose from a repository's names."""
        known = self.matching(names)
        if self.draw is not None:
            known = sorted(select(known, self.draw, self.seed))
        return [HubFile(repo=self.repo, file=name, revision=commit, kind=self.kind) for name in known]


@dataclass(frozen=True)
class UrlFile(Source):
    """A file behind an address of its own."""

    address: str

    @property
    def id(self) -> str:
        """The address."""
        return self.address

    @property
    def path(self) -> PurePosixPath:
        """``url/HOST/PATH``, under a folder of its query's hash where the address has a query."""
        parts = urlsplit(self.address)
        query = (hashlib.sha256(parts.query.encode()).hexdigest()[:8],) if parts.query else ()
        return PurePosixPath("url", parts.netloc.replace(":", "_"), *query, unquote(parts.path).lstrip("/"))

    def url(self, revision: str | None = None) -> str:
        """The address."""
        return self.address


Needed: TypeAlias = Source | HubFiles
"""What a suite can ask for."""


def endpoint(variable: str, default: str) -> str:
    """A server's address, which an environment variable can replace by a mirror's."""
    return (os.environ.get(variable) or default).rstrip("/")


def other_file(expected: str, found: str) -> str:
    """What to say where a file is not the one that is pinned."""
    return f"wrong hash: expected sha256 {expected}, found {found}: another file than the one that is pinned"


def is_sha256(text: str) -> bool:
    """64 hexadecimal digits."""
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
