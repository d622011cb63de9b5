"""Which models an aggregator was trained for: by name, revision and the sha256 of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afa_bench.architectures.find import denoiser_slots
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.checkpoints.parts import part_folder, read_weights
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint

if TYPE_CHECKING:
    from afa_bench.models.group import Group


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
    def of(cls, path: Path, name: str | None = None, revision: str | None = None, variant: str | None = None) -> Expert:
        """The model in a folder of the diffusers layout (of weights of a ``variant``, if one is named), or in a single file.

        Raises:
            UserError: there is no denoiser in it.
        """
        sha256 = hash_file(path) if path.is_file() else weights_sha256(denoiser_folder(path), variant)
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
        if (place := part_folder(folder, slot)).is_dir():
            return place
    raise UserError(f"{folder}: expected a folder in the diffusers layout, with {' or '.join(f'{slot}/' for slot in slots)}")


def weights_sha256(folder: Path, variant: str | None = None) -> str:
    """The sha256 of the one safetensors file that a model is read from in a folder, or the fingerprint of its shards.

    Raises:
        UserError: there is none.
    """
    hashes = {file.name: hash_file(file) for file in read_weights(folder, variant)[1]}
    return next(iter(hashes.values())) if len(hashes) == 1 else fingerprint(hashes)


def require_experts(trained: Sequence[Expert], found: Sequence[Expert | None]) -> None:
    """Raise a UserError which names the first model that is not the one an aggregator was trained for in its place.

    Models are compared by their sha256. Where it is not known (an expert that is only named), a model is refused if it has the
    name of another expert. A model of which nothing is known (a loaded pipeline) is not compared.
    """
    names = [_own_name(expert) for expert in trained]
    for number, (expected, model) in enumerate(zip(trained, found, strict=False), start=1):
        if model is None:
            continue
        if None in (expected.sha256, model.sha256):
            name = _own_name(model)
            if name in names and names[number - 1] != name:
                raise _misplaced(number, model.name, expected.name)
        elif expected.sha256 != model.sha256:
            raise _misplaced(
                number, f"{model.name} with the sha256 {model.sha256}", f"{expected.name} with the sha256 {expected.sha256}"
            )


def _own_name(expert: Expert) -> str:
    """Its folder's or its repository's, without the owner and the revision."""
    return expert.name.rpartition("/")[2].partition("@")[0]


def _misplaced(number: int, found: str, expected: str) -> UserError:
    return UserError(
        f"SABW: experts: model {number} is {found}; expected {expected}, which the aggregator was trained for "
        "(check: false allows others)"
    )


def experts_of(group: Group) -> list[Expert]:
    """A group's models; one that is on no disk (of random weights, for a measurement) has no sha256.

    Raises:
        UserError: a folder without a denoiser, or a file that cannot be read.
    """
    return [Expert.of(ref.path, ref.name) if ref.path.exists() else Expert(ref.name) for ref in group.models]
