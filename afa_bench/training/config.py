"""The YAML file of a training: its schema and its reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from afa_bench import registry
from afa_bench.errors import NothingToDoError, UserError
from afa_bench.images.find import some
from afa_bench.log import LOG
from afa_bench.method import Options
from afa_bench.models.group import Group, read_group
from afa_bench.prompts.base import Prompt, PromptSet, notes_of, read_prompts
from afa_bench.reading import Choice, Place, Unique, line_of, read_mapping, validated
from afa_bench.training.settings import Count, Positive, Settings
from afa_bench.training.trainable import Trainable

Tracker = Literal["tensorboard", "wandb", "trackio"]


class TrainConfig(Settings):
    """A validated training: what, of which group, on which pairs; the keys of :class:`Settings` stand beside these.

    Attributes:
        group: a packaged group, or a group file's path relative to this one.
        trainable: what is trained, and its options.
        data: a prompt set whose prompts have images, and its options.
        size: height and width in pixels to which images are resized (the shorter side) and cropped at random.
        crops: different random crops of an image, which the epochs take in turn. Each is encoded and kept once.
        validation: pairs that are held out for the validation loss.
        trackers: that the log goes to as well, through accelerate.
    """

    group: str
    trainable: Choice = Choice(name="afa")
    data: Choice
    size: Positive = 512
    crops: Positive = 1
    validation: Count = 64
    trackers: Annotated[tuple[Tracker, ...], Unique] = ()
    file: Annotated[Path, Field(exclude=True)] = Path()

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, document: Any) -> Any:
        if not isinstance(document, Mapping):
            return document
        named = {
            key: {"name": value} for key, value in document.items() if key in ("trainable", "data") and isinstance(value, str)
        }
        return {**document, **named}

    def read_group(self) -> Group:
        """The group's models and where they are."""
        return read_group(self.group, self.file.parent, f"{self.file}: group")

    def read_trainable(self) -> tuple[Trainable[Any], Options]:
        """The trainable and its validated options.

        Raises:
            UserError: an unknown name or option.
        """
        where = f"{self.file}: trainable"
        chosen = self.trainable
        trainable: Trainable[Any] = registry.load("trainables", chosen.name, where, chosen.folder)()
        named = f"{where}: {chosen.name}"
        return trainable, validated(trainable.Options, chosen.options, named, noun="option", folder=chosen.folder)

    def prompt_set(self) -> PromptSet:
        """The prompt set which the pairs come from.

        Raises:
            UserError: an unknown name or option.
        """
        where = f"{self.file}: data"
        chosen = self.data
        kind: type[PromptSet] = registry.load("prompts", chosen.name, where, chosen.folder)
        return validated(kind, chosen.options, f"{where}: {chosen.name}", noun="option", folder=chosen.folder)

    def read_pairs(self) -> list[Prompt]:
        """The prompts which have an image.

        Raises:
            UserError: none has, or what the prompt set says.
        """
        chosen, where = self.prompt_set(), f"{self.file}: data: {self.data.name}"
        found = read_prompts(chosen, self.file.parent, where)
        prompts = [prompt for prompt in found if prompt.image is not None][: chosen.limit]
        if not prompts:
            raise NothingToDoError(f"{where}: no prompt with an image to train on (of a table, image_column names them)")
        if bare := [prompt.id for prompt in found if prompt.image is None]:
            LOG.warning("%s: %d of %d prompts have no image (%s): they take no part", where, len(bare), len(found), some(bare))
        notes_of(chosen, self.file.parent, prompts)
        return prompts


def read_config(path: Path) -> TrainConfig:
    """Read and validate a training's file.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, nodes = read_mapping(path, "of keys such as group, data, trainable, epochs")

    def where(place: Place) -> str:
        return f"{path}:{line_of(nodes, place)}"

    def known(place: Place) -> Iterable[str]:
        return TrainConfig.model_fields

    if "file" in document:
        raise UserError(f"{where(('file',))}: file: unknown key")
    config = validated(TrainConfig, document, where, known)
    for key in ("trainable", "data"):
        getattr(config, key).refuse(f"{where((key,))}: {key}", "label", "groups")
    choices = {"trainable": config.trainable.written_in(path), "data": config.data.written_in(path)}
    return config.model_copy(update={"file": path, **choices})


def is_training(path: Path) -> bool:
    """Whether a file says what to train, and not what to run."""
    return path.is_file() and "data" in read_mapping(path, "of keys")[0]
