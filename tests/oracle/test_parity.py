"""Every metric against the official package that defines it; see ``docs/parity.md``."""

import shutil
from pathlib import Path

import environment
import numpy as np
import parity
import pytest
from places import ROOT

from afa_bench.bench.metrics import held, our_network
from afa_bench.bench.metrics import seconds as measured
from afa_bench.official.process import Official

pytestmark = pytest.mark.slow

ROWS = (
    "CLIP-T",
    "CLIP-I",
    "AES",
    "PickScore",
    "HPSv2 modern antialias",
    "HPSv2 legacy antialias",
    "ImageReward true size",
    "Inception features clean",
    "FID clean",
    "Inception features pytorch-fid",
    "FID pytorch-fid",
    "Inception features torch-fidelity",
    "FID torch-fidelity",
    "KID torch-fidelity",
    "IS torch-fidelity",
    "Fréchet distance 2,500 x 2,048 features, clean-fid",
    "Fréchet distance 2,500 x 2,048 features, torch-fidelity",
    "pixels of clip-t",
    "pixels of pickscore",
    "pixels of hpsv2",
    "pixels of hpsv2 legacy",
    "pixels of image-reward",
)


@pytest.fixture(scope="module")
def oracle(pytestconfig, tmp_path_factory):
    python = environment.build(Path(pytestconfig.cache.mkdir("oracle")))
    folder = tmp_path_factory.mktemp("oracle")
    yield parity.Oracle(python, folder)
    shutil.rmtree(folder)  # two gigabytes of weights


@pytest.fixture(scope="module")
def rows(oracle):
    return parity.all_rows(oracle)


@pytest.mark.parametrize("name", ROWS)
def test_our_value_is_the_official_one(rows, name):
    row = rows[name]
    assert np.isfinite(row.theirs).all()
    assert row.difference <= row.tolerance
    assert row.spread > 100 * row.tolerance, "too flat to tell anything"


def test_nothing_is_compared_but_not_listed(rows):
    assert set(rows) == set(ROWS)


def test_the_official_code_fails_only_where_the_document_says(oracle):
    errors = {name: set(oracle.answers[name]["errors"]) for name in parity.CAPTIONED}
    assert errors == {name: {"alpha.png"} if name.startswith("hpsv2") else set() for name in parity.CAPTIONED}


def test_a_wrong_network_is_noticed(oracle, rows):
    """OpenAI's weights in a network without QuickGELU: the commonest mistake."""
    network = parity.clip(oracle, quick_gelu=False)
    images, texts = network.images(oracle.images())["embedding"], network.texts(oracle.captions())
    assert np.abs((images * texts).sum(axis=1) - rows["CLIP-T"].theirs).max() > 10 * rows["CLIP-T"].tolerance


def test_the_document_has_these_rows(rows):
    text = (ROOT / "docs" / "parity.md").read_text()
    for row in rows.values():
        assert f"| {row.metric} | {row.variant} | {row.package} |" in text


def test_the_bench_takes_turns_with_an_official_loop(oracle, tmp_path):
    job = {"weights": str(oracle.weights("")), "size": "small", "cases": oracle.cases[:2], "threads": 1, "device": "cpu"}
    with Official(oracle.python, tmp_path, job) as official:
        vocabulary = Path(official.ask("load clip-t"))
        assert vocabulary.name == "vocab.txt"
        seconds = [official.ask("time") for _ in range(2)]
        network = held(our_network("clip-l14", oracle.weights(""), "small", vocabulary, {}), "cpu")
        assert 0 < measured([network], oracle.cases[:2], "cpu") < 60
    assert all(0 < second < 60 for second in seconds)
    assert official.process.poll() is not None
