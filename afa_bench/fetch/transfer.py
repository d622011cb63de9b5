"""One file over HTTP: resumed, retried, checked, whole or absent."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from afa_bench import __version__
from afa_bench.checkpoints.header import read_header
from afa_bench.checkpoints.parts import SUFFIX
from afa_bench.errors import UserError
from afa_bench.fetch.sources import Facts, HubFiles, Needed, Source, other_file

CHUNK = 1 << 16


class Stopped(Exception):  # noqa: N818 - not an error: the user interrupted
    """The user interrupted; what has arrived stays for the next run."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    Attributes:
        tries: attempts in a row that bring no byte before giving up.
        backoff: seconds before the second attempt, doubled from then on, unless the server says how long (``Retry-After``).
        longest: seconds that a server may ask to wait.
        timeout: seconds without a connection or without a byte that end an attempt.
    """

    tries: int = 5
    backoff: float = 1.0
    longest: float = 300.0
    timeout: float = 30.0


class Client:
    """Asks servers, with tokens from the environment; redirects to other hosts do not get them, nor does any message or file."""

    def __init__(self, patience: Patience | None = None, stop: threading.Event | None = None) -> None:
        self.patience = patience or Patience()
        self.stop = stop or threading.Event()
        self._closed: dict[str, str] = {}  # hosts to which no connection can be made, and why: they are not tried file by file

    def listing(self, needed: HubFiles) -> dict[str, Any]:
        """The commit (``revision``) and the names of the ``files`` of a hub repository that a pattern matches.

        Raises:
            UserError: as :meth:`facts`.
        """

        def ask() -> Any:
            with self._open(needed, "GET", needed.facts_url, {}) as answer:
                return _json(answer, needed)

        content = self._patiently(needed, ask)
        try:
            names = [str(file["rfilename"]) for file in content["siblings"]]
            return {"revision": str(content["sha"]), "files": needed.matching(names)}
        except (KeyError, TypeError) as error:
            raise UserError(f"{needed.id}: {needed.facts_url}: expected the hub's description of a repository") from error

    def facts(self, source: Source) -> Facts:
        """Size, sha256 and commit of a source, as its server gives them.

        Raises:
            UserError: it is not there, the token is refused, or the server does not answer.
        """

        def ask() -> Facts:
            with self._open(source, source.facts_method, source.facts_url, {}) as answer:
                return source.facts(answer.headers, _json(answer, source) if source.facts_method == "GET" else None)

        found: Facts = self._patiently(source, ask)
        return found

    def download(
        self, source: Source, url: str, path: Path, sha256: str | None, advance: Callable[[int], None]
    ) -> tuple[str, int]:
        """Bring a file to ``path``; it appears there when it is whole and its hash is right.

        What has arrived is kept as ``PATH.part`` when the connection breaks or the user interrupts, and the next call goes on
        from there (``Range``, only for the same version of the file: ``If-Range``).

        Args:
            source: for messages and its token.
            url: its address.
            path: the final name.
            sha256: what the bytes must be, if that is known.
            advance: told of bytes as they come, negative when they have to come again.

        Returns:
            sha256 and size.

        Raises:
            UserError: refused, not there, a wrong hash, no room on the disk, or no answer; for all but the last, no part is left.
            Stopped: ``stop`` was set.
        """
        part = _Part(path.with_name(f"{path.name}.part"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            advance(part.size)
            self._patiently(source, lambda: self._rest(source, url, part, advance), lambda: part.size)
            size, found = part.size, part.digest()
            if sha256 and found != sha256:
                raise UserError(f"{source.id}: {other_file(sha256, found)}")
            if path.suffix == SUFFIX:
                _require_safetensors(source, part.path)
            part.become(path)
        except OSError as error:
            part.remove()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise UserError(f"{path}: {'no room left on the disk' if full else error.strerror or error}") from error
        except _Unreachable as error:
            raise UserError(str(error)) from error
        except UserError:
            part.remove()
            raise
        return found, size

    def _rest(self, source: Source, url: str, part: _Part, advance: Callable[[int], None]) -> None:
        """One attempt at what is missing of a part."""
        headers = {"Range": f"bytes={part.size}-", "If-Range": part.tag} if part.size and part.tag else {}
        with self._open(source, "GET", url, headers) as answer:
            if "text/html" in answer.headers.get("Content-Type", ""):
                raise UserError(f"{source.id}: a web page came in place of the file: {_access(source, self.token(source))}")
            total = _total(answer)
            if answer.status_code == 416:
                if total == part.size:
                    return
                advance(-part.restart(None))
                raise requests.ConnectionError("the server has another version of the file")
            if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
                advance(-part.restart(_tag(answer)))
            with part.path.open("ab") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
                    if self.stop.is_set():
                        raise Stopped
            if total is not None and part.size != total:
                raise requests.ConnectionError(f"the connection ended after {part.size} of {total} bytes")

    def token(self, source: Needed) -> str:
        """What the source's server takes, from the environment; empty where there is none."""
        return os.environ.get(source.token, "") if source.token else ""

    def _open(self, source: Needed, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """A streamed answer of status 2xx or 416.

        Raises:
            UserError: it will be no better next time.
            _Later: it may be better later.
        """
        token = self.token(source)
        headers = {"User-Agent": f"afa-bench/{__version__}", "Accept-Encoding": "identity", **headers}
        auth = _bearer(token) if token else None
        ask = partial(requests.request, method, url, headers=headers, auth=auth, stream=True, timeout=self.patience.timeout)
        answer = ask(allow_redirects=method == "GET")
        if answer.is_redirect and "X-Linked-Size" not in answer.headers:  # the hub describes a large file where it redirects
            answer.close()
            answer = ask(allow_redirects=True)
        status = answer.status_code
        if status in (200, 206, 416) or answer.is_redirect:
            return answer
        answer.close()
        reason = answer.headers.get("X-Error-Code", "")
        if status in (401, 403) and reason != "RepoNotFound":
            raise UserError(f"{source.id}: {_access(source, token, reason)} (status {status}); its terms: {source.page}")
        if status in (401, 404, 410):
            hidden = f"or one that takes a token: set ${source.token}" if reason == "RepoNotFound" and not token else ""
            hint = {"RepoNotFound": f"no such repository{hidden and f', {hidden}'}", "RevisionNotFound": "no such revision"}
            hints = "; ".join(word for word in (hint.get(reason, ""), source.absent) if word)
            raise UserError(f"{source.id}: not there (status {status}): {url}{hints and f' ({hints})'}")
        if status == 429 or status >= 500:
            raise _Later(f"status {status}", _retry_after(answer.headers.get("Retry-After")))
        raise UserError(f"{source.id}: status {status}: {url}")

    def _patiently(self, source: Needed, attempt: Callable[[], Any], progress: Callable[[], int] | None = None) -> Any:
        """Attempts until one succeeds; those that got somewhere do not count.

        A question, which makes no progress, is asked twice where no connection can be made; then no other file of that host is
        asked about.
        """
        asks, progress, host = progress is None, progress or (lambda: 0), urlsplit(source.facts_url).netloc
        failures, reached = 0, progress()
        while True:
            if asks and host in self._closed:
                raise _Unreachable(f"{source.id}: {self._closed[host]}")
            try:
                return attempt()
            except (requests.RequestException, _Later) as error:
                failures = 1 if progress() > reached else failures + 1
                reached = progress()
                if asks and failures >= 2 and _no_connection(error):
                    self._closed[host] = _words(error)
                wait = getattr(error, "wait", None)
                if wait is not None and wait > self.patience.longest:
                    raise _Unreachable(f"{source.id}: {error}: the server asks to wait {wait:.0f} s; try again then") from error
                if failures >= self.patience.tries or (asks and host in self._closed):
                    raise _Unreachable(f"{source.id}: gave up after {failures} attempts: {_words(error)}") from error
                pause = self.patience.backoff * 2 ** (failures - 1) if wait is None else wait
            if self.stop.wait(pause):
                raise Stopped


def _no_connection(error: Exception) -> bool:
    """Whether a request did not get as far as the server: no network, no such name, nobody who listens, no proxy."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.exceptions.ProxyError | requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


class _Later(Exception):  # noqa: N818 - not an error: a reason to wait
    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


class _Unreachable(UserError):  # noqa: N818 - as above
    """The server did not answer; what has arrived stays."""


class _Part:
    """A file on its way, and beside it the tag of the version that it is a part of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._about = path.with_name(f"{path.name}.tag")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def tag(self) -> str | None:
        return self._about.read_text() if self._about.is_file() else None

    def restart(self, tag: str | None) -> int:
        """Begin again with another version; return how many bytes that loses."""
        lost = self.size
        self.remove()
        if tag:
            self._about.write_text(tag)
        return lost

    def digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def become(self, path: Path) -> None:
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, path)
        self.remove()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def _access(source: Needed, token: str, reason: str = "") -> str:
    """Why a server may not give a file."""
    if not source.token:
        return "refused"
    if reason == "GatedRepo":
        return f"its terms have to be accepted {'by the owner of the token in' if token else 'and a token set:'} ${source.token}"
    return f"the token in ${source.token} was refused" if token else f"a token is needed: set ${source.token}"


