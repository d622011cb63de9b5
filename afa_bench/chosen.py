"""Which rows a name means, on a command line or in a policy."""

from __future__ import annotations

from collections.abc import Container


def is_meant(names: Container[str], label: str, method: str, labels: Container[str]) -> bool:
    """Whether one of the names means a row: its label, or the name of its method where no row is labelled like that.

    Args:
        names: that were asked for.
        label, method: of the row.
        labels: of all rows of its group.
    """
    return label in names or (method in names and method not in labels)
