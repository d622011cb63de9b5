"""One writer a format: each turns a table into text which ends with a newline."""

from __future__ import annotations

from importlib import import_module

from afa_bench.errors import UserError, suggest
from afa_bench.tables.model import Table

FORMATS = ("rich", "markdown", "latex", "html", "csv", "json")


def render(table: Table, form: str) -> str:
    """The table as text; ``rich`` without colours or limit of width (``formats.rich.render`` takes both).

    Raises:
        UserError: an unknown format.
    """
    check_format(form)
    text: str = import_module(f"{__name__}.{form}").render(table)
    return text


def check_format(form: str) -> None:
    """Refuse an unknown format.

    Raises:
        UserError: with the nearest known ones.
    """
    if form not in FORMATS:
        raise UserError(f"unknown format {form!r}: {suggest(form, FORMATS)}")
