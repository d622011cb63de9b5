"""Mixtures of experts: routing in inference and in training, what is counted, and what the zoo's routers do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_unet

from afa_bench.architectures.unet_blocks import BlockView
from afa_bench.errors import UserError
from afa_bench.method import Model
from afa_bench.mini.recipe.settings import GROUPS
from afa_bench.mini.recipe.zoo import Zoo
from baselines.moe.method import BlockMoE, DenoiserMoE, MoEOptions
from baselines.moe.router import Router, one_hot
from baselines.moe.trainable import RouterOptions, TrainBlockMoE, TrainDenoiserMoE
from baselines.moe.unets import build_mixture
from baselines.moe.usage import picture

LEVELS = ("block", "denoiser")
UNETS = [tiny_unet(seed).requires_grad_(False) for seed in range(3)]


def inputs(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    states = torch.randn(rows, 6, 3 * 16, generator=random)
    return torch.randn(rows, 4, 8, 8, generator=random), torch.tensor([300, 20, 900, 500])[:rows], states


def mixture(level: Any, bias: torch.Tensor | None = None) -> Any:
    """A mixture of three tiny U-Nets: routers which say ``bias``, or, on ``inputs()``, not the same for all rows."""
    torch.manual_seed(1)
    router = Router.for_unet(UNETS[0], 3, level, hidden=16)
    for block in router.blocks:
        if bias is None:
            torch.nn.init.normal_(block.head.weight, std=5.0)
        else:
            block.head.bias.data.copy_(bias)
    unet = build_mixture(UNETS, router.requires_grad_(False), level).eval()
    if bias is None:
        hooks = [block.head.register_forward_pre_hook(centre) for block in router.blocks]
        with torch.no_grad():
            unet(*inputs())
        for hook in hooks:
            hook.remove()
    return unet


def centre(head: torch.nn.Linear, given: tuple[torch.Tensor]) -> None:
    """Take from each model's logits their mean over the rows."""
    head.bias.data.copy_(-(given[0] @ head.weight.T).mean(dim=0))


def one_model(number: int, rows: slice = slice(None)) -> torch.Tensor:
    sample, timestep, states = inputs()
    text = states.chunk(3, dim=-1)[number][rows]
    return UNETS[number](sample[rows], timestep[rows], text).sample


@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_one_hot_logits_give_the_chosen_experts_output(level: str) -> None:
    for number in range(3):
        bias = torch.zeros(3)
        bias[number] = 9.0
        assert torch.equal(mixture(level, bias)(*inputs()).sample, one_model(number))
    assert torch.equal(mixture(level, torch.zeros(3))(*inputs()).sample, one_model(0))  # a tie: the first


@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_grouped_inference_is_row_by_row(level: str) -> None:
    unet = mixture(level)
    sample, timestep, states = inputs()
    with unet.router.record() as usage:
        together = unet(sample, timestep, states).sample
    assert any(len(choice.experts.unique()) > 1 for choice in usage.choices)
    for row in range(4):
        with unet.router.record() as alone:
            one = unet(sample[row : row + 1], timestep[row : row + 1], states[row : row + 1]).sample
        assert (together[row] - one[0]).abs().max() < 1e-5
        assert [int(choice.experts[0]) for choice in alone.choices] == [int(choice.experts[row]) for choice in usage.choices]


@torch.no_grad()
def test_a_denoisers_rows_are_their_experts() -> None:
    unet = mixture("denoiser")
    with unet.router.record() as usage:
        together = unet(*inputs(), return_dict=False)[0]
    experts = usage.choices[0].experts.tolist()
    assert len(set(experts)) > 1
    for row, expert in enumerate(experts):
        assert (together[row] - one_model(expert, slice(row, row + 1))[0]).abs().max() < 1e-5


