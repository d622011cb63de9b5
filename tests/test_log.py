"""The package's logger."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from afa_bench.log import LOG, deprecated


def test_an_old_name_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    deprecated.cache_clear()
    for old in ("form", "form", "weighted"):
        deprecated(old, "method")
    assert [record.getMessage() for record in caplog.records] == [
        "form is the old name of method; write the new one",
        "weighted is the old name of method; write the new one",
    ]
    assert {(record.name, record.levelno) for record in caplog.records} == {("afa_bench", logging.WARNING)}


def test_the_command_line_shows_it() -> None:
    code = (
        "from afa_bench import cli\nfrom afa_bench.log import deprecated\n"
        "cli.app = lambda: lambda: deprecated('form: [ties]', 'method: [ties]')\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: form: [ties] is the old name of method: [ties]; write the new one\n"
    assert done.stdout == ""


def test_prints_nothing_by_itself() -> None:
    code = "from afa_bench.log import LOG; LOG.warning('something')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert LOG.propagate
