"""Whether tensors are all that a model consists of, by the architecture's own list or the configuration that comes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.layout import Layout, Part, modern
from afa_bench.architectures.ldm import VAE
from afa_bench.architectures.tensors import Shapes
from afa_bench.checkpoints.safetensors import Spec
from afa_bench.errors import UserError
from afa_bench.merging.checkpoint import copied, split_spec
from afa_bench.merging.tensors import listed


def parts_of(layout: Layout, specs: Mapping[str, Spec]) -> dict[Part, dict[str, Spec]]:
    """The weights of a checkpoint by part, under diffusers' names; training buffers, marks and position ids aside.

    Raises:
        UserError: a tensor of a VAE that is none of the architecture's.
    """
    found: dict[Part, dict[str, Spec]] = {}
    unknown = []
    for key, spec in specs.items():
        if key.endswith("position_ids") or (copied(key) and not key.startswith(VAE)):
            continue
        link = layout.of_ldm(key)
        if link is None:
            unknown.append(key)
        else:
            found.setdefault(link.part, {}).update(zip(link.diffusers, split_spec(link.change, spec), strict=True))
    if unknown:
        raise UserError(f"merge: {listed(unknown)}: no tensors of {layout.name}'s VAE")
    return found


def shapes_of(architecture: Architecture, part: Part, config: Mapping[str, Any]) -> Shapes:
    """The tensors that a part has by its configuration: diffusers' names and their shapes, position ids aside.

    Where the architecture does not say, the part is built of its class, without memory.

    Raises:
        UserError: a configuration of no such model.
    """
    if (known := architecture.shapes(part, config)) is not None:
        return dict(known)
    import torch

    classes = {architecture.denoiser[0]: architecture.denoiser[1], "vae": architecture.vae, **architecture.encoders}
    kind = architecture.class_of(classes[part])
    try:
        with torch.device("meta"):
            module = kind.from_config(dict(config)) if hasattr(kind, "from_config") else kind(kind.config_class(**config))
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise UserError(f"{part}/config.json: not the configuration of a {kind.__name__}: {error}") from error
    named = ((modern(part, name), tensor) for name, tensor in module.state_dict().items())
    return {name: tuple(tensor.shape) for name, tensor in named if not name.endswith("position_ids")}


def require_complete(
    parts: Mapping[Part, Mapping[str, Spec]], layout: Layout, expected: Mapping[Part, Shapes], shapes: bool, what: str
) -> None:
    """Raise a UserError unless each part is whole, and there is a U-Net, and all text encoders or none.

    Args:
        parts: as of :func:`parts_of`.
        layout: of the architecture.
        expected: of the parts.
        shapes: whether the shapes have to be the same too, and not the names alone.
        what: the error's first words.
    """
    texts = [part for part in layout.texts if part in parts]
    for part in ("unet", *(layout.texts if texts else ())):
        if part not in parts:
            raise UserError(f"{what}: no tensor of the {part}; expected all of {layout.name}'s")
    for part, specs in parts.items():
        wanted = expected[part]
        lacking, unknown = wanted.keys() - specs.keys(), specs.keys() - wanted.keys()
        if lacking or unknown:
            problems = {"lacks": lacking, "has": unknown}
            text = "; ".join(f"{verb} {listed(keys)}" for verb, keys in problems.items() if keys)
            raise UserError(f"{what}: the {part} {text}; expected the {len(wanted)} tensors that {layout.name}'s has")
        other = [name for name, shape in wanted.items() if shapes and tuple(specs[name].shape) != shape]
        if other:
            first = f"{other[0]} {list(specs[other[0]].shape)}, by its configuration {list(wanted[other[0]])}"
            raise UserError(
                f"{what}: the {part} has {len(other)} tensors of another shape: {first}; expected like: of the same kind"
            )
