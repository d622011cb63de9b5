"""``afa-bench ls``: what there is to choose from."""

from __future__ import annotations


def ls() -> None:
    """List the packaged suites and groups and the registered methods, prompt sets, metrics and feature extractors."""
    from rich.console import Console

    from afa_bench.models.group import packaged
    from afa_bench.registry import available
    from afa_bench.suite import packaged_suites

    console = Console()
    rows = {"suites": packaged_suites(), "groups": packaged()}
    rows |= {kind: available(kind) for kind in ("methods", "prompts", "metrics", "features")}  # type: ignore[dict-item]
    for kind, found in rows.items():
        console.print(f"[bold]{kind:9}[/bold]{', '.join(found)}", highlight=False, soft_wrap=True)
