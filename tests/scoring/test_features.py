"""Features of reference images: kept part by part, so that what has been done is not done again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import images

from afa_bench.errors import UserError
from afa_bench.extractors.lite0 import Lite0
from afa_bench.images.stored import Picture, in_file
from afa_bench.scoring import features
from afa_bench.scoring.extraction import Extraction
from afa_bench.scoring.features import FeatureStore
from afa_bench.scoring.image_set import RealImages
from afa_bench.store.layout import Store


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Five real images, of which two are a part."""
    monkeypatch.setattr(features, "TOGETHER", 2)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, image in zip(files, [*images(0), *images(1)], strict=False):
        image.convert("RGB").save(file)
    return files


def store(folder: Path, found: list[Picture]) -> FeatureStore:
    return FeatureStore(RealImages(find=lambda: found), Store(folder / "out"), Extraction("cpu"))


def test_parts_of_a_reference_that_are_there_are_not_computed_again(pictures: list[Path], tmp_path: Path) -> None:
    found = [in_file(path) for path in pictures]
    first = store(tmp_path, found)
    pool = first.reference(Lite0(), "pool", "real")
    assert pool.shape == (5, 1280)
    assert first.extraction.record.images == 5
    parts = sorted((tmp_path / "out" / "references").iterdir())
    assert len(parts) == 3
    again = store(tmp_path, found)
    assert np.array_equal(again.reference(Lite0(), "pool", "real"), pool)
    assert again.extraction.record.images == 0
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    mended = store(tmp_path, found)
    assert np.abs(mended.reference(Lite0(), "pool", "real") - pool).max() < 1e-6
    assert 2 <= mended.extraction.record.images <= 4


def test_parts_before_an_unreadable_image_are_kept(pictures: list[Path], tmp_path: Path) -> None:
    found = [in_file(path) for path in pictures]
    whole = pictures[4].read_bytes()
    pictures[4].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"4\.png: cannot be read: was changed meanwhile"):
        store(tmp_path, found).reference(Lite0(), "pool", "real")
    pictures[4].write_bytes(whole)
    resumed = store(tmp_path, found)
    assert resumed.reference(Lite0(), "pool", "real").shape == (5, 1280)
    assert resumed.extraction.record.images == 1
