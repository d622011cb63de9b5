"""Files of CivitAI: the ones of a version, and which of them is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from afa_bench.checkpoints.parts import SUFFIX
from afa_bench.errors import UserError
from afa_bench.fetch.sources import Facts, Source, endpoint, is_sha256
from afa_bench.log import LOG

CIVITAI = "CIVITAI_ENDPOINT"
"""Environment variable: CivitAI's address, or a mirror's."""

LARGEST = 10**12
"""Of the sizes in kB that are believed."""

CHECKPOINT, MODELS = "Checkpoint", ("Model", "Pruned Model")
"""What CivitAI calls a model that is none of the parts or additions of one, and the files of a version that are models."""


@dataclass(frozen=True)
class CivitaiFile(Source):
    """A safetensors file of one version on CivitAI (``modelVersionId``).

    Attributes:
        version: its id.
        file: as CivitAI names it. Without a name it is the one with the sha256, if that is known, else the version's primary one.
    """

    version: int
    file: str | None = None
    token: ClassVar[str | None] = "CIVITAI_TOKEN"
    absent: ClassVar[str] = "civitai takes the id of a version, modelVersionId in the page's address, and no model's"
    facts_method: ClassVar[Literal["HEAD", "GET"]] = "GET"

    @property
    def id(self) -> str:
        """``civitai:VERSION``, and ``/FILE`` where one is named."""
        return f"civitai:{self.version}" + (f"/{self.file}" if self.file else "")

    @property
    def path(self) -> PurePosixPath:
        """``civitai/VERSION.safetensors``, or ``civitai/VERSION/FILE``."""
        return PurePosixPath("civitai", *([str(self.version), self.file] if self.file else [f"{self.version}{SUFFIX}"]))

    def url(self, revision: str | None = None) -> str:
        """The download address of the primary file; only safetensors are asked for."""
        return self._download({})

    @property
    def facts_url(self) -> str:
        """The version's description."""
        return f"{endpoint(CIVITAI, 'https://civitai.com')}/api/v1/model-versions/{self.version}"

    def facts(self, headers: Mapping[str, str], content: Any) -> Facts:
        """Size, sha256 and address of the file that is meant.

        Raises:
            UserError: no checkpoint, no safetensors, or no file of this name or sha256; the message lists those that there are.
        """
        about = content if isinstance(content, Mapping) else {}
        model, files = about.get("model"), about.get("files")
        kind = str(model.get("type") or CHECKPOINT) if isinstance(model, Mapping) else CHECKPOINT
        if kind != CHECKPOINT:
            raise UserError(f"{self.id}: is a {kind}; expected a version of a checkpoint ({self.page})")
        known = [file for file in files if isinstance(file, Mapping)] if isinstance(files, list) else []
        chosen = self._meant(known)
        if chosen is None:
            listed = "; ".join(map(_described, known)) or "none"
            wanted = self.file or (f"sha256 {self.sha256}" if self.sha256 else "a model as safetensors")
            raise UserError(f"{self.id}: has no file {wanted}; its files: {listed}")
        if not (self.file or self.sha256) and len(several := [f for f in known if f.get("type") in MODELS and _safe(f)]) > 1:
            others = "; ".join(_described(file) for file in several if file is not chosen)
            LOG.warning("%s: %s is taken; file or sha256 would take another: %s", self.id, _described(chosen), others)
        kilobytes = chosen.get("sizeKB")
        size = round(kilobytes * 1024) if isinstance(kilobytes, int | float) and 0 <= kilobytes < LARGEST else None
        form = _of(chosen, "metadata")
        exact = {key: str(form[key]) for key in ("size", "fp") if form.get(key)}
        return Facts(size, _sha256(chosen), url=self._download({"type": chosen.get("type") or "Model", **exact}))

    def _meant(self, files: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        safe = [file for file in files if _safe(file)]
        named = [f for f in safe if (f.get("name") == self.file if self.file else f.get("type") in MODELS)]
        pinned = [f for f in safe if self.sha256 and _sha256(f) == self.sha256 and self.file in (None, f.get("name"))]
        if self.sha256 and not pinned and any(_sha256(file) for file in named):
            return None
        return min(pinned or named, key=lambda file: not file.get("primary"), default=None)

    def _download(self, exact: Mapping[str, str]) -> str:
        query = urlencode({"type": "Model", "format": "SafeTensor", **exact})
        return f"{endpoint(CIVITAI, 'https://civitai.com')}/api/download/models/{self.version}?{query}"

    @property
    def page(self) -> str:
        """The version's page."""
        return f"{endpoint(CIVITAI, 'https://civitai.com')}/model-versions/{self.version}"


def _of(file: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = file.get(key)
    return found if isinstance(found, Mapping) else {}


def _safe(file: Mapping[str, Any]) -> bool:
    return _of(file, "metadata").get("format") == "SafeTensor" or str(file.get("name")).endswith(SUFFIX)


def _sha256(file: Mapping[str, Any]) -> str | None:
    found = str(_of(file, "hashes").get("SHA256", "")).lower()
    return found if is_sha256(found) else None


def _described(file: Mapping[str, Any]) -> str:
    """A file for people: its name, kind, form and sha256."""
    form = _of(file, "metadata")
    words = [file.get("type"), *(form.get(key) for key in ("format", "size", "fp")), f"sha256 {_sha256(file) or 'unknown'}"]
    return f"{file.get('name')} ({', '.join(str(word) for word in words if word)})"
