"""The Spatial-Aware Block-Wise feature aggregator (the paper, section 3.3, equations 5-11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from afa_bench.afa.transformer import Transformer
from afa_bench.blocks.unet import BlockView
from afa_bench.errors import UserError


class BlockAggregator(nn.Module):
    """SABW of one block: N features, the time embedding and the text -> N maps of weights (equations 8-11).

    A fresh one gives every model the weight 1/N everywhere: its last convolution starts at zero.
    """

    def __init__(
        self, models: int, channels: int, temb: int, text: int, hidden: int, heads: int, layers: int, groups: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(models * channels, hidden, 1)
        self.resnet = ResnetBlock2D(in_channels=hidden, temb_channels=temb, groups=groups, eps=1e-5)
        self.transformer = Transformer(hidden, heads, text, layers, groups)
        self.conv_out = nn.Conv2d(hidden, models, 1, bias=False)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
        """The weights ``(B, N, H, W)`` in fp32, which sum to 1 over N at every pixel (equations 5 and 6)."""
        dtype = self.conv_in.weight.dtype
        hidden = self.conv_in(torch.cat(list(features), dim=1).to(dtype))
        hidden = self.resnet(hidden, temb.to(dtype))
        hidden = self.transformer(hidden, text.to(dtype))
        return self.conv_out(hidden).softmax(dim=1, dtype=torch.float32)  # type: ignore[no-any-return]


class SABW(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The aggregators of all blocks of a U-Net. Saved and loaded as any diffusers model.

    Args:
        n_models: N.
        channels: of each block's output.
        temb: width of the models' time embedding.
        text: width of the text states.
        hidden: width of the aggregators (the paper: 128).
        heads: of their attention (the paper: 8); None: heads of 16 channels.
        layers: of their transformer (the paper: 2).
        experts: a note kept with the weights: which models they were trained for.
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
        experts: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        heads = heads or max(1, hidden // 16)
        if hidden % heads or hidden % _groups(hidden):
            raise UserError(f"SABW: hidden: {hidden} does not divide into {heads} heads and {_groups(hidden)} groups")
        self.blocks = nn.ModuleList(
            BlockAggregator(n_models, width, temb, text, hidden, heads, layers, _groups(hidden)) for width in channels
        )
        self._record: dict[int, list[Tensor]] | None = None

    @classmethod
    def for_unet(
        cls,
        unet: nn.Module,
        n_models: int,
        hidden: int = 128,
        heads: int | None = None,
        layers: int = 2,
        experts: Sequence[str] | None = None,
    ) -> SABW:
        """A fresh aggregator for an ensemble of ``n_models`` U-Nets of this one's architecture."""
        sabw: SABW = cls(**_shape(unet, n_models), hidden=hidden, heads=heads, layers=layers, experts=experts)
        return sabw

    @classmethod
    def read(cls, folder: Path) -> SABW:
        """The aggregator which ``save_pretrained`` wrote to a folder, in fp32; every weight must be there.

        Raises:
            UserError: the folder holds no SABW, or a damaged one.
        """
        try:
            sabw: SABW = cls.from_config(cls.load_config(str(folder), local_files_only=True))
            sabw.load_state_dict(load_file(folder / SAFETENSORS_WEIGHTS_NAME))
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: not a SABW's folder: {error}") from error
        return sabw.eval().requires_grad_(False)  # type: ignore[no-any-return]

    def require_fit(self, unet: nn.Module, n_models: int) -> None:
        """Raise a UserError if this was made for another number of models or another architecture."""
        for key, expected in _shape(unet, n_models).items():
            found = self.config[key]
            if (list(found) if isinstance(found, (list, tuple)) else found) != expected:
                raise UserError(f"SABW: {key}: these weights have {found}, the ensemble needs {expected}")

    def maps(self, index: int, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
        """The weights of block ``index``, ``(B, N, H, W)`` in fp32: N maps which sum to 1 at every pixel."""
        return self.blocks[index](features, temb, text)  # type: ignore[no-any-return]

    def forward(self, index: int, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
        """The weighted sum of N features ``(B, C, H, W)``; one map a model, shared by all channels (equation 7)."""
        maps = self.maps(index, features, temb, text)
        if self._record is not None:
            self._record.setdefault(index, []).append(maps.detach().cpu())
        first, *weights = maps.to(features[0].dtype).unsqueeze(2).unbind(dim=1)
        hidden: Tensor = first * features[0]
        for weight, feature in zip(weights, features[1:], strict=True):
            hidden = torch.addcmul(hidden, weight, feature)
        return hidden

    @contextmanager
    def record(self) -> Iterator[dict[int, list[Tensor]]]:
        """Within it, keep the maps: block index -> one ``(B, N, H, W)`` a call, in the order of the calls."""
        self._record = {}
        try:
            yield self._record
        finally:
            self._record = None


def _groups(hidden: int) -> int:
    """Groups of the group normalisations: 32, fewer where a group would have fewer than 4 channels."""
    return min(32, max(1, hidden // 4))


def _shape(unet: nn.Module, n_models: int) -> dict[str, Any]:
    """What an aggregator takes from the models' architecture."""
    view = BlockView(unet)
    config = view.unet.config
    if not isinstance(config.cross_attention_dim, int):
        raise UserError(f"U-Net: cross_attention_dim: {config.cross_attention_dim}; expected one width for all levels")
    temb = view.unet.time_embedding.linear_2.out_features * (2 if config.class_embeddings_concat else 1)
    return {"n_models": n_models, "channels": list(view.channels), "temb": temb, "text": config.cross_attention_dim}
