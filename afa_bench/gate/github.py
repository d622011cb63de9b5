"""A decision in GitHub Actions: annotations on the run, and the job's summary page."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.gate.files import markdown
from afa_bench.gate.model import FAILING, OPEN, Finding
from afa_bench.gate.text import sentence
from afa_bench.gate.verdicts import Decision
from afa_bench.words import line

MOST = 10
"""Annotations of one level that GitHub shows for a step."""

PAGE = 1024 * 1024
"""Bytes of a step's summary that GitHub takes, with what other commands of the step wrote; a larger one it drops."""


def commands(decision: Decision) -> Iterator[str]:
    """Workflow commands, one a line: an error for what fails the gate, a warning for what is open."""
    levels = {"error": FAILING | OPEN if decision.strict else FAILING, "warning": frozenset() if decision.strict else OPEN}
    for level, verdicts in levels.items():
        found = [finding for finding in decision.findings if finding.verdict in verdicts]
        shown = found if len(found) <= MOST else found[: MOST - 1]
        yield from (_annotation(level, finding) for finding in shown)
        if len(found) > len(shown):
            yield _command(level, "afa-bench gate", f"and {len(found) - len(shown)} more: see the job's summary")


@contextmanager
def verbatim(environment: Mapping[str, str]) -> Iterator[None]:
    """In GitHub Actions, what is printed inside is no workflow command, whatever the names in it."""
    if not environment.get("GITHUB_ACTIONS"):
        yield
        return
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        print(f"::{token}::", flush=True)


def append_summary(decision: Decision, environment: Mapping[str, str]) -> None:
    """Append the Markdown to the file that ``GITHUB_STEP_SUMMARY`` names, if it does.

    Raises:
        UserError: it cannot be written.
    """
    name = environment.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    text = markdown(decision)
    try:
        with Path(name).open("a", encoding="utf-8", newline="\n") as page:
            if page.tell() + len(text.encode()) > PAGE:
                text = f"### {decision.headline}\n\nToo much for this page: see summary.md and gate.json.\n"
            page.write(text)
    except OSError as error:
        raise UserError(f"GITHUB_STEP_SUMMARY: {name}: cannot be written: {error.strerror}") from error


def _annotation(level: str, finding: Finding) -> str:
    return _command(level, f"{finding.verdict}: {line(finding.comparison.metric.title)}", sentence(finding))


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
