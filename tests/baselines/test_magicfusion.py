"""MagicFusion against its formulas in plain NumPy, and behind a stock pipeline."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import tiny_unet

from afa_bench.architectures.sd15 import SD15
from afa_bench.errors import UserError
from afa_bench.generation.generator import Generator
from afa_bench.method import Model
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite
from baselines.magicfusion import MagicFusion, MagicFusionOptions
from baselines.magicfusion_unet import MagicFusionUNet, first_largest, fuse, smooth


def group(count: int = 2) -> Any:
    return SimpleNamespace(name="tiny", family=SD15(), models=[SimpleNamespace(name=str(n)) for n in range(count)])


def numpy_smooth(saliency: np.ndarray) -> np.ndarray:
    """Windows of 4 x 4 with a border of zeros, counted in; then each pixel's two nearest means on each axis."""
    channels, height, width = saliency.shape
    padded = np.pad(saliency, ((0, 0), (1, 1), (1, 1)))
    means = np.zeros((channels, height - 1, width - 1))
    for y in range(height - 1):
        for x in range(width - 1):
            means[:, y, x] = padded[:, y : y + 4, x : x + 4].sum((1, 2)) / 16
    result = np.zeros((channels, height, width))
    for y in range(height):
        for x in range(width):
            v = max((y + 0.5) * (height - 1) / height - 0.5, 0)
            h = max((x + 0.5) * (width - 1) / width - 0.5, 0)
            top, left = int(v), int(h)
            bottom, right = min(top + 1, height - 2), min(left + 1, width - 2)
            upper = means[:, top, left] * (1 - (h - left)) + means[:, top, right] * (h - left)
            lower = means[:, bottom, left] * (1 - (h - left)) + means[:, bottom, right] * (h - left)
            result[:, y, x] = upper * (1 - (v - top)) + lower * (v - top)
    return result.mean(0)


