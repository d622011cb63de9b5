"""The real CLIP features on random weights of a smaller network of the same family."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from afa_bench.errors import UserError
from afa_bench.fetch import Library
from afa_bench.metrics.clip_l14 import WEIGHTS, ClipL14


class ClipB32(ClipL14):
    architecture = "ViT-B-32-quickgelu"


@pytest.mark.slow
def test_features_are_those_of_open_clips_own_pipeline(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(ClipB32.architecture, load_weights=False)
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path))
    path = Library().path(WEIGHTS)
    path.parent.mkdir(parents=True)
    save_file(model.state_dict(), path)
    extractor = ClipB32()
    extractor.load("cpu")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((224, 224), (300, 256), (1, 64))]
    texts = ["a dog", "", "very " * 500 + "long", "狗 🐕"]
    model.eval()
    with torch.no_grad():
        expected = torch.cat([model.encode_image(preprocess(image)[None], normalize=True) for image in images])
        words = model.encode_text(open_clip.get_tokenizer(ClipB32.architecture)(texts), normalize=True)
    assert np.abs(extractor.images(images)["embedding"] - expected.numpy()).max() < 1e-5
    assert np.abs(extractor.texts(texts) - words.numpy()).max() < 1e-5
    with pytest.raises(UserError, match="expected the tensors of ViT-L-14-quickgelu"):
        ClipL14().load("cpu")


def test_weights_that_are_not_there_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"timm/vit_large_patch14_clip_224.openai@main/open_clip_model.safetensors: not fetched"):
        ClipL14().weights()
