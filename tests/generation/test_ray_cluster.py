"""The Ray engine on a cluster of two nodes: whatever dies, every sample is made, and is the one that one process makes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from runs import rows, run, summaries, tabulate

from afa_bench.generation.ray import RayEngine

SAMPLES = 2 * 5 * 12
"""Cells, prompts, images a prompt."""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head with one CPU; nodes are added to it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def markers(out: Path) -> dict[Path, int]:
    """The shards that are done, and when they were."""
    return {path: path.stat().st_mtime_ns for path in out.glob("*/*/state/shard-*.json")}


def until(true: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def workers() -> set[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return {process for process in processes if "ray::_Worker" in "".join(process.info["cmdline"] or ())}


@pytest.mark.slow
@pytest.mark.alone
def test_a_driver_and_a_node_die_and_every_sample_is_made_once(tiny_suite, tmp_path, cluster):
    document = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(yaml.safe_dump(document | {"methods": ["weighted", "noise-average"], "images_per_prompt": 12}))
    one, many = tmp_path / "one", tmp_path / "many"
    run(tiny_suite, one, shard_size=4)
    node = cluster.add_node(num_cpus=1)
    processes = multiprocessing.get_context("spawn")  # a fork server may be older than the cluster's token
    drive = partial(run, tiny_suite, many, shard_size=4, engine=RayEngine(workers=2, address=cluster.address))

    driver = processes.Process(target=drive)
    driver.start()
    until(lambda: len(markers(many)) >= 4)
    driver.kill()
    driver.join()
    before = markers(many)
    until(lambda: not workers())
    with processes.Pool(1) as pool:
        outcome = pool.apply_async(drive)
        until(lambda: len(markers(many)) >= len(before) + 4 and len(workers()) == 2)
        cluster.remove_node(node, allow_graceful=False)
        left = SAMPLES // 4 - len(markers(many))
        result = outcome.get(timeout=400)

    assert left > 4, "the node died when all was nearly done"
    assert (result.failed, result.left) == (0, 0)
    assert result.generated + 4 * len(before) <= SAMPLES
    assert {path: markers(many)[path] for path in before} == before  # nothing that was done is done again
    ours, theirs = rows(many), rows(one)
    assert len(ours) == len({(row["sha256"], row["sample_id"]) for row in ours}) == SAMPLES
    assert [row | {"seconds": 0} for row in ours] == [row | {"seconds": 0} for row in theirs]
    assert summaries(many) == summaries(one)
    assert tabulate(many) == tabulate(one)
    claims = list(many.rglob("*.claim.*"))  # the killed driver's, of shards that its workers finished after it
    assert all(path.with_name(path.name.split(".claim.")[0]).is_file() for path in claims)