def _require_safetensors(source: Source, path: Path) -> None:
    """Raise a UserError for what is no safetensors file, whatever a server calls it: a pointer, a page, a part of one."""
    try:
        read_header(path)
    except UserError as error:
        with path.open("rb") as file:
            begins = file.read(40)
        reason = "a pointer of Git LFS" if begins.startswith(b"version https://git-lfs") else str(error).partition(": ")[2]
        raise UserError(f"{source.id}: what came is no safetensors file: {reason}") from error


def _bearer(token: str) -> Callable[[Any], Any]:
    """The token as a header, which requests takes away when it follows a redirect to another host."""

    def add(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


def _tag(answer: requests.Response) -> str | None:
    """What ``If-Range`` takes: a strong entity tag, else the date of the last change."""
    tag: str = answer.headers.get("ETag", "")
    date: str | None = answer.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else date


def _total(answer: requests.Response) -> int | None:
    """The whole file's size by an answer's headers."""
    if answer.status_code in (206, 416):
        text = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from seconds or a date; None where the server does not say."""
    if text is None:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _json(answer: requests.Response, source: Needed) -> Any:
    try:
        return answer.json()
    except requests.exceptions.JSONDecodeError as error:
        raise UserError(f"{source.id}: {source.facts_url}: expected JSON") from error


def _words(error: Exception) -> str:
    """A failure in a few words: no address, since redirects may carry signatures."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, (_Later, requests.ConnectionError)) and "://" not in str(error) and "host=" not in str(error):
        return str(error)
    return "the connection failed"
