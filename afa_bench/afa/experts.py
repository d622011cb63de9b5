"""Which models an aggregator or a router was trained for: by name, revision and the sha256 of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING

from afa_bench.architectures.find import denoiser_slots
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.errors import UserError, unreadable
from afa_bench.identity import fingerprint
from afa_bench.log import LOG
from afa_bench.store.atomic import read_json, write_bytes

if TYPE_CHECKING:
    from afa_bench.models.group import Group

HASHES = "experts.sha256"
"""A file beside a ``config.json`` that has names alone: lines of sha256 and name, as ``sha256sum`` writes them.

It is for weights that shipped before their configuration had hashes. The configuration is a part of their identity, so that it
cannot be changed any more; this file is none."""


@dataclass(frozen=True)
class Expert:
    """One model.

    Attributes:
        name: the hub's id of its repository, or what its users call it.
        revision: of the repository, if it is on the hub.
        sha256: of its file, or of its denoiser's weights in a folder (of several files: the fingerprint of their names and their
            sha256), if known.
    """

    name: str
    revision: str | None = None
    sha256: str | None = None

    @classmethod
    def read(cls, entry: str | Mapping[str, str | None]) -> Expert:
        """An entry of a SABW's configuration: a name, or a mapping with ``name``, ``revision``, ``sha256``."""
        return cls(entry) if isinstance(entry, str) else cls(str(entry["name"]), entry.get("revision"), entry.get("sha256"))

    @classmethod
    def of(cls, path: Path, name: str | None = None, revision: str | None = None) -> Expert:
        """The model in a folder of the diffusers layout, or in a single file.

        Raises:
            UserError: there is no denoiser in it.
        """
        sha256 = hash_file(path) if path.is_file() else weights_sha256(denoiser_folder(path))
        return cls(name or path.name, revision, sha256)

    def entry(self) -> dict[str, str | None]:
        """As it stands in a SABW's configuration."""
        return asdict(self)


def denoiser_folder(folder: Path) -> Path:
    """The denoiser's folder within a model's.

    Raises:
        UserError: there is none.
    """
    slots = denoiser_slots()
    for slot in slots:
        if (folder / slot).is_dir():
            return folder / slot
    raise UserError(f"{folder}: expected a folder in the diffusers layout, with {' or '.join(f'{slot}/' for slot in slots)}")


def weights_sha256(folder: Path) -> str:
    """The sha256 of the one safetensors file in a folder, or the fingerprint of several.

    Raises:
        UserError: there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: expected a .safetensors file")
    hashes = {file.name: hash_file(file) for file in files}
    return next(iter(hashes.values())) if len(files) == 1 else fingerprint(hashes)


def trained_for(folder: Path) -> list[Expert]:
    """The models which the weights in a folder were trained for, by ``config.json`` and :data:`HASHES`; none if silent.

    Raises:
        UserError: a file is damaged.
    """
    config, hashes = read_json(folder / "config.json"), _hashes(folder / HASHES)
    entries = config.get("experts") if isinstance(config, Mapping) else None
    try:
        experts = [Expert.read(entry) for entry in entries or ()]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: experts: expected names, or mappings with name and sha256") from error
    return [Expert(one.name, one.revision, one.sha256 or hashes.get(one.name)) for one in experts]


def write_hashes(folder: Path, experts: Sequence[Expert]) -> None:
    """Write :data:`HASHES` beside weights whose ``config.json`` has names alone."""
    write_bytes(folder / HASHES, "".join(f"{expert.sha256}  {expert.name}\n" for expert in experts).encode())


def _hashes(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: {error}; expected UTF-8") from error
    pairs = [line.partition("  ") for line in text.splitlines()]
    for number, (sha256, _, name) in enumerate(pairs, start=1):
        if not (len(sha256) == 64 and set(sha256) <= set("0123456789abcdef") and name):
            raise UserError(f"{file}:{number}: expected a sha256, two spaces and a name")
    return {name: sha256 for sha256, _, name in pairs}


def require_experts(trained: Sequence[Expert], found: Sequence[Expert | None], what: str = "SABW") -> None:
    """Raise a UserError which names the first model that is not the one that weights were trained for in its place.

    Models are compared by their sha256, or by their names where one of the two is not known. What could not be compared so well
    is said: a model of which nothing is known (a loaded pipeline) is not compared at all.

    Args:
        trained: for which models; empty where the weights do not say.
        found: the models that there are.
        what: was trained, for the first words.
    """
    if not trained:
        _say(f"{what}: experts: these weights do not say which models they were trained for: nothing is compared")
        return
    if len(trained) != len(found):
        names = ", ".join(expert.name for expert in trained)
        raise UserError(f"{what}: experts: found {len(found)} models; expected {len(trained)}: {names}")
    for number, (expected, model) in enumerate(zip(trained, found, strict=True), start=1):
        if model is None:
            _say(f"{what}: experts: model {number} is a loaded one: whether it is {expected.name} is not compared")
        elif expected.sha256 is None or model.sha256 is None:
            if _own_name(model) != _own_name(expected):
                raise _misplaced(what, number, model.name, expected.name)
            _say(f"{what}: experts: model {number}, {model.name}, is compared by its name: there is no sha256")
        elif expected.sha256 != model.sha256:
            raise _misplaced(
                what, number, f"{model.name} with the sha256 {model.sha256}", f"{expected.name} with the sha256 {expected.sha256}"
            )


def require_group(folder: Path, group: Group, what: str = "SABW") -> None:
    """:func:`require_experts` of the weights in a folder and of a group's models, those alone that are there."""
    found = [Expert.of(ref.path, ref.name) if exists(ref.path) else None for ref in group.models]
    if exists(folder / "config.json") and any(found):
        require_experts(trained_for(folder), found, what)


@cache  # once a process: it holds for every shard
def _say(message: str) -> None:
    LOG.warning("%s", message)


def _own_name(expert: Expert) -> str:
    """Its folder's or its repository's, without the owner and the revision."""
    return expert.name.rstrip("/").rpartition("/")[2].partition("@")[0]


def _misplaced(what: str, number: int, found: str, expected: str) -> UserError:
    return UserError(
        f"{what}: experts: model {number} is {found}; expected {expected}, which the weights were trained for "
        "(check: false allows others)"
    )


def experts_of(group: Group) -> list[Expert]:
    """A group's models; one that is on no disk (of random weights, for a measurement) has no sha256.

    Raises:
        UserError: a folder without a denoiser, or a file that cannot be read.
    """
    return [Expert.of(ref.path, ref.name) if exists(ref.path) else Expert(ref.name) for ref in group.models]
