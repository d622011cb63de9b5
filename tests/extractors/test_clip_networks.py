"""The metrics' networks at a small width against the libraries that their definitions were written with."""

from itertools import pairwise

import numpy as np
import open_clip
import pytest
import torch
from networks import CAPTIONS, SIZES, SMALL_CLIP, SMALL_REWARD, clip_state, images, reward_state, vocabulary
from PIL import Image

from afa_bench.errors import UserError
from afa_bench.extractors.clip_l14 import ClipL14
from afa_bench.extractors.hpsv2 import HPSv2Clip
from afa_bench.extractors.imagereward import ImageRewardBlip
from afa_bench.extractors.pickscore import PickScoreClip, hub_tokenizer
from afa_bench.extractors.pixels import LongSide, ShortSide
from afa_bench.metrics.aesthetic import folded


def loaded(kind, state, config=SMALL_CLIP, **settings):
    extractor = kind.from_state(state, config, **settings)
    extractor.load("cpu")
    return extractor


def modes() -> list[Image.Image]:
    """One image in all modes that a PNG or a JPEG may have."""
    base = images()[1]
    alpha = Image.merge("RGBA", (*base.split(), base.split()[0]))
    return [alpha, base.convert("P"), base.convert("L"), base.convert("LA"), base.convert("CMYK"), base.convert("1")]


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_clip_is_open_clips_own_pipeline(quick_gelu):
    state, config = clip_state(), {**SMALL_CLIP, "quick_gelu": quick_gelu}
    extractor = loaded(ClipL14, state, config)
    model = open_clip.CLIP(**config).eval()
    model.load_state_dict(state)
    preprocess = open_clip.image_transform(224, is_train=False)
    with torch.no_grad():
        expected = torch.cat([model.encode_image(preprocess(image)[None], normalize=True) for image in images() + modes()])
        words = model.encode_text(open_clip.tokenize(list(CAPTIONS)), normalize=True)
    assert np.abs(extractor.images(images() + modes())["embedding"] - expected.numpy()).max() < 1e-6
    assert np.abs(extractor.texts(CAPTIONS) - words.numpy()).max() < 1e-6
    for text, embedding in zip(CAPTIONS, words.numpy(), strict=True):  # each as long as it is, not as the longest
        assert np.abs(extractor.texts([text])[0] - embedding).max() < 1e-6


