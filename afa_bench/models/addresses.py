"""What people write where a model's place is expected, and which entry of a group they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from afa_bench.checkpoints.parts import SUFFIX
from afa_bench.errors import NotFoundError, UserError

UNREAD: Mapping[str, str] = {
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin"), "a pickle, which can run code when it is read"),
    **dict.fromkeys((".gguf", ".sft.gguf"), "quantised weights of GGUF"),
    ".onnx": "a network of ONNX",
    ".msgpack": "weights of Flax",
    ".h5": "weights of Keras",
}
"""Files of weights that are not read, by their suffixes."""

HUB_HOSTS, CIVITAI_HOSTS = ("huggingface.co", "hf.co"), ("civitai.com", "civitai.green", "civitai.red")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|[^/]*\\")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""How a repository of the hub is called: ``owner/name``."""


@dataclass(frozen=True)
class Address:
    """What a text is that is no path.

    Attributes:
        what: in words.
        entry: the keys of a group's entry that would be right; empty where there is none.
    """

    what: str
    entry: Mapping[str, Any]

    def __str__(self) -> str:
        if not self.entry:
            return f"{self.what}; expected a folder, a .safetensors file, or an entry with hub or civitai"
        return f"{self.what}; expected {{{', '.join(f'{key}: {value}' for key, value in self.entry.items())}}}"


def address_of(text: str) -> Address | None:
    """What a text is where it is no path of this machine, such as the address of a page; None for what may be one."""
    if text.startswith(("http://", "https://")):
        return _page(text)
    if text.startswith("urn:air:"):
        version = text.rpartition("@")[2]
        return Address("an AIR name", {"civitai": int(version)} if ":civitai:" in text and version.isdecimal() else {})
    scheme, colon, rest = text.partition(":")
    rest = rest.removeprefix("//")
    if colon and scheme == "civitai":
        return Address("no path", {"civitai": int(rest)} if rest.isdecimal() else {"civitai": "VERSION"})
    if colon and scheme in ("hub", "hf", "huggingface"):
        return Address("no path", _repository(rest))
    if os.name != "nt" and WINDOWS.match(text):
        return Address("a path of Windows, which is none on this machine", {})
    return None


def unread(text: str) -> str:
    """Why a file of this name is not read; empty for one that may be."""
    suffix = PurePosixPath(text).suffix.lower()
    if text.endswith(".safetensors.index.json"):
        return "the index of a model in shards; expected its folder"
    return f"{UNREAD[suffix]}; expected safetensors" if suffix in UNREAD else ""


def refuse_unknown(text: str, where: str, there: bool = False) -> None:
    """Raise a UserError for a text that is no place of a model on this machine, with the entry that would be right.

    Args:
        text: as written.
        where: file and key.
        there: whether a file or a folder is called so.
    """
    if not there and (found := address_of(text)) is not None:
        raise UserError(f"{where}: {text}: {found}")
    if reason := unread(text):
        raise UserError(f"{where}: {text}: {reason}")


def require_place(text: str, where: str) -> None:
    """Raise a UserError for what is neither a folder of this machine nor a repository of the hub, ``owner/name@revision``."""
    path = Path(text).expanduser()
    if path.is_dir():
        return
    if path.is_file() and path.suffix.lower() == SUFFIX:
        raise UserError(f"{where}: {text}: a single file; expected a folder, or the pipeline that from_single_file makes of it")
    found = address_of(text)
    if found is not None and "civitai" in found.entry:
        raise UserError(f"{where}: {text}: {found.what}; expected a folder, or a pipeline that is loaded from its file")
    if found is not None:
        repository = "@".join(str(found.entry[key]) for key in ("hub", "revision") if key in found.entry)
        raise UserError(f"{where}: {text}: {found.what}; expected {repository or 'a folder, or a repository of the hub'}")
    if reason := unread(text):
        raise UserError(f"{where}: {text}: {reason}")
    if not REPOSITORY.fullmatch(text.partition("@")[0]):
        raise NotFoundError(f"{where}: no such folder: {text}; expected one, or a repository of the hub: owner/name")


def not_there(text: str, path: object) -> str:
    """What to say of a folder or a file that is not there; what may be a repository of the hub is named as one."""
    hint = f"; expected {{hub: {text}}} if it is a repository of the hub" if REPOSITORY.fullmatch(text) else ""
    return f"no such {'file' if text.endswith('.safetensors') else 'folder'}: {path}{hint}"


def _page(text: str) -> Address:
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket without its other
        return Address("an address that cannot be read", {})
    host = parts.netloc.lower().removeprefix("www.").partition(":")[0]
    words = [unquote(word) for word in parts.path.split("/") if word]
    if host in HUB_HOSTS:
        if words[:1] in (["datasets"], ["spaces"]):
            return Address(f"a page of the hub's {words[0]}, which are no models", {})
        return Address("a page of the hub", _repository("/".join(words)))
    if host in CIVITAI_HOSTS:
        numbers = parse_qs(parts.query).get("modelVersionId", [])
        numbers += [words[-1]] if len(words) > 1 and words[-2] in ("model-versions", "models") and "api" in words else []
        numbers += [words[1]] if words[:1] == ["model-versions"] and len(words) > 1 else []
        version = next((int(number) for number in numbers if number.isdecimal()), None)
        if version is None:
            return Address("a page of CivitAI that names no version (modelVersionId)", {"civitai": "VERSION"})
        return Address("a page of CivitAI", {"civitai": version})
    return Address("an address; models are fetched from the hub and CivitAI", {})


def _repository(text: str) -> dict[str, Any]:
    """The entry for ``owner/name``, ``owner/name@revision``, ``owner/name/blob/revision/file`` or ``owner/name/file``."""
    words = [word for word in text.split("/") if word]
    if len(words) < 2:
        return {"hub": "OWNER/NAME"}
    name, _, revision = words[1].partition("@")
    rest = words[2:]
    if rest[:1] and rest[0] in ("blob", "resolve", "raw", "tree") and len(rest) > 1:
        revision, rest = rest[1], rest[2:] if rest[0] != "tree" else []
    entry: dict[str, Any] = {"hub": f"{words[0]}/{name}"}
    if rest and rest[-1].endswith(".safetensors"):
        entry["file"] = "/".join(rest)
    if revision and revision != "main":
        entry["revision"] = revision
    return entry
