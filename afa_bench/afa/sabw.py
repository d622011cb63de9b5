"""The Spatial-Aware Block-Wise feature aggregator (the paper, section 3.3, equations 5-11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from typing_extensions import override

from afa_bench.afa.ablation import Ablation
from afa_bench.afa.experts import HASHES, trained_for
from afa_bench.afa.transformer import Transformer
from afa_bench.architectures.find import view_of
from afa_bench.ensembles.aggregator import Aggregator
from afa_bench.errors import UserError
from afa_bench.models.learned import read_learned

WIDEST_TEXT, PROJECTED_TEXT = 2048, 768
"""Text states wider than the first (than SDXL's) are projected to the second once, for all blocks: cross-attention to FLUX's 4096
in each of 57 blocks would be 97 of SABW's 239 million parameters."""


class BlockAggregator(nn.Module):
    """SABW of one block: N features, the time embedding and the text -> N maps of weights (equations 8-11).

    A fresh one gives every model the weight 1/N everywhere: its last convolution starts at zero.

    Args:
        models: N.
        channels: of each feature.
        temb: width of the time embedding; None: it is not looked at.
        text: width of the text states; None: they are not looked at.
        hidden, heads, layers, groups, eps: of the residual block and the transformer.
        spatial: whether a model has a weight of its own at each pixel, or one everywhere (the mean of its logits).
    """

    def __init__(
        self,
        models: int,
        channels: int,
        temb: int | None,
        text: int | None,
        hidden: int,
        heads: int,
        layers: int,
        groups: int,
        eps: float = 1e-5,
        spatial: bool = True,
    ) -> None:
        super().__init__()
        self.timestep, self.spatial = temb is not None, spatial
        self.conv_in = nn.Conv2d(models * channels, hidden, 1)
        self.resnet = ResnetBlock2D(in_channels=hidden, temb_channels=temb, groups=groups, eps=eps)
        self.transformer = Transformer(hidden, heads, text, layers, groups)
        self.conv_out = nn.Conv2d(hidden, models, 1, bias=False)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
        """The weights ``(B, N, H, W)`` in fp32, which sum to 1 over N at every pixel (equations 5 and 6)."""
        dtype = self.conv_in.weight.dtype
        hidden = self.conv_in(torch.cat(list(features), dim=1).to(dtype))
        hidden = self.resnet(hidden, temb.to(dtype) if self.timestep else None)
        logits: Tensor = self.conv_out(self.transformer(hidden, text.to(dtype)))
        if not self.spatial:
            logits = logits.mean(dim=(2, 3), keepdim=True).expand_as(logits)
        return logits.softmax(dim=1, dtype=torch.float32)


class SABW(ModelMixin, ConfigMixin, Aggregator):  # type: ignore[misc]
    """The aggregators of all blocks of a denoiser. Saved and loaded as any diffusers model, from a folder or the hub.

    The paper gives no sizes. The defaults are those of its reference release (128 wide, 8 heads of 16 channels, 2 layers), which
    have the number of parameters that its appendix B gives.

    Args:
        n_models: N.
        channels: of the output of each block which is aggregated.
        temb: width of the models' time embedding.
        text: width of the text states.
        hidden: width of the aggregators.
        heads: of their attention; None: heads of 16 channels.
        layers: of their transformer.
        experts: which models it was trained for, in their order: names, or mappings with ``name``, ``revision``, ``sha256``.
        text_in: width of the states as they come, where they are projected to ``text`` once for all blocks.
        without: what it does not look at (the paper's ablations): "spatial", "timestep", "text".
        last_only: it aggregates the models' predictions alone (the paper's ablation "only ensembling last block").
        eps: of the residual blocks' norms.
        groups: of all group norms; None: 32, fewer where a group would have fewer than 4 channels.
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
        text_in: int | None = None,
        without: Sequence[str] = (),
        last_only: bool = False,
        eps: float = 1e-5,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        heads = heads or max(1, hidden // 16)
        groups = groups or min(32, max(1, hidden // 4))
        if hidden % heads or hidden % groups:
            raise UserError(f"SABW: hidden: {hidden} does not divide into {heads} heads and {groups} groups")
        for part in without:
            if part not in get_args(Ablation):
                raise UserError(f"SABW: without: unknown part {part!r}; expected {', '.join(get_args(Ablation))}")
        self.project = nn.Linear(text_in, text) if text_in is not None and "text" not in without else None
        self.blocks = nn.ModuleList(
            BlockAggregator(
                n_models,
                width,
                None if "timestep" in without else temb,
                None if "text" in without else text,
                hidden,
                heads,
                layers,
                groups,
                eps,
                "spatial" not in without,
            )
            for width in channels
        )
        self._record: dict[int, list[Tensor]] | None = None

    @classmethod
    def for_model(
        cls,
        model: nn.Module,
        n_models: int,
        hidden: int = 128,
        heads: int | None = None,
        layers: int = 2,
        experts: Sequence[str | Mapping[str, str | None]] | None = None,
        text: int | None = None,
        without: Sequence[Ablation] = (),
        last_only: bool = False,
    ) -> SABW:
        """A fresh aggregator for an ensemble of ``n_models`` denoisers of this one's architecture.

        Args:
            model: a ``UNet2DConditionModel`` or a ``FluxTransformer2DModel``.
            n_models: N.
            hidden, heads, layers, experts, without, last_only: see the class.
            text: project the text states to this width once; by default to 768 those wider than 2048 (FLUX's), others not at all.
        """
        shape = _shape(model, n_models, last_only)
        raw = shape["text"]
        shape["text"] = text or (PROJECTED_TEXT if raw > WIDEST_TEXT else raw)
        sabw: SABW = cls(
            **shape,
            hidden=hidden,
            heads=heads,
            layers=layers,
            experts=experts,
            text_in=None if shape["text"] == raw else raw,
            without=sorted(set(without)),
        )
        return sabw

    @classmethod
    def read(cls, folder: Path) -> SABW:
        """The aggregator which ``save_pretrained`` wrote to a folder, in fp32; every weight must be there.

        Raises:
            UserError: the folder holds no SABW, or a damaged one.
        """
        sabw: SABW = read_learned(cls, folder, "SABW")
        if (folder / HASHES).exists():
            sabw.register_to_config(experts=[expert.entry() for expert in trained_for(folder)])
        return sabw

    @property
    @override
    def last_only(self) -> bool:
        return bool(self.config.last_only)

    @override
    def require_fit(self, model: nn.Module, n_models: int) -> None:
        own = {**self.config, "text": self.config.text_in or self.config.text}
        for key, expected in _shape(model, n_models, self.last_only).items():
            found = own[key]
            if (list(found) if isinstance(found, (list, tuple)) else found) != expected:
                raise UserError(f"SABW: {key}: these weights have {found}, the ensemble needs {expected}")

    def ablated(self, without: Sequence[Ablation] = (), last_only: bool = False) -> SABW:
        """This aggregator without some of its parts: what a trained one is worth when they are taken away.

        One which was trained without them already is returned as it is.
        """
        parts = sorted({*self.config.without, *without})
        cut = last_only and not self.last_only
        if parts == sorted(self.config.without) and not cut:
            return self
        config = {key: value for key, value in self.config.items() if not key.startswith("_")}
        channels = self.config.channels[-1:] if cut else self.config.channels
        sabw: SABW = type(self)(**{**config, "channels": channels, "without": parts, "last_only": last_only or self.last_only})
        state = self.state_dict()
        old, new = (f"blocks.{len(self.blocks) - 1}.", "blocks.0.") if cut else ("", "")
        sabw.load_state_dict({key: state[key.replace(new, old, 1)] for key in sabw.state_dict()})
        return sabw.eval().requires_grad_(False)  # type: ignore[no-any-return]

    @override
    def context(self, text: Tensor) -> Tensor:
        """The text states, projected where this aggregator does so."""
        return text if self.project is None else self.project(text.to(self.project.weight.dtype))

    @override
    def maps(self, index: int, features: Sequence[Tensor], temb: Tensor, context: Tensor) -> Tensor:
        """The weights of block ``index``, ``(B, N, H, W)`` in fp32, which sum to 1 at every pixel.

        One map a model, shared by all channels (equation 7).
        """
        maps: Tensor = self.blocks[-1 if self.last_only else index](features, temb, context)
        if self._record is not None:
            self._record.setdefault(index, []).append(maps.detach().cpu())
        return maps

    @contextmanager
    def record(self) -> Iterator[dict[int, list[Tensor]]]:
        """Within it, keep the maps: block index -> one ``(B, N, H, W)`` a call, in the order of the calls."""
        self._record = {}
        try:
            yield self._record
        finally:
            self._record = None


def _shape(model: nn.Module, n_models: int, last_only: bool) -> dict[str, Any]:
    """What an aggregator takes from the models' architecture."""
    view = view_of(model)
    channels = list(view.channels[-1:] if last_only else view.channels)
    return {"n_models": n_models, "channels": channels, "temb": view.temb, "text": view.text, "last_only": last_only}
