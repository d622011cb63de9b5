"""The golden values of identity version 1: a change here orphans every stored result."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afa_bench.identity import canonical, fingerprint, fingerprint_of_rows, sample_id, seed_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_golden_values():
    assert fingerprint({"b": 1, "a": [0.5, None, "é"]}) == "b74759c45423e94b703e286bb3fa03aaf5c30f6b520b33ae35df39922cea2541"
    assert seed_of(0, "000001", 0, 0) == 3132491579648502108
    assert sample_id("a/b", 1, 2) == "a/b/1/2"


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_order_of_keys_does_not_matter(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(JSON, JSON)
def test_different_values_have_different_fingerprints(a, b):
    assert (fingerprint(a) == fingerprint(b)) == (canonical(a) == canonical(b))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(math.nan)


@given(st.integers(0, 2**32), st.text(), st.integers(0, 9), st.integers(0, 9))
def test_seeds_fit_a_generator_and_depend_on_every_part_of_the_key(seed, prompt, image, repeat):
    value = seed_of(seed, prompt, image, repeat)
    assert 0 <= value < 2**63
    others = {seed_of(seed + 1, prompt, image, repeat), seed_of(seed, prompt + "x", image, repeat)}
    others |= {seed_of(seed, prompt, image + 1, repeat), seed_of(seed, prompt, image, repeat + 1)}
    assert value not in others
    assert len(others) == 4


def test_rows_one_at_a_time_have_the_fingerprint_of_their_list():
    for rows in ([], [["a", "b", None]], [["a", "狗", None], ["c", 1, {"z": 1, "a": 2}]]):
        assert fingerprint_of_rows(iter(rows)) == fingerprint(rows)
