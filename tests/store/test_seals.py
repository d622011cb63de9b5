"""No byte of a results folder's numbers can change unseen."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_factory import write_cell

from afa_bench.errors import UserError
from afa_bench.store.layout import checked, write_checked
from afa_bench.store.rows import encode_rows
from afa_bench.tables.pairs import read_samples


def content(file: Path) -> object:
    samples = read_samples(file, ["category"])
    metrics = {key: values.tolist() for key, values in samples.metrics.items()}
    parts = {key: (part.names, part.codes.tolist()) for key, part in samples.parts.items()}
    return samples.ids.to_pylist(), samples.prompts.tolist(), samples.errors.to_pylist(), samples.seeds.tolist(), metrics, parts


def named(read: Callable[[], object], before: object, file: Path) -> bool:
    """Whether damage is told with the file's name; what is read without a word has to be as before."""
    try:
        assert read() == before
    except UserError as error:
        return str(file) in str(error)
    return False


def flips(data: bytes, every: int):
    chance = random.Random(0)
    for place in range(0, len(data), every):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        yield bytes(flipped)


def test_a_flipped_bit_in_the_rows_is_seen(tmp_path):
    rows = pq.read_table(write_cell(tmp_path).samples).to_pylist()
    file = tmp_path / "samples.parquet"
    file.write_bytes(encode_rows(rows))
    before, seen = content(file), 0
    for data in flips(file.read_bytes(), every=3):
        file.write_bytes(data)
        seen += named(lambda: content(file), before, file)
    assert seen > 500


def test_a_flipped_bit_in_a_summary_or_a_shard_is_seen(tmp_path):
    file = tmp_path / "summary.json"
    write_checked(file, {"metrics": {"fid": {"value": 12.5, "n": 96}}, "samples": 96, "text": "é"})

    def read() -> object:
        found = checked(file)
        return {key: found.get(key) for key in ("metrics", "samples", "text")}

    before, seen = read(), 0
    for data in flips(file.read_bytes(), every=1):
        file.write_bytes(data)
        seen += named(read, before, file)
    assert seen > 150


def test_a_file_without_seals_is_read_too(tmp_path):
    """Those of earlier versions have none."""
    (tmp_path / "summary.json").write_text('{"schema": 1, "failed": 0}')
    assert checked(tmp_path / "summary.json")["failed"] == 0
    file = tmp_path / "samples.parquet"
    pq.write_table(pa.table({"sample_id": ["a"], "prompt_id": ["p"], "fid": [1.0]}), file)
    assert read_samples(file).metrics["fid"].tolist() == [1.0]


@pytest.mark.parametrize("columns", [{"sample_id": [1.5]}, {"sample_id": ["a"], "prompt_id": ["p"], "seed": ["x"]}])
def test_columns_of_another_type_are_named(tmp_path, columns):
    file = tmp_path / "samples.parquet"
    pq.write_table(pa.table(columns), file)
    with pytest.raises(UserError, match=r"samples\.parquet: (corrupt|column)"):
        read_samples(file)
