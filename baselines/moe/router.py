"""The routers of a mixture of experts (the paper, appendix F, equations 13-20): which model takes a row, before it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from afa_bench.afa.transformer import Transformer
from afa_bench.architectures.unet_blocks import BlockView
from afa_bench.errors import UserError
from afa_bench.models.learned import read_learned
from baselines.moe.usage import Choice, Usage

Level = Literal["denoiser", "block"]


class BlockRouter(nn.Module):
    """SABW's trunk on one block's input; its map, averaged over the pixels, is one logit a model (equations 18-20).

    A fresh one prefers nobody: its last layer starts at zero.
    """

    def __init__(
        self, models: int, channels: int, temb: int, text: int, hidden: int, heads: int, layers: int, groups: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, hidden, 1)
        self.resnet = ResnetBlock2D(in_channels=hidden, temb_channels=temb, groups=groups, eps=1e-5)
        self.transformer = Transformer(hidden, heads, text, layers, groups)
        self.head = nn.Linear(hidden, models)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, hidden: Tensor, temb: Tensor, text: Tensor) -> Tensor:
        """The logits ``(B, N)`` in fp32, for a block's input ``(B, C, H, W)``."""
        dtype = self.conv_in.weight.dtype
        hidden = self.resnet(self.conv_in(hidden.to(dtype)), temb.to(dtype))
        hidden = self.transformer(hidden, text.to(dtype))
        return self.head(hidden.mean(dim=(2, 3))).float()  # type: ignore[no-any-return]


class Router(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The routers of all blocks of a U-Net, or the one before its first. Saved and loaded as any diffusers model.

    Args:
        n_models: N.
        channels: of each routed block's input; on the way up the skip is part of it.
        temb: width of the models' time embedding.
        text: width of the text states.
        hidden: width of the routers.
        heads: of their attention; None: heads of 16 channels.
        layers: of their transformer.
        experts: which models it was trained for, in their order: names, or mappings with ``name``, ``revision``, ``sha256``.

    Attributes:
        temperature: of the Gumbel softmax, in training mode.
        seen: in training mode, the logits of each call and their straight-through choices, until :meth:`take` is called.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        n_models: int,
        channels: Sequence[int],
        temb: int,
        text: int,
        hidden: int = 128,
        heads: int | None = None,
        layers: int = 2,
        experts: Sequence[str | Mapping[str, str | None]] | None = None,
    ) -> None:
        super().__init__()
        heads, groups = heads or max(1, hidden // 16), min(32, max(1, hidden // 4))
        if hidden % heads or hidden % groups:
            raise UserError(f"router: hidden: {hidden} does not divide into {heads} heads and {groups} groups")
        self.blocks = nn.ModuleList(BlockRouter(n_models, width, temb, text, hidden, heads, layers, groups) for width in channels)
        self.temperature = 1.0
        self.seen: list[tuple[Tensor, Tensor]] = []
        self._record: Usage | None = None

    @classmethod
    def for_unet(
        cls,
        unet: nn.Module,
        n_models: int,
        level: Level,
        hidden: int = 128,
        heads: int | None = None,
        layers: int = 2,
        experts: Sequence[str | Mapping[str, str | None]] | None = None,
    ) -> Router:
        """A fresh one for ``n_models`` U-Nets of this one's architecture."""
        router: Router = cls(**_shape(unet, n_models, level), hidden=hidden, heads=heads, layers=layers, experts=experts)
        return router

    @classmethod
    def read(cls, folder: Path) -> Router:
        """The router which ``save_pretrained`` wrote to a folder, in fp32; every weight must be there.

        Raises:
            UserError: the folder holds no router, or a damaged one.
        """
        return read_learned(cls, folder, "router")  # type: ignore[no-any-return]

    def require_fit(self, unet: nn.Module, n_models: int, level: Level) -> None:
        """Raise a UserError if this was made for another number of models, another architecture or the other level."""
        for key, expected in _shape(unet, n_models, level).items():
            found = self.config[key]
            if (list(found) if isinstance(found, (list, tuple)) else found) != expected:
                raise UserError(f"router: {key}: these weights have {found}; a router of the {level} level needs {expected}")

    def forward(self, block: int, timestep: Tensor | float | int, hidden: Tensor, temb: Tensor, text: Tensor) -> Tensor:
        """What each model's output is multiplied with, ``(B, N)`` in fp32: one-hot rows.

        In training mode it is a Gumbel softmax's straight-through sample, drawn from torch's global generator, whose gradient is
        that of the softmax (equations 14 and 15); else the largest logit (equation 17).
        """
        logits = self.blocks[block](hidden, temb, text)
        if self.training:
            weights = self._sampled(logits)
            self.seen.append((logits, weights))
            return weights
        weights = one_hot(logits)
        if self._record is not None:
            entropy = torch.special.entr(logits.softmax(dim=1)).sum(dim=1)
            step = int(torch.as_tensor(timestep).flatten()[0])
            self._record.choices.append(Choice(block, step, weights.argmax(dim=1).cpu(), entropy.cpu()))
        return weights

    def take(self) -> list[tuple[Tensor, Tensor]]:
        """What has been :attr:`seen`, which begins anew."""
        seen, self.seen = self.seen, []
        return seen

    @contextmanager
    def record(self) -> Iterator[Usage]:
        """Within it, keep all decisions."""
        self._record = Usage(self.config.n_models)
        try:
            yield self._record
        finally:
            self._record = None

    def _sampled(self, logits: Tensor) -> Tensor:
        uniform = torch.rand(logits.shape).to(logits.device)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
        soft = ((logits + gumbel) / self.temperature).softmax(dim=1)
        return one_hot(soft) - soft.detach() + soft


def one_hot(logits: Tensor) -> Tensor:
    """1 at each row's largest value, the first of equals; 0 elsewhere."""
    first = (logits == logits.amax(dim=1, keepdim=True)).to(torch.int8).argmax(dim=1)
    return nn.functional.one_hot(first, logits.shape[1]).to(torch.float32)


def input_channels(view: BlockView) -> list[int]:
    """The channels of every block's input: of the hidden state, and of the skip on the way up."""
    widths: list[int] = []
    skips: list[int] = []
    hidden = view.unet.config.in_channels
    for block in view.blocks:
        widths.append(hidden + (skips.pop() if block.pops else 0))
        hidden = block.channels
        if block.pushes:
            skips.append(hidden)
    return widths


def _shape(unet: nn.Module, n_models: int, level: Level) -> dict[str, Any]:
    """What a router takes from the models' architecture."""
    view = BlockView(unet)
    channels = input_channels(view)
    return {
        "n_models": n_models,
        "channels": channels if level == "block" else channels[:1],
        "temb": view.temb,
        "text": view.text,
    }
