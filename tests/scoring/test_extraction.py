"""The scoring pass: every image decoded once, the same values whatever the batch, the order and the memory."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from networks import CAPTIONS, SMALL_CLIP, SMALL_REWARD, clip_state, images, reward_state, vocabulary

from afa_bench.errors import UserError
from afa_bench.extractors.clip_l14 import ClipL14
from afa_bench.extractors.hpsv2 import HPSv2Clip
from afa_bench.extractors.imagereward import ImageRewardBlip
from afa_bench.extractors.pickscore import PickScoreClip
from afa_bench.scoring.extraction import Extracted, Extraction, ImageInput, ImageRequest, TextRequest

PICTURES = [image for seed in range(3) for image in images(seed)]


@dataclass
class Narrow(HPSv2Clip):
    """A network on a device whose memory holds so many images."""

    room: int = 2

    def run(self, pixels, captions):
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().run(pixels, captions)


def extracted(extractors, order, batch, shard, threads=2, extraction=None):
    """Features by extractor, in the order of PICTURES."""
    found: dict[str, dict[int, np.ndarray]] = {}
    decoded = []

    def read(index):
        decoded.append(index)
        return PICTURES[index]

    def keep(chunk, result: Extracted):
        for extractor in extractors:
            if extractor.key in result.features:
                (array,) = result.features[extractor.key].values()
                found.setdefault(extractor.name, {}).update(zip(chunk, array, strict=True))

    def requests():
        for start in range(0, len(order), shard):
            chunk = order[start : start + shard]
            inputs = [ImageInput(partial(read, index), CAPTIONS[index % len(CAPTIONS)]) for index in chunk]
            yield ImageRequest(inputs, extractors, partial(keep, chunk))

    extraction = extraction or Extraction("cpu", batch, threads)
    for result in extraction.run(requests):
        result.request.keep(result)
    return {name: np.stack([rows[i] for i in range(len(PICTURES))]) for name, rows in found.items()}, decoded, extraction.record


def test_batch_order_and_shards_change_no_value(tmp_path):
    state = clip_state()
    hub = {**state, "logit_scale": torch.tensor(4.6)}
    words = vocabulary(tmp_path)

    def extractors():
        pick = PickScoreClip.from_state(hub, SMALL_CLIP)
        pick.adapt = lambda tensors: tensors  # they have open_clip's names already
        reward = ImageRewardBlip.from_state(reward_state(), SMALL_REWARD, vocabulary=words)
        return [ClipL14.from_state(state, SMALL_CLIP), HPSv2Clip.from_state(state, SMALL_CLIP), pick, reward]

    whole, decoded, record = extracted(extractors(), list(range(len(PICTURES))), 64, 32)
    assert sorted(decoded) == list(range(len(PICTURES)))  # once for four networks
    assert record.passes == [["clip-l14", "hpsv2", "pickscore", "imagereward"]]
    shuffled = np.random.default_rng(0).permutation(len(PICTURES)).tolist()
    other, _, _ = extracted(extractors(), shuffled, 3, 5, threads=1)
    for name, features in whole.items():
        scale = 100 if name == "pickscore" else 1
        assert np.abs(features - other[name]).max() < 1e-6 * scale


def test_the_batch_is_halved_until_it_fits_and_that_is_recorded():
    state = clip_state()
    free, _, _ = extracted([HPSv2Clip.from_state(state, SMALL_CLIP)], list(range(len(PICTURES))), 64, 32)
    tight, _, record = extracted([Narrow.from_state(state, SMALL_CLIP)], list(range(len(PICTURES))), 64, 32)
    assert record.batches == {"hpsv2": 2}
    assert np.abs(free["hpsv2"] - tight["hpsv2"]).max() < 1e-6


def test_a_network_that_has_no_room_beside_another_takes_part_in_a_later_pass():
    state = clip_state()

    @dataclass
    class Alone(HPSv2Clip):
        def run(self, pixels, captions):
            if hasattr(other, "model"):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().run(pixels, captions)

    other = ClipL14.from_state(state, SMALL_CLIP)
    found, decoded, record = extracted([other, Alone.from_state(state, SMALL_CLIP)], list(range(len(PICTURES))), 8, 8)
    assert record.passes == [["clip-l14", "hpsv2"], ["hpsv2"]]
    assert set(found) == {"clip-l14", "hpsv2"}
    assert len(decoded) == 2 * len(PICTURES)
    with pytest.raises(UserError, match="not one image fits"):
        extracted([Narrow.from_state(state, SMALL_CLIP, room=0)], [0], 8, 8)


def test_texts_are_embedded_while_the_network_is_there():
    network = ClipL14.from_state(clip_state(), SMALL_CLIP)
    (found,) = Extraction("cpu").run(tuple, [TextRequest(CAPTIONS, network)])
    assert found.features[network.key]["text"].shape == (len(CAPTIONS), 32)
