"""The mini tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from afa_bench.mini.recipe.text import LENGTH, save_tokenizer, tokens, train_tokenizer

CAPTIONS = ["fox on mint", "red fox left of woman’s boot on sky", "baby with dark skin on grey", "bus above blue fox on white"]
STRANGE = ["", "FOX   on Mint", "Ünïcode 漢字 / \"quotes\" 'single'", "🦊"]


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(CAPTIONS, vocabulary=600)


def test_words_of_the_captions_are_single_tokens(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer.tokenize("red fox on mint") == ["red</w>", "fox</w>", "on</w>", "mint</w>"]
    assert tokenizer("FOX   on Mint").input_ids == tokenizer("fox on mint").input_ids


def test_no_text_is_unknown(tokenizer: CLIPTokenizer) -> None:
    for text in STRANGE:
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids[1:].count(tokenizer.eos_token_id) == 1


def test_saved_and_loaded_it_is_the_same(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    for text in CAPTIONS + STRANGE:
        assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.model_max_length == LENGTH
    assert {"vocab.json", "merges.txt", "tokenizer.json"} <= {file.name for file in tmp_path.iterdir()}


def test_tokens_are_padded_and_cut(tokenizer: CLIPTokenizer) -> None:
    ids = tokens(tokenizer, ["fox", "fox " * 50])
    assert ids.shape == (2, LENGTH)
    assert ids[1, -1] == tokenizer.eos_token_id
