"""PickScore's network (Kirstain et al. 2023): a CLIP ViT-H/14 trained on what people picked from two images of one prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from afa_bench.extractors.clip_network import VIT_H14, ClipNetwork
from afa_bench.extractors.network import State, lengths
from afa_bench.extractors.pixels import Fit, ShortSide
from afa_bench.fetch import HubFile, Source

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = HubFile(
    repo="yuvalkirstain/PickScore_v1",
    file="model.safetensors",
    sha256="ef31ef6fc5ff4d9bb90dd232df4e145887ba62c5a03aa2841415f8c25f18d52e",
)


@dataclass
class PickScoreClip(ClipNetwork):
    """``scaled`` ``(B, 1024)``: L2-normalised image embeddings times ``exp(logit_scale)``; text embeddings as any CLIP's.

    Images and texts are prepared as by transformers' CLIPProcessor: RGB first, another rounding of the crop, a tokenizer that
    normalises Unicode (NFC) but does not repair or unescape texts.
    """

    name: ClassVar[str] = "pickscore"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    gives: ClassVar[Mapping[str, int | None]] = {"scaled": None}
    config: ClassVar[Mapping[str, Any]] = VIT_H14

    @property
    def source(self) -> Source:
        """``model.safetensors`` of the hub's ``yuvalkirstain/PickScore_v1``, with the tensors of transformers' CLIPModel."""
        return WEIGHTS

    def adapt(self, state: State) -> State:
        """Transformers' names to open_clip's."""
        return from_transformers(state)

    def fit(self) -> Fit:
        """As transformers' CLIPImageProcessor."""
        return ShortSide(self.config["vision_cfg"]["image_size"], hub=True)

    @cached_property
    def tokenizer(self) -> Any:
        return hub_tokenizer()

    def run(self, pixels: Tensor, captions: Sequence[str]) -> Mapping[str, Tensor]:
        """``scaled`` ``(B, D)``."""
        return {"scaled": super().run(pixels, captions)["embedding"].float() * self.model.logit_scale.exp()}

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``(B, 77)``; zeros behind the end of the text, which no token before it sees."""
        length = self.config["text_cfg"]["context_length"]
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: Tensor = tokens.input_ids * tokens.attention_mask
        return ids

    def lengths(self, texts: Sequence[str], most: int) -> list[int]:
        """By its own tokenizer."""
        return lengths(self.tokenizer, texts, most)


def hub_tokenizer() -> Any:
    """Transformers' CLIPTokenizer, with the vocabulary that open_clip ships: 49,408 tokens, the last two start and end."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    simple = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): index for token, index in simple.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks))


RENAMED = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def from_transformers(state: State) -> State:
    """The tensors of a transformers CLIPModel under the names, and in the shapes, of an ``open_clip.CLIP``.

    Raises:
        KeyError: an attention without one of its three projections.
    """
    import torch

    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(".position_ids"):  # 0, 1, 2, ...: older files have them
            continue
        new = name
        for pattern, replacement in RENAMED:
            new = re.sub(pattern, replacement, new)
        projection = re.fullmatch(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)", new)
        if projection is None:
            renamed[new] = tensor.T.contiguous() if new in ("visual.proj", "text_projection") else tensor
        elif projection[2] == "q":
            parts = [state[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            renamed[f"{projection[1]}.attn.in_proj_{projection[3]}"] = torch.cat(parts)
    return renamed
