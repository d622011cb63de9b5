"""The YAML file of a merge.

models: {A: one.safetensors, B: two.safetensors}    # relative to the recipe; files or diffusers folders
method: mbw                                         # any merge method
chain: [{blocks: GRAD_V, base: 0.5}]                # the merge method's own settings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, TypeAdapter

from afa_bench import registry
from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.errors import UserError, suggest
from afa_bench.log import deprecated
from afa_bench.merging.method import MergeMethod, find_merge_method
from afa_bench.merging.place import Place
from afa_bench.reading import read_mapping, validated


class Written(BaseModel):
    """A recipe's keys beside the merge method's settings.

    Attributes:
        models: name -> a single file or a diffusers folder, relative to the recipe (or ``zoo:...``, ``data:...``); the merge
            method takes them in this order.
        method: a merge method's name, registered or ``FILE.py:NAME``; its settings are further keys of the recipe.
        vae: the model whose VAE is copied; the first by default.
        like: for output as a diffusers folder: the folder whose configurations, tokenizers and scheduler are copied; the first
            model's by default, where that is one.
        dtype: of the merged tensors; the first model's by default.
        prediction_type, zero_snr: what all models predict, and whether they know a signal-to-noise ratio of zero, whatever they
            say themselves.
        position_ids: ``reset`` puts right those of a text encoder that half precision or a merge has broken.
        overflow: ``clamp`` makes of what is beyond the number format's range its largest number; it is refused by default.
        architecture: of the models, a registered name or ``FILE.py:NAME``; by default what the models themselves say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Annotated[dict[str, str], Field(min_length=1)]
    method: str = "weighted"
    vae: str | None = None
    like: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    zero_snr: StrictBool | None = None
    position_ids: Literal["reset"] | None = None
    overflow: Literal["clamp"] | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A merge of checkpoints: :class:`Written`, with the merge method and its settings as given."""

    models: Mapping[str, str]
    method: MergeMethod
    settings: Mapping[str, Any]
    vae: str | None = None
    like: str | None = None
    dtype: str | None = None
    prediction_type: str | None = None
    zero_snr: bool | None = None
    position_ids: str | None = None
    overflow: str | None = None
    architecture: str | None = None

    @property
    def clamp(self) -> bool:
        return self.overflow == "clamp"

    @property
    def names(self) -> Sequence[str]:
        """Of the models."""
        return list(self.models)

    def document(self) -> dict[str, Any]:
        """What is written to a YAML file for the same recipe, in the same order; a method's file is to lie beside it."""
        found: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        method = registry.relative(self.method.name, registry.folder_of(self.method.function))
        found |= {"models": dict(self.models), "method": method, "settings": None}
        return {key: value for key, value in found.items() if value is not None} | plain(self.settings)

    def require_fit(self, layout: Layout) -> None:
        """Raise a UserError where the settings do not fit the models' architecture."""
        places = [Place("", block, layout) for block in (*layout.blocks, TIME, BASE)]
        self.method.require_fit(len(self.models), self.settings, self.method.name, places)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as YAML and JSON have them: numbers, texts, lists and mappings."""
    return TypeAdapter(dict[str, Any]).dump_python(dict(settings), mode="json")  # type: ignore[no-any-return]


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; the models are not opened.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, _ = read_mapping(path, "of keys such as models, method, alpha")
    return as_recipe(document, str(path), path.parent)


def as_recipe(document: Mapping[str, Any], where: str, folder: Path = Path()) -> Recipe:
    """A recipe from its keys.

    Args:
        document: the keys.
        where: begins an error.
        folder: that the file of a merge method or an architecture is relative to.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """
    if "form" in document:
        deprecated("form", "method")
        document = {"method" if key == "form" else key: value for key, value in document.items()}
    method = find_merge_method(str(document.get("method", "weighted")), f"{where}: method", folder)
    written = validated(method.extended(Written, document), document, where)
    if written.vae is not None and written.vae not in written.models:
        raise UserError(f"{where}: vae: unknown model {written.vae!r}: {suggest(written.vae, written.models)}")
    settings = method.given(written, document)
    method.require_fit(len(written.models), settings, where)
    given = {name: getattr(written, name) for name in Written.model_fields} | {"method": method, "settings": settings}
    return Recipe(**given | {"architecture": written.architecture and registry.anchored(written.architecture, folder)})


def described(recipe: Recipe, place: Place) -> str:
    """What a tensor takes from whom: ``0.7 A + 0.3 B``, or the merge method with its models and settings."""
    method, names = recipe.method, recipe.names
    if method.linear:
        shares = zip(method.shares(len(names), recipe.settings, place), names, strict=True)
        text = " ".join(f"{'-' if share < 0 else '+'} {abs(share):.4g} {name}" for share, name in shares if share)
        return text.removeprefix("+ ")
    settings = method.at(recipe.settings, place)
    return ", ".join([f"{method.name}({', '.join(names)})", *(f"{key} {settings[key]}" for key in recipe.settings)])