def numpy_fusion(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Two models, the first one's unconditional prediction as the reference: the original's setting."""
    size = len(a) // 2
    images = []
    for n in range(size):
        a0, ac, b0, bc = a[n], a[size + n], b[n], b[size + n]
        maps = []
        for text in (ac, bc):
            saliency = numpy_smooth(np.abs(scale * (text - a0)))
            powers = np.exp(saliency - saliency.max())
            maps.append(powers / powers.sum())
        mask = (maps[1] > maps[0])[None]
        images.append(np.where(mask, b0 + scale * (bc - b0), a0 + scale * (ac - a0)))
    return np.stack(images)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 7, 10), (8, 16, 16)])
def test_two_models_as_the_original(shape: tuple[int, int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, *shape, generator=random) for _ in range(2))
    found, winner = fuse([a, b], 5.0, (1.0, 1.0), "first")
    np.testing.assert_allclose(found.numpy(), numpy_fusion(a.double().numpy(), b.double().numpy(), 5.0), rtol=1e-5, atol=1e-5)
    assert 0 < winner.float().mean() < 1


def test_smoothing_is_the_plain_loop() -> None:
    saliency = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(smooth(saliency)[0].numpy(), numpy_smooth(saliency[0].numpy()), rtol=1e-5, atol=1e-6)


def test_the_reference_matters_and_equal_models_are_the_first() -> None:
    random = torch.Generator().manual_seed(2)
    halves = [torch.randn(2, 4, 8, 8, generator=random) for _ in range(3)]
    own, first = (fuse(halves, 3.0, (1, 1, 1), ref)[1] for ref in ("own", "first"))
    assert not torch.equal(own, first)
    same, winner = fuse([halves[0]] * 3, 3.0, (1, 1, 1))
    nothing, text = halves[0].chunk(2)
    torch.testing.assert_close(same, nothing + 3.0 * (text - nothing))
    assert winner.eq(0).all()
    assert first_largest(torch.tensor([[1.0, 2.0], [1.0, 3.0], [0.0, 3.0]])).tolist() == [0, 1]


def unets(count: int = 3) -> MagicFusionUNet:
    return MagicFusionUNet([tiny_unet(n) for n in range(count)], (1.0,) * count)


def inputs(count: int = 3) -> tuple[torch.Tensor, int, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    latents = torch.randn(2, 4, 8, 8, generator=random)
    return torch.cat([latents, latents]), 300, torch.randn(4, 6, count * 16, generator=random)


def test_the_pipeline_s_formula_gives_the_fused_prediction() -> None:
    unet = unets()
    unet.guide(4.0)
    sample, step, text = inputs()
    with torch.no_grad(), unet.record() as record:
        nothing, conditional = unet(sample, step, text).sample.chunk(2)
        halves = [m(sample, step, part).sample for m, part in zip(unet.models, text.chunk(3, -1), strict=True)]
    expected, winner = fuse(halves, 4.0, (1.0,) * 3)
    assert torch.equal(nothing + 4.0 * (conditional - nothing), expected)
    (shares,) = record[300]
    assert shares.shape == (2, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(shares[0, 0].item(), winner[0].eq(0).double().mean().item())


def test_outside_its_window_the_first_model_works_alone() -> None:
    sample, step, text = inputs()
    for window in ({"at_most": 299}, {"above": 300}):
        unet = MagicFusionUNet([tiny_unet(n) for n in range(3)], (1.0,) * 3, **window)  # type: ignore[arg-type]
        unet.guide(4.0)
        with torch.no_grad():
            found = unet(sample, step, text).sample
            assert torch.equal(found, unet.models[0](sample, step, text.chunk(3, -1)[0].contiguous()).sample)
    for window in ({"at_most": 300}, {"above": 299}):
        unet = MagicFusionUNet([tiny_unet(n) for n in range(3)], (1.0,) * 3, **window)  # type: ignore[arg-type]
        unet.guide(4.0)
        with torch.no_grad():
            nothing, conditional = unet(sample, step, text).sample.chunk(2)
        assert torch.equal(nothing, conditional)


def test_without_guidance_it_is_refused() -> None:
    unet = unets(2)
    with pytest.raises(UserError, match="needs guidance above 1: without it there is one prediction, not two; found 1"):
        unet.guide(1.0)
    with pytest.raises(UserError, match="needs guidance: both halves"):
        unet(*inputs(2))


def test_the_number_of_models_and_temperatures() -> None:
    with pytest.raises(UserError, match="k: 3 given; expected one for each of the 2 models"):
        MagicFusion().variants(group(), MagicFusionOptions(k=(1, 1, 1)))
    with pytest.raises(UserError, match="one model has nothing to fuse"):
        MagicFusion().variants(group(1), MagicFusionOptions())
    models = [Model(str(n), tiny_unet(n), torch.nn.Identity()) for n in range(2)]
    built = MagicFusion().build(group(), models, MagicFusionOptions())
    assert built.guide is not None
    assert len(built.text_encoders) == 2


def test_a_suite_plans_it_only_with_guidance(tiny_suite: Path) -> None:
    document = yaml.safe_load(tiny_suite.read_text())
    document |= {"methods": ["magicfusion", "noise-average"], "metrics": ["denoising-loss", *document["metrics"]]}
    document["prompts"] = {"name": "folder", "path": "pictures"}
    (tiny_suite.parent / "pictures").mkdir()
    Image.new("RGB", (8, 8), "red").save(tiny_suite.parent / "pictures" / "a.png")
    (tiny_suite.parent / "pictures" / "a.txt").write_text("a red dog")
    tiny_suite.write_text(yaml.safe_dump(document))
    plan = make_plan(read_suite(tiny_suite), limit=1)
    cells = {(cell.label, cell.task) for cell in plan.cells}
    assert cells == {("magicfusion", "generate"), ("noise-average", "denoise"), ("noise-average", "generate")}
    cell = next(cell for cell in plan.cells if cell.label == "magicfusion")
    images = Generator(plan, "cpu", 2).sample(cell, plan.cell_samples(cell)[:2])
    assert images.shape == (2, 3, 8, 8)
    assert images.isfinite().all()
    document["sampler"]["guidance"] = 1.0
    tiny_suite.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"methods: magicfusion: needs sampler.guidance above 1, .* the suite has 1"):
        make_plan(read_suite(tiny_suite), limit=1)
