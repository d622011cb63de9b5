"""Whether a group's folders and files are what they are to be, by names and headers, before any weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from afa_bench import registry
from afa_bench.architectures.base import Architecture
from afa_bench.architectures.contents import require_contents
from afa_bench.errors import UserError
from afa_bench.fetch.layout import needed_files
from afa_bench.models.entry import architecture_parts


def require_models(where: str, architecture: Architecture, configs: Path, places: Mapping[str, Path]) -> None:
    """Raise a UserError for a folder or a file of a group that is another thing than a model, or lacks a part.

    What is not there yet is not looked at, nor are the layouts of somebody else's architectures.

    Args:
        where: the group's file, for errors.
        architecture: of the models.
        configs: a folder of configurations in the diffusers layout, for single files.
        places: by their keys in the group's file; that of the pipeline is ``pipeline``.
    """
    if registry.origin(type(architecture)):
        return
    for key, path in places.items():
        pipeline = key == "pipeline"
        try:
            if path.is_file():
                require_contents(path, architecture, configs, pipeline)
            elif path.is_dir():
                needed_files(_names(path), architecture_parts(architecture, pipeline), str(path))
        except UserError as error:
            raise type(error)(f"{where}: {key}: {error}") from error


def _names(folder: Path) -> list[str]:
    """Of the files in a folder and its subfolders."""
    found = (path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)))
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]
