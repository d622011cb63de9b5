"""An aggregator is whatever keeps the protocol: a stranger's works in U-Nets and in transformers, and ensembles know no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from aggregators import Pick
from tiny import tiny_flux, tiny_unet
from unet_cases import randn

import afa_bench.ensembles
from afa_bench.ensembles.aggregator import Aggregator, Average, combine
from afa_bench.ensembles.build import build_ensemble
from afa_bench.ensembles.flux import EnsembleFlux
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.errors import UserError

HEIGHT, WIDTH = 4, 6


def image_ids() -> torch.Tensor:
    ids = torch.zeros(HEIGHT, WIDTH, 3)
    ids[..., 1] += torch.arange(HEIGHT)[:, None]
    ids[..., 2] += torch.arange(WIDTH)
    return ids.flatten(0, 1)


UNET_CALL: dict[str, Any] = {
    "sample": randn(2, 4, HEIGHT, WIDTH), "timestep": torch.tensor([20, 900]), "encoder_hidden_states": randn(2, 6, 16),
}  # fmt: skip
FLUX_CALL: dict[str, Any] = {
    "hidden_states": randn(2, HEIGHT * WIDTH, 8), "encoder_hidden_states": randn(2, 5, 12), "pooled_projections": randn(2, 10),
    "timestep": torch.tensor([0.3, 0.9]), "img_ids": image_ids(), "txt_ids": torch.zeros(5, 3), "guidance": torch.ones(2),
}  # fmt: skip
KINDS = {"unet": (tiny_unet, UNET_CALL, EnsembleUNet, 25), "flux": (tiny_flux, FLUX_CALL, EnsembleFlux, 5)}


class Halves(Aggregator):
    """A stranger's, which inherits the defaults: the first model has the left half of every map, the second the right one."""

    def __init__(self, last_only: bool = False) -> None:
        self.only_last = last_only

    @property
    def last_only(self) -> bool:
        return self.only_last

    def maps(self, index: int, features: Sequence[torch.Tensor], temb: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        width = features[0].shape[3]
        left = (torch.arange(width) < width // 2).float()
        return torch.stack([left, 1 - left])[None, :, None]


def as_map(prediction: torch.Tensor) -> torch.Tensor:
    return prediction if prediction.ndim == 4 else prediction.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_s_aggregator_weighs_at_each_place(kind: str) -> None:
    make, call, ensemble, blocks = KINDS[kind]
    models = [make(seed) for seed in (0, 1)]
    with torch.no_grad():
        first, second = (as_map(model(**call).sample) for model in models)
        halves = as_map(ensemble(models, Halves(last_only=True))(**call).sample)
        everywhere = as_map(ensemble(models, Halves())(**call).sample)
        pick = Pick(1)
        picked = as_map(ensemble(models, pick)(**call).sample)
    torch.testing.assert_close(halves, torch.cat([first[..., : WIDTH // 2], second[..., WIDTH // 2 :]], dim=3))
    assert (everywhere - halves).abs().max() > 1e-3, "at every block is something else than at the last alone"
    torch.testing.assert_close(picked, second)
    assert (len(pick.shapes), pick.prepared) == (blocks, 1), "the text is prepared once, the maps are asked for at every block"
    assert pick.shapes[-1] == second.shape, "it sees the tokens of a transformer as a map"


@pytest.mark.parametrize("kind", KINDS)
def test_the_documented_one(kind: str) -> None:
    document = Path(afa_bench.ensembles.__file__).parents[2] / "docs" / "afa.md"
    (block,) = (
        text for text in re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.M | re.S) if "(Aggregator)" in text
    )
    found: dict[str, Any] = {}
    exec(block, found)
    make, call, ensemble, _ = KINDS[kind]
    models = [make(seed) for seed in range(3)]
    with torch.no_grad():
        copies = ensemble([models[0]] * 3, found["Nearest"]())(**call).sample
        torch.testing.assert_close(copies, models[0](**call).sample, rtol=1e-5, atol=1e-5)
        nearest, average = (ensemble(models, aggregator)(**call).sample for aggregator in (found["Nearest"](), Average()))
    assert nearest.isfinite().all()
    assert (nearest - average).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_averages_are_the_same_object_for_both(kind: str) -> None:
    make, call, ensemble, _ = KINDS[kind]
    models = [make(seed) for seed in range(3)]
    with torch.no_grad():
        noise = build_ensemble(models, Average(last_only=True))
        assert type(noise) is ensemble
        expected = torch.stack([model(**call).sample for model in models]).mean(dim=0)
        torch.testing.assert_close(noise(**call).sample, expected, rtol=1e-5, atol=1e-6)
        block = build_ensemble(models, Average())(**call).sample
        copies = build_ensemble([models[0]] * 3, Average())(**call).sample
        torch.testing.assert_close(copies, models[0](**call).sample, rtol=1e-5, atol=1e-5)
    assert (block - expected).abs().max() > 1e-3


def test_models_with_a_stream_of_their_own_are_themselves_in_every_stock_argument() -> None:
    """What a ControlNet and an adapter add goes to each model's own stream."""
    aggregator = Pick(0)
    with torch.no_grad():
        EnsembleUNet([tiny_unet(0)], aggregator)(**UNET_CALL)
    skips = [randn(*shape) for shape in aggregator.shapes[:13]]  # and the middle block's output
    controls = {"down_block_additional_residuals": skips[:-1], "mid_block_additional_residual": skips[-1]}
    adapters = {"down_intrablock_additional_residuals": [skips[index] for index in (2, 5, 8, 11)]}
    models = [tiny_unet(seed) for seed in range(2)]
    for residuals in (controls, adapters):
        with torch.no_grad():
            found = EnsembleUNet(models, Average(last_only=True))(**UNET_CALL, **residuals).sample
            alone = [model(**UNET_CALL, **copied(residuals)).sample for model in models]
        torch.testing.assert_close(found, torch.stack(alone).mean(dim=0), rtol=1e-5, atol=1e-6)
        assert len(next(iter(residuals.values()))) in (12, 4), "the caller's lists are the caller's"


def copied(residuals: dict[str, Any]) -> dict[str, Any]:
    """The stock forward empties lists and adds in place."""
    return {key: [one.clone() for one in value] if isinstance(value, list) else value for key, value in residuals.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_asked_whether_it_fits_and_follows_its_models(kind: str) -> None:
    make, _, ensemble, _ = KINDS[kind]

    class Refusing(Average):
        def require_fit(self, model: torch.nn.Module, n_models: int) -> None:
            raise UserError(f"mine: {type(model).__name__}, {n_models}")

    class Learned(torch.nn.Module, Halves):
        def __init__(self) -> None:
            super().__init__()
            self.only_last = False
            self.weight = torch.nn.Parameter(torch.zeros(2))

    models = [make(seed) for seed in (0, 1)]
    with pytest.raises(UserError, match=f"mine: {type(models[0]).__name__}, 2"):
        ensemble(models, Refusing())
    learned = Learned()
    built = build_ensemble([model.to(torch.bfloat16) for model in models], learned)
    assert learned.weight.dtype == torch.bfloat16
    assert any(parameter is learned.weight for parameter in built.parameters()), "it is a part of the ensemble"


@pytest.mark.parametrize("size", [None, (4, 5)], ids=str)
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (1, 2, 4, 1), (2, 2, 1, 5)], ids=str)
def test_maps_may_be_the_same_for_all_rows_and_places(size: tuple[int, int] | None, shape: tuple[int, ...]) -> None:
    maps = randn(*shape)
    images, texts = [randn(2, 3, 4, 5), randn(2, 3, 4, 5) + 1], [randn(2, 6, 7), randn(2, 6, 7) - 1]
    firsts = images if size is None else [image.flatten(2).transpose(1, 2) for image in images]
    first, other = combine(maps, list(zip(firsts, texts, strict=True)), size)
    expected = sum(maps[:, number, None] * images[number] for number in (0, 1))
    torch.testing.assert_close(first, expected if size is None else expected.flatten(2).transpose(1, 2))
    means = maps.mean(dim=(2, 3))
    torch.testing.assert_close(other, sum(means[:, number, None, None] * texts[number] for number in (0, 1)))


def test_ensembles_know_neither_afa_nor_baselines() -> None:
    for file in Path(afa_bench.ensembles.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith(("afa_bench.afa", "baselines")), f"{file.name}:{node.lineno}: {name}"
