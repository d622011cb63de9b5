"""What a prompt set is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from afa_bench.errors import UserError
from afa_bench.images.find import some
from afa_bench.images.stored import Picture
from afa_bench.log import LOG
from afa_bench.prompts.webui import syntax_notes

if TYPE_CHECKING:
    from afa_bench.fetch import Needed


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt.

    Attributes:
        id: unique in its set and stable over its revisions: seeds derive from it.
        text: given to the text encoder.
        category: for breakdowns; empty where the set has none.
        image: a real image of this prompt, where the set has one.
        negative: what is to be avoided, in place of the suite's negative prompt; None where nothing is said of it.
        cluster: the same for prompts that tell of one picture, whose samples are not independent; the id where it is None.
        repeats: times that a training sees the image in an epoch.
    """

    id: str
    text: str
    category: str = ""
    image: Picture | None = None
    negative: str | None = None
    cluster: str | None = None
    repeats: int = 1


class PromptSet(BaseModel):
    """Base class of a prompt-set plug-in (entry-point group ``afa_bench.prompts``); its fields are the set's options in a suite.

    Attributes:
        source, licence: where the prompts come from, in words.
        limit: take the first so many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: ClassVar[str]
    licence: ClassVar[str]

    limit: Annotated[int, Field(ge=1)] | None = None

    def sources(self) -> Sequence[Needed]:
        """The files that ``afa-bench fetch`` brings for it; none for a set that ships with a package or is the user's own."""
        return ()

    @property
    def expected(self) -> int | None:
        """How many prompts there are, where that is known before they are fetched."""
        return None

    def prompts(self, folder: Path) -> Sequence[Prompt]:
        """All prompts, in the set's order; paths in options are relative to ``folder``, the suite's own."""
        raise NotImplementedError

    def reference(self, folder: Path) -> Sequence[Picture]:
        """Real images of the distribution that set metrics (FID) compare with; empty where there are none."""
        return ()

    def notes(self, folder: Path) -> Sequence[str]:
        """What is to be said of how the prompts were read, a line each: what was passed over, or taken for something else."""
        return ()


def read_prompts(chosen: PromptSet, folder: Path, where: str) -> list[Prompt]:
    """All of a set's prompts.

    Raises:
        UserError: what the set says of its files; something that is no prompt, or an id that two prompts have.
    """
    prompts = list(chosen.prompts(folder))
    ids: set[str] = set()
    for number, prompt in enumerate(prompts, start=1):
        if not (isinstance(prompt, Prompt) and isinstance(prompt.id, str) and isinstance(prompt.text, str)):
            raise UserError(f"{where}: prompt {number}: expected a Prompt with an id and a text, found {prompt!r}")
        if prompt.id in ids:
            raise UserError(f"{where}: prompt {number}: the id {prompt.id!r} is another prompt's; expected unique ids")
        ids.add(prompt.id)
    return prompts


def notes_of(prompt_set: PromptSet, folder: Path, prompts: Sequence[Prompt]) -> list[str]:
    """What is to be said of prompts: how their set read them, which are empty or lack an image that others have, and what in them
    is syntax of web UIs.

    The logger is told.

    Args:
        prompt_set: which they are from.
        folder: the suite's own, as for :meth:`PromptSet.prompts`.
        prompts: those that are used.
    """
    notes = list(prompt_set.notes(folder))
    if empty := [prompt.id for prompt in prompts if not prompt.text.strip()]:
        notes.append(f"{len(empty)} of {len(prompts)} prompts are empty ({some(empty)}): they are taken as that")
    if 0 < len(bare := [prompt.id for prompt in prompts if prompt.image is None]) < len(prompts):
        notes.append(
            f"{len(bare)} of {len(prompts)} prompts have no real image ({some(bare)}): nothing of theirs is compared with one"
        )
    notes += syntax_notes((prompt.text for prompt in prompts), "prompts")
    for note in notes:
        LOG.warning("%s", note)
    return notes
