"""Inception as an extractor: its resizes, its network, statistics made with it. Parity with the packages: ``tests/oracle``."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from afa_bench.errors import UserError
from afa_bench.extractors.inception import Bilinear, Clean, Inception
from afa_bench.extractors.inception_network import inception_2015
from afa_bench.images.find import find_images
from afa_bench.metrics.gaussian import fitted
from afa_bench.metrics.reference import compute, read_statistics, write_statistics


def picture(seed, width, height):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)).resize((width, height))


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    network = inception_2015()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def extractor(state):
    extractor = Inception.from_state(state)
    extractor.load("cpu")
    return extractor


@pytest.mark.parametrize("size", [(512, 512), (64, 200), (1, 64), (64, 1), (299, 299)])
@pytest.mark.parametrize("fit", [Clean(), Bilinear(half_pixel=True), Bilinear(half_pixel=False)])
def test_the_resize_on_the_device_is_the_exact_one(fit, size):
    image = picture(0, *size)
    exact = fit.exact(image)
    assert exact.shape == (299, 299, 3)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    np.testing.assert_allclose(fit.fast(pixels)[0].permute(1, 2, 0).numpy(), exact, atol=1)
    assert exact.min() >= 0
    assert exact.max() <= 255.001


def test_bilinear_without_half_pixels_starts_at_the_first_pixel():
    ramp = Image.fromarray(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None].repeat(3, axis=2).repeat(25, axis=0))
    sized = Bilinear(half_pixel=False).exact(ramp)[0, :, 0]
    np.testing.assert_allclose(sized, np.minimum(np.arange(299) * 25 / 299 * 10, 240), atol=1e-3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_prepared(extractor, mode):
    assert extractor.prepare(picture(1, 40, 50).convert(mode)).shape == (299, 299, 3)


def test_neither_batch_nor_order_changes_features(extractor):
    images = [picture(seed, 60 + 9 * seed, 80) for seed in range(3)]
    together, alone = extractor.images(images), extractor.images(images[::-1][:1])
    assert together["pool"].shape == (3, 2048)
    assert together["probabilities"].shape == (3, 1008)
    np.testing.assert_allclose(together["probabilities"].sum(axis=1), 1, atol=1e-5)
    scale = np.abs(together["pool"]).max()
    np.testing.assert_allclose(alone["pool"][0] / scale, together["pool"][2] / scale, atol=1e-6)


def test_statistics_are_checked_against_the_extractor(extractor, state, tmp_path):
    for number in range(2):
        picture(number, 50, 40).save(tmp_path / f"{number}.png")
    files, seen = find_images(tmp_path).paths, []
    statistics = compute(files, extractor, "cpu", 1, seen.append)
    assert seen == [1, 1]
    expected = fitted([extractor.images([Image.open(path) for path in files])["pool"].astype(np.float64)])
    np.testing.assert_allclose(statistics.gaussian.covariance, expected.covariance, rtol=1e-3, atol=1e-6)
    write_statistics(tmp_path / "stats.npz", statistics)
    read = read_statistics(tmp_path / "stats.npz")
    read.check(extractor, tmp_path / "stats.npz")
    with pytest.raises(UserError, match=r"stats.npz: expected statistics of inception .*resize pytorch-fid.*found those of"):
        read.check(Inception.from_state(state, resize="pytorch-fid"), tmp_path / "stats.npz")


def test_a_damaged_image_is_named(extractor, tmp_path):
    picture(0, 20, 20).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"b.png: not an image, or a damaged one"):
        compute(find_images(tmp_path).paths, extractor, "cpu", 4, lambda count: None)


def test_the_verb_writes_a_file(tmp_path):
    from afa_bench.cli import app

    for number in range(3):
        picture(number, 50, 40).save(tmp_path / f"{number}.png")
    done = CliRunner().invoke(app(), ["stats", str(tmp_path), "-o", str(tmp_path / "s.npz"), "--features", "lite0"])
    assert done.exit_code == 0, done.output
    statistics = read_statistics(tmp_path / "s.npz")
    assert statistics.gaussian.mean.shape == (1280,)
    assert statistics.about["images"] == 3
    assert statistics.about["extractor"]["name"] == "lite0"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / ".a.png").write_bytes((tmp_path / "0.png").read_bytes())
    refused = CliRunner().invoke(app(), ["stats", str(tmp_path / "none"), "-o", str(tmp_path / "t.npz"), "--features", "lite0"])
    assert "expected two images at least" in str(refused.exception)
