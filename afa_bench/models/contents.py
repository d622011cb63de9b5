"""Whether a group's folders and files are what they are to be, by names and headers, before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from afa_bench import registry
from afa_bench.architectures.contents import require_contents
from afa_bench.errors import UserError
from afa_bench.fetch.layout import needed_files
from afa_bench.models.entry import architecture_parts

if TYPE_CHECKING:
    from afa_bench.models.group import Group


def require_models(group: Group, where: str) -> None:
    """Raise a UserError for a folder or a file of a group that is another thing than a model, or lacks a part. What is not there
    yet is not looked at, nor are the layouts of somebody else's architectures.

    Args:
        group: as its file says it.
        where: its file, for errors.
    """
    architecture = group.family
    if registry.origin(type(architecture)):
        return
    places = {"pipeline": group.pipeline, **{f"models.{model.name}": model.path for model in group.models}}
    for key, path in places.items():
        pipeline = key == "pipeline"
        try:
            if path.is_file():
                require_contents(path, architecture, group.configs or architecture.configs, pipeline)
            elif path.is_dir():
                needed_files(_names(path), architecture_parts(architecture, pipeline), str(path))
        except UserError as error:
            raise type(error)(f"{where}: {key}: {error}") from error


def _names(folder: Path) -> list[str]:
    """Of the files in a folder and its subfolders."""
    return [
        path.relative_to(folder).as_posix() for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)) if path.is_file()
    ]
