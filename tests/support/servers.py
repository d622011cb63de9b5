"""A server on this machine that answers as the hub, its content network and CivitAI do, and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def safetensors(data: bytes) -> bytes:
    """A file of one tensor with these bytes."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


@dataclass
class World:
    """What is served, what is asked, and what goes wrong.

    Attributes:
        files: path -> bytes; ``/OWNER/NAME/FILE`` or ``/datasets/...`` for the hub, any other for plain addresses.
        versions: CivitAI's version -> bytes of its one file.
        about: CivitAI's version -> its description, where it is another than that of one checkpoint.
        token: what a private file takes; None for public ones.
        trouble: called first with the handler; true when it has answered.
        seen: (method, path, headers) of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[int, bytes] = field(default_factory=dict)
    about: dict[int, Any] = field(default_factory=dict)
    token: str | None = None
    trouble: Callable[[Handler], bool] = lambda handler: False
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""
    network: str = ""

    def asked(self, part: str, method: str = "GET") -> list[dict[str, str]]:
        """Headers of the requests with ``part`` in their path."""
        return [headers for verb, path, headers in self.seen if part in path and verb == method]


class Handler(BaseHTTPRequestHandler):
    world: World
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        world, path = self.world, unquote(urlsplit(self.path).path)
        world.seen.append((self.command, path, dict(self.headers)))
        if world.trouble(self):
            return
        if not path.startswith("/cdn/") and world.token and self.headers.get("Authorization") != f"Bearer {world.token}":
            return self.answer(403 if "Authorization" in self.headers else 401)
        if path.startswith("/api/v1/model-versions/"):
            return self.about(int(path.rpartition("/")[2]))
        if path.startswith("/api/download/models/"):
            data = world.versions.get(int(path.rpartition("/")[2]))
            return self.answer(404) if data is None else self.redirect(f"/cdn/civitai/{path.rpartition('/')[2]}")
        if path.startswith(("/api/datasets/", "/api/models/")) and "/revision/" in path:
            place = path.removeprefix("/api").removeprefix("/models").partition("/revision/")[0]
            if not any(key.startswith(f"{place}/") for key in world.files):
                return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            names = [{"rfilename": key.removeprefix(f"{place}/")} for key in world.files if key.startswith(f"{place}/")]
            return self.answer(200, json.dumps({"sha": COMMIT, "siblings": names}).encode())
        if "/resolve/" in path:
            place, _, rest = path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            key = f"{place}/{name}"
            if key not in world.files or revision not in ("main", COMMIT):
                return self.answer(404)
            data = world.files[key]
            about = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha256(data)}"'}
            return self.redirect(f"/cdn{key}", about)
        key = path.removeprefix("/cdn")
        data = world.versions.get(int(key.rpartition("/")[2])) if key.startswith("/civitai/") else world.files.get(key)
        return self.answer(404) if data is None else self.serve(data)

    def about(self, version: int) -> None:
        if version in self.world.about:
            return self.answer(200, json.dumps(self.world.about[version]).encode())
        data = self.world.versions.get(version)
        if data is None:
            return self.answer(404, b'{"error": "No model with id"}')
        hashes = {"AutoV2": sha256(data)[:10].upper(), "SHA256": sha256(data).upper()}
        file = {
            "type": "Model",
            "primary": True,
            "sizeKB": len(data) / 1024,
            "hashes": hashes,
            "metadata": {"format": "SafeTensor"},
        }
        other = {"type": "VAE", "primary": False, "sizeKB": 1, "hashes": {}, "metadata": {"format": "SafeTensor"}}
        return self.answer(200, json.dumps({"id": version, "files": [other, file]}).encode())

    def redirect(self, path: str, headers: dict[str, str] | None = None) -> None:
        return self.answer(302, b"Found", {"Location": f"{self.world.network}{path}", **(headers or {})})

    def serve(self, data: bytes, upto: int | None = None) -> None:
        """A file, or the range of it that is asked for; ``upto`` cuts the connection after so many bytes."""
        tag, start = f'"{sha256(data)}"', 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") in (None, tag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.answer(206 if start else 200, data[start:], headers, upto)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, upto: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:upto])
        if upto is not None:
            self.close_connection = True


@contextmanager
def served(world: World, kind: type[Handler] = Handler) -> Iterator[World]:
    """The world behind two addresses of this machine: the hub's and CivitAI's, and the content network's."""
    handler = type("WorldHandler", (kind,), {"world": world})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    world.address, world.network = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield world
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def failing(times: int, trouble: Callable[[Handler], None], part: str = "/cdn/") -> Callable[[Handler], bool]:
    """Trouble for the first ``times`` requests whose path has ``part`` in it."""
    left = [times]

    def first(handler: Handler) -> bool:
        if part not in handler.path or handler.command != "GET" or not left[0]:
            return False
        left[0] -= 1
        trouble(handler)
        return True

    return first


def hang(seconds: float) -> Callable[[Handler], None]:
    """Say nothing for so long."""

    def wait(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return wait


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
