"""ImageReward's network (Xu et al. 2023): BLIP reads a caption with cross-attention to the image, a regression rewards it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from afa_bench.extractors.network import Network, State, lengths
from afa_bench.extractors.pixels import Fit, ShortSide, normalised
from afa_bench.fetch import HubFile, Source, locate

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

WEIGHTS = HubFile(
    repo="THUDM/ImageReward",
    file="ImageReward.pt",
    sha256="d71dc8d4912bc633c06ab8ef1ef6a81e8199d4369f14b47b29baf1d19de561f6",
)
VOCABULARY = HubFile(
    repo="google-bert/bert-base-uncased",
    file="vocab.txt",
    size=231_508,
    sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
)

TOKENS = 35
"""Length that captions are cut to; what the authors' code pads them with is masked."""

UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")
"""Tensors of the file that take no part: BLIP's contrastive heads, and 0, 1, 2, ..."""


@dataclass
class ImageRewardBlip(Network):
    """``reward`` ``(B, 1)``, not standardised.

    The configuration names the sizes of ViT-L/16 (timm's) and of BLIP's text encoder (transformers'), which is BERT with
    cross-attention; the published ones by default.
    """

    name: ClassVar[str] = "imagereward"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    reads_captions: ClassVar[bool] = True
    gives: ClassVar[Mapping[str, int | None]] = {"reward": 1}
    config: ClassVar[Mapping[str, Any]] = {
        "vision": {"img_size": 224, "patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
        "text": {
            "vocab_size": 30524,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        "head": (1024, 128, 64, 16, 1),
    }

    _vocabulary: Path | None = None

    @classmethod
    def from_state(
        cls,
        state: State | Path,
        config: Mapping[str, Any] | None = None,
        *,
        vocabulary: Path | None = None,
        **settings: Any,
    ) -> Self:
        """As :meth:`Network.from_state`; ``vocabulary`` is BERT's ``vocab.txt`` in place of the fetched one."""
        extractor = super().from_state(state, config, **settings)
        extractor._vocabulary = vocabulary
        return extractor

    @property
    def source(self) -> Source:
        """``ImageReward.pt`` of the hub's ``THUDM/ImageReward``."""
        return WEIGHTS

    def sources(self) -> Sequence[Source]:
        """The weights, and the vocabulary of bert-base-uncased."""
        return (WEIGHTS, VOCABULARY)

    def weights(self) -> Mapping[str, Path]:
        """The fetched files.

        Raises:
            UserError: one is not there, or not the published one.
        """
        return {**super().weights(), "bert-base-uncased": self._vocabulary or locate(VOCABULARY)}

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """The reward network."""
        return reward_network(config)

    def adapt(self, state: State) -> State:
        """Without the tensors that take no part, and without the prefixes of the authors' classes."""
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(UNUSED)}
        return {name.removeprefix("blip.").replace("mlp.layers.", "mlp."): tensor for name, tensor in kept.items()}

    def fit(self) -> Fit:
        """PIL bicubic to a short side of 224, centre crop, then RGB."""
        return ShortSide(self.config["vision"]["img_size"])

    @cached_property
    def tokenizer(self) -> Any:
        return bert_tokenizer(self._vocabulary or locate(VOCABULARY))

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """Texts whose end is cut off."""
        return sum(count > TOKENS for count in lengths(self.tokenizer, texts, TOKENS + 1)), TOKENS

    def run(self, pixels: Tensor, captions: Sequence[str]) -> Mapping[str, Tensor]:
        """``reward`` ``(B, 1)`` of B images with their captions."""
        import torch

        tokens = self.tokenizer(list(captions), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
        states = self.model.visual_encoder.forward_features(normalised(pixels))
        read = self.model.text_encoder(
            input_ids=tokens.input_ids.to(self.device),
            attention_mask=tokens.attention_mask.to(self.device),
            encoder_hidden_states=states,
        ).last_hidden_state[:, 0]
        with torch.autocast(torch.device(self.device).type, enabled=False):
            return {"reward": self.model.mlp(read.float())}


def reward_network(config: Mapping[str, Any]) -> nn.Module:
    """A module with ``visual_encoder`` (timm), ``text_encoder`` (transformers) and ``mlp`` (linear layers and dropout only)."""
    from itertools import pairwise

    from timm.models.vision_transformer import VisionTransformer
    from torch import nn
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    vision, text = config["vision"], config["text"]
    widths = (text["hidden_size"], *config["head"])
    linear = [nn.Linear(a, b) for a, b in pairwise(widths)]
    dropped = [layer for first in linear[:3] for layer in (first, nn.Dropout())]
    network = nn.Module()
    network.visual_encoder = VisionTransformer(**vision, num_classes=0, global_pool="")
    network.text_encoder = BlipTextModel(
        BlipTextConfig(**text, encoder_hidden_size=vision["embed_dim"], is_decoder=True), add_pooling_layer=False
    )
    network.mlp = nn.Sequential(*dropped, *linear[3:])
    return network


def bert_tokenizer(vocabulary: Path) -> Any:
    """BERT's uncased tokenizer of a ``vocab.txt`` (a word piece a line), with the two tokens that BLIP adds."""
    from transformers import BertTokenizer

    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, do_lower_case=True)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "extra_special_tokens": ["[ENC]"]})
    return tokenizer
