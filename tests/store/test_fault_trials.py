"""Whatever breaks: no wrong number, every fault named, and the same command goes on.

``AFA_BENCH_TRIALS=200 pytest -m slow tests/store/test_fault_trials.py`` does as many trials as asked for, 12 by default.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from fault_trials import make_bench, trial

TRIALS = int(os.environ.get("AFA_BENCH_TRIALS", "12"))


@pytest.mark.slow
def test_no_fault_leads_to_a_wrong_number(tiny_group, tmp_path):
    bench = make_bench(tmp_path / "bench", tiny_group)
    wrong: list[str] = []
    told: Counter[str] = Counter()
    log = open(os.environ.get("AFA_BENCH_TRIALS_LOG", os.devnull), "w")  # noqa: SIM115
    with log:
        for seed in range(TRIALS):
            try:
                found = trial(bench, seed, tmp_path / f"trial-{seed}")
                told[found.fault.split()[0]] += 1
                print(seed, found.fault, "|", found.words, file=log, flush=True)
            except Exception as error:
                wrong.append(f"trial {seed}: {type(error).__name__}: {error}")
                print(wrong[-1], file=log, flush=True)
    print(f"{TRIALS} trials, {len(wrong)} wrong:", dict(told))
    assert not wrong, "\n".join(wrong)
