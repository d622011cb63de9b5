"""``afa-bench ls``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable


def ls() -> None:
    """List the packaged suites and groups and the registered methods, trainables, prompt sets, metrics and extractors."""
    from afa_bench.models.group import packaged
    from afa_bench.registry import POINTS, available
    from afa_bench.suite import packaged_suites
    from afa_bench.terminal import output, text

    rows: dict[str, Iterable[str]] = {"suites": packaged_suites(), "groups": packaged()}
    for kind, found in (rows | {kind: available(kind) for kind in POINTS}).items():
        output().print(text((f"{kind:11}", "bold"), ", ".join(found)))