@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_expert_calls_are_counted(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = mixture(level)
    ran = []
    for number, model in enumerate(UNETS):
        convolution = model.conv_in.forward
        monkeypatch.setattr(model.conv_in, "forward", lambda x, n=number, f=convolution: ran.append((n, len(x))) or f(x))
    with unet.router.record() as usage:
        unet(*inputs())
    assert len(ran) == usage.choices[0].calls  # each expert of the first block, or of the denoiser, once
    assert sum(rows for _, rows in ran) == 4
    summary = usage.summary()
    assert summary["calls_a_step"] == sum(choice.calls for choice in usage.choices)
    assert summary["routers"] == len(unet.router.blocks) == {"block": 25, "denoiser": 1}[level]


@torch.no_grad()
def test_the_halves_of_guidance_are_rows_of_their_own() -> None:
    unet = mixture("denoiser")
    sample, _, states = inputs(2)
    with unet.router.record() as usage:
        unet(torch.cat([sample, sample]), 500, torch.cat([states, states]))
        unet(torch.cat([sample, sample]), 500, torch.cat([states, states.flip(0)]))
    halves = usage.choices[1].experts.chunk(2)
    assert usage.summary(guided=True)["halves_disagree"] == (halves[0] != halves[1]).float().mean() / 2


@torch.no_grad()
def test_a_collapsed_router_is_reported() -> None:
    fixed, free = mixture("block", torch.tensor([0.0, 1.0, 0.0])), mixture("block")
    with fixed.router.record() as all_to_one:
        fixed(*inputs())
    assert all_to_one.summary()["collapsed"] == list(range(25))
    assert all_to_one.summary()["shares"][3] == [[0, 1, 0]]  # of 4 rows at the first row's timestep
    with free.router.record() as usage:
        free(*inputs())
    collapsed = usage.summary()["collapsed"]
    assert len(collapsed) < 25
    for choice in usage.choices:
        assert (choice.block in collapsed) == (len(choice.experts.unique()) == 1)


@pytest.mark.parametrize("level", LEVELS)
def test_training_is_straight_through(level: str) -> None:
    """Equations 14 to 16: the value of a one-hot choice, the gradient of the softmax; all models run."""
    unet = mixture(level, torch.tensor([0.3, -0.2, 0.1]))
    unet.router.train().requires_grad_(True)
    torch.manual_seed(0)
    if level == "denoiser":
        predicted = unet(*inputs()).sample
        ((logits, choice),) = unet.router.take()
        torch.manual_seed(0)
        gumbel = -torch.log(-torch.log(torch.rand(4, 3)))
        soft = (logits.detach() + gumbel).softmax(dim=1).requires_grad_(True)
        assert torch.equal(one_hot(soft), choice.detach().round())
        outputs = torch.stack([one_model(number) for number in range(3)], dim=1)
        expected = (one_hot(soft)[..., None, None, None] * outputs).sum(dim=1)
        torch.testing.assert_close(predicted, expected, atol=1e-6, rtol=1e-5)
        (gradient,) = torch.autograd.grad(predicted.square().sum(), logits)
        through = (2 * predicted.detach()[:, None] * outputs).sum(dim=(2, 3, 4))
        (own,) = torch.autograd.grad((soft * through).sum(), soft)
        jacobian = soft * (own - (soft * own).sum(dim=1, keepdim=True))
        torch.testing.assert_close(gradient, jacobian.detach(), atol=1e-4, rtol=1e-3)
    else:
        unet(*inputs()).sample.square().sum().backward()
        assert all(block.head.weight.grad.abs().sum() > 0 for block in unet.router.blocks)


def test_the_trainables() -> None:
    models = [Model(name, unet, torch.nn.Linear(4, 4)) for name, unet in zip("abc", UNETS, strict=True)]
    group: Any = SimpleNamespace(name="tiny", models=())
    for kind, size in ((TrainBlockMoE, 25), (TrainDenoiserMoE, 1)):
        learner = kind().build(group, models, RouterOptions(hidden=16, temperature_end=0.25, balance=0.5))
        learner.learned.train()
        assert len(learner.learned.blocks) == size
        learner.anneal(0.5)
        assert learner.learned.temperature == pytest.approx(0.5)
        learner.denoiser.unet(*inputs())
        assert learner.auxiliary().item() == pytest.approx(0.5, abs=0.01)  # fresh routers: equal probabilities, N sum f_i / N = 1
        facts = learner.facts()
        assert facts["entropy"] == pytest.approx(torch.log(torch.tensor(3.0)).item())
        assert 1 / 3 < facts["largest_share"] < 0.8
        assert learner.learned.seen == []


def test_what_is_refused(tmp_path: Path) -> None:
    group: Any = SimpleNamespace(name="tiny", trained={}, models=())
    models = [Model(name, unet, torch.nn.Linear(4, 4)) for name, unet in zip("abc", UNETS, strict=True)]
    with pytest.raises(UserError, match="moe-block: router: group tiny has none of its own"):
        BlockMoE().build(group, models, MoEOptions())
    Router.for_unet(UNETS[0], 3, "denoiser", hidden=16, experts=tuple("abc")).save_pretrained(tmp_path / "router")
    with pytest.raises(UserError, match=r"router: channels: these weights have .* a router of the block level needs"):
        BlockMoE().build(group, models, MoEOptions(router=tmp_path / "router"))
    with pytest.raises(UserError, match="router: n_models: these weights have 3"):
        DenoiserMoE().build(group, models[:2], MoEOptions(router=tmp_path / "router"))
    (tmp_path / "router" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="not a router's folder"):
        Router.read(tmp_path / "router")


def test_the_view_and_the_routers_agree_on_the_inputs() -> None:
    unet = mixture("block")
    seen = []
    for router in unet.router.blocks:
        router.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    with torch.no_grad():
        unet(*inputs())
    assert seen == list(unet.router.config.channels)
    assert len(seen) == len(BlockView(UNETS[0]))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("method", ["moe-block", "moe-denoiser"])
def test_the_zoos_routers(group: str, method: str) -> None:
    zoo = Zoo()
    unet: Any = zoo.built(group, method)
    assert list(unet.router.config.experts) == list(GROUPS[group])
    states = zoo.states(["fox on sky", "bus on grey"]).repeat(1, 1, 3)
    sample = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), unet.router.record() as usage:
        assert torch.isfinite(unet(sample, 500, states).sample).all()
    summary = usage.summary()
    sheet = picture(summary["shares"], summary["timesteps"], GROUPS[group], "title")
    assert len(sheet.getcolors(1000) or ()) > 3
