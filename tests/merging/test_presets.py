"""Every preset against the numbers that the two web UIs' tools publish (``mbwpresets_master.txt``, ``preset.tsv``)."""

from __future__ import annotations

import pytest

from afa_bench.errors import UserError
from afa_bench.merging.blocks import ByBlock
from afa_bench.merging.presets import BASES, CORRECTED, CURVES, RANGES, preset


def ones(*places: int, half: tuple[int, ...] = (), value: float = 1) -> list[float]:
    return [value if n in places else 0.5 if n in half else 0 for n in range(25)]


WHOLE = {
    "GRAD_V": [abs(12 - n) / 12 for n in range(25)],
    "GRAD_A": [(12 - abs(12 - n)) / 12 for n in range(25)],
    "FLAT_25": [0.25] * 25,
    "FLAT_75": [0.75] * 25,
    "ALL_A": [0] * 25,
    "ALL_B": [1] * 25,
    "WRAP08": ones(*range(4), *range(21, 25)),
    "WRAP12": ones(*range(6), *range(19, 25)),
    "WRAP14": ones(*range(7), *range(18, 25)),
    "WRAP16": ones(*range(8), *range(17, 25)),
    "MID12_50": ones(*range(5, 19), value=0.5),
    "OUT07": ones(*range(18, 25)),
    "OUT12": ones(*range(13, 25)),
    "OUT12_5": ones(*range(13, 25), half=(12,)),
    "RING08_SOFT": ones(6, 7, 8, 16, 17, 18, half=(5, 9, 15, 19)),
    "RING08_5": ones(6, 7, 8, 9, 15, 16, 17, 18),
    "RING10_5": ones(5, 6, 7, 8, 9, 15, 16, 17, 18, 19),
    "RING10_3": ones(6, 7, 8, 9, 10, 14, 15, 16, 17, 18),
}

PLACES = (0, 1, 5, 9, 10, 12, 14, 19, 23, 24)
"""Of the curves' published numbers, these are compared here; the first and the last are 0 or 1."""

CURVED = {
    "SMOOTHSTEP": (0, 0.005063657, 0.112123843, 0.316406250, 0.376157407, 0.5, 0.623842593, 0.887876157, 0.994936343, 1),
    "SMOOTHSTEP*2": (0, 0.010127315, 0.224247685, 0.632812500, 0.752314815, 1, 0.752314815, 0.224247685, 0.010127315, 0),
    "SMOOTHSTEP*3": (0, 0.015190972, 0.336371528, 0.949218750, 0.871527778, 0.5, 0.128472222, 0.663628472, 0.984809028, 1),
    "SMOOTHSTEP*4": (0, 0.020254630, 0.448495370, 0.734375000, 0.495370370, 0, 0.495370370, 0.448495370, 0.020254630, 0),
    "SMOOTHSTEP/2": (0, 0.019675926, 0.376157407, 0.84375, 0.925925926, 1, 0.925925926, 0.376157407, 0.019675926, 0),
    "SMOOTHSTEP/3": (0, 0.042968750, 0.683593750, 0.957031250, 0.84375, 0.5, 0.15625, 0.316406250, 0.957031250, 1),
    "SMOOTHSTEP/4": (0, 0.074074074, 0.925925926, 0.5, 0.259259259, 0, 0.259259259, 0.925925926, 0.074074074, 0),
    "COSINE": (1, 0.995722431, 0.896676670, 0.691341716, 0.629409523, 0.5, 0.370590477, 0.103323330, 0.004277569, 0),
    "TRUE_CUBIC_HERMITE": (
        0,
        0.199031877,
        0.549991561,
        0.589029948,
        0.570939429,
        0.520833333,
        0.470727238,
        0.491675106,
        0.842634790,
        1,
    ),
    "FAKE_CUBIC_HERMITE": (0, 0.157576196, 0.512996721, 0.560546875, 0.544945988, 0.5, 0.455054012, 0.487003279, 0.842423804, 1),
}


def test_the_presets() -> None:
    assert WHOLE.keys() | CURVED.keys() | {"FAKE_HERMITE"} == CURVES.keys() | RANGES.keys()
    for name, values in WHOLE.items():
        assert preset(name) == pytest.approx(values, abs=1e-9), name
    for name, values in CURVED.items():
        assert [preset(name)[place] for place in PLACES] == pytest.approx(values, abs=2e-9), name
    assert preset("FAKE_HERMITE") == pytest.approx(preset("FAKE_CUBIC_HERMITE"), abs=1e-4)


@pytest.mark.parametrize("name", sorted(CURVES.keys() | RANGES.keys()))
def test_one_minus_a_preset(name: str) -> None:
    for reverse in (f"R_{name}", f"REVERSE_{name}", f"REVERSE-{name}"):
        assert preset(reverse) == pytest.approx([1 - value for value in preset(name)])
    if name.endswith("_CUBIC_HERMITE"):
        assert preset(name.replace("_CUBIC", "_REVERSE_CUBIC")) == preset(f"R_{name}")


def test_base_and_what_was_corrected() -> None:
    assert {name: ByBlock.model_validate(name).base for name in ("ALL_A", "ALL_B", "R_ALL_B", "GRAD_V")} == {
        "ALL_A": 0, "ALL_B": 1, "R_ALL_B": 0, "GRAD_V": 0.5,
    }  # fmt: skip
    assert ByBlock(blocks="ALL_B", base=0.3).base == 0.3
    assert BASES.keys() <= CURVES.keys()
    for name in CORRECTED:
        assert ByBlock(blocks=name).blocks == preset(name)


def test_presets_for_other_numbers_of_blocks() -> None:
    assert preset("GRAD_A", 19)[9] == 1
    assert len(preset("R_COSINE", 19)) == 19
    with pytest.raises(UserError, match="preset WRAP08 is defined for 25 blocks; this model has 19"):
        preset("WRAP08", 19)
    for name in ("GRAD_W", "R_GRAD_W", "R_R_GRAD_V"):
        with pytest.raises(UserError, match=f"unknown preset '{name}': did you mean 'GRAD_"):
            preset(name)