def test_pickscore_is_transformers_clip():
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    shared = {"num_hidden_layers": 2, "hidden_act": "gelu"}
    text = {**shared, "hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "eos_token_id": 2}
    vision = {
        **shared,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "patch_size": 56,
        "image_size": 224,
    }
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).eval()
    extractor = loaded(PickScoreClip, model.state_dict())
    pictures = images() + modes()[1:]  # today's transformers lays alpha on white, that of PickScore's time dropped it
    pixels = CLIPImageProcessorPil()(pictures, return_tensors="pt")["pixel_values"]
    tokens = hub_tokenizer()(list(CAPTIONS), padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        out = model(pixel_values=pixels, **tokens)
    scores = extractor.images(pictures)["scaled"] @ extractor.texts(CAPTIONS).T
    assert np.abs(scores - out.logits_per_image.numpy()).max() < 1e-5
    single = np.concatenate([extractor.texts([text]) for text in CAPTIONS])
    assert np.abs(single - extractor.texts(CAPTIONS)).max() < 1e-6


def test_images_of_hpsv2_keep_their_shape_and_are_padded_with_black():
    from torchvision.transforms.functional import to_tensor
    from torchvision.transforms.v2.functional import resize

    image = images()[3]  # 501 x 227: to 224 x round(101.49)
    for antialias in (True, False):
        fitted = LongSide(224, antialias).exact(image)
        expected = resize(to_tensor(image), [224, 101], 3, antialias=antialias).permute(1, 2, 0).numpy() * 255
        assert np.abs(fitted[:, 61:162] - expected).max() < 1e-3
        assert not fitted[:, :61].any()
        assert not fitted[:, 162:].any()
    state = clip_state()
    modern, legacy = (loaded(HPSv2Clip, state, antialias=kind).images([image])["embedding"] for kind in ("modern", "legacy"))
    assert np.abs(modern - legacy).max() > 1e-4


def test_imagereward_reads_the_caption_and_the_image(tmp_path):
    extractor = loaded(ImageRewardBlip, reward_state(), SMALL_REWARD, vocabulary=vocabulary(tmp_path))
    pictures = images()
    reward = extractor.images(pictures, CAPTIONS[: len(pictures)])["reward"]
    swapped = extractor.images(pictures, CAPTIONS[1 : len(pictures) + 1])["reward"]
    other = extractor.images(pictures[1:] + pictures[:1], CAPTIONS[: len(pictures)])["reward"]
    assert reward.shape == (len(pictures), 1)
    assert np.abs(reward - swapped)[:2].min() > 0
    assert (reward - swapped)[2] == 0  # cut to 35 tokens, both are the same
    assert np.abs(reward - other).min() > 0
    single = [extractor.images([image], [text])["reward"][0] for image, text in zip(pictures, CAPTIONS, strict=False)]
    assert np.abs(reward - single).max() < 1e-6  # what pads a caption to the longest is not seen
    ids = extractor.tokenizer("a dogs [ENC] " + "very " * 50, padding="max_length", truncation=True, max_length=35)["input_ids"]
    assert ids[:5] == [2, 5, 6, 9, 15]
    assert (len(ids), ids[-1]) == (35, 3)


def test_the_aesthetic_predictor_is_one_affine_map():
    torch.manual_seed(0)
    widths = (8, 24, 16, 8, 4, 1)
    linear = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    state = {
        f"layers.{place}.{n}": p.data
        for place, layer in zip((0, 2, 4, 6, 7), linear, strict=True)
        for n, p in layer.named_parameters()
    }
    weight, bias = folded(state)
    x = torch.randn(5, 8)
    assert np.abs(x.double().numpy() @ weight + bias - torch.nn.Sequential(*linear)(x).detach().numpy()[:, 0]).max() < 1e-6
    with pytest.raises(KeyError, match=r"layers\.9"):
        folded(state | {"layers.9.bias": torch.zeros(1)})


@pytest.mark.parametrize(
    ("kind", "fit"), [(ClipL14, ShortSide(224)), (PickScoreClip, ShortSide(224, hub=True)), (HPSv2Clip, LongSide(224))]
)
def test_fast_preprocessing_is_within_a_step_of_255(kind, fit):
    exact, fast = kind(), kind(preprocess="fast")
    rng = np.random.default_rng(0)
    smooth = [
        Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize(size, 3) for size in ((512, 512), (700, 512))
    ]
    for image in [*images(), *modes(), *smooth]:
        array = torch.from_numpy(np.array(fast.prepare(image))).permute(2, 0, 1)[None]
        difference = fit.fast(array)[0].permute(1, 2, 0).numpy() - exact.prepare(image)
        assert np.abs(difference).max() <= 2
        assert (np.abs(difference) > 1).mean() < 2e-5


def test_other_settings_are_part_of_the_identity_and_usual_ones_are_not():
    usual, fast = (ClipL14.from_state(clip_state(), SMALL_CLIP, preprocess=kind) for kind in ("exact", "fast"))
    assert set(usual.identity) == {"name", "version", "weights"}
    assert fast.identity == {**usual.identity, "settings": {"preprocess": "fast"}}
    half = loaded(ClipL14, clip_state(), dtype="bfloat16")
    single = loaded(ClipL14, clip_state())
    assert 0 < np.abs(half.images(images())["embedding"] - single.images(images())["embedding"]).max() < 0.03


def test_a_file_of_another_network_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in clip_state().items()}, tmp_path / "small.safetensors")
    small = loaded(HPSv2Clip, tmp_path / "small.safetensors")
    assert small.images(images())["embedding"].shape == (len(SIZES), 32)
    with pytest.raises(UserError, match="expected the tensors of clip-l14's network"):
        ClipL14.from_state(tmp_path / "small.safetensors").load("cpu")


def test_weights_that_are_not_there_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"timm/vit_large_patch14_clip_224.openai@main/open_clip_model.safetensors: not fetched"):
        ClipL14().weights()


def test_captions_that_are_cut_are_counted_at_the_very_token(tmp_path):
    words = {length: " ".join(["dog"] * length) for length in (33, 34, 75, 76, 500)}
    assert ClipL14().cut(list(words.values())) == (2, 77)
    assert PickScoreClip().cut(list(words.values())) == (2, 77)
    assert HPSv2Clip().cut(["", "!" * 75, "a dog"]) == (0, 77)
    vocabulary(tmp_path)
    reward = ImageRewardBlip.from_state(reward_state(), SMALL_REWARD, vocabulary=vocabulary(tmp_path))
    letters = reward.tokenizer(words[33]).input_ids
    per_word = (len(letters) - 2) // 33
    assert reward.cut([" ".join(["dog"] * (33 // per_word)), words[500]]) == (1, 35)
