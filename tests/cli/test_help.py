"""``--help`` is there at once: it reads the verbs' options, and nothing that computes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from afa_bench.cli import app
from afa_bench.cli.verbs import root

CODE = """
import sys
from afa_bench.cli import main
sys.argv = ["afa-bench", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "diffusers", "transformers", "pandas", "numpy", "pyarrow", "pydantic", "yaml"} & {*sys.modules}
    print(sorted(heavy), file=sys.stderr)
"""
VERBS = [command.name for command in root().registered_commands] + [group.name for group in root().registered_groups]


def helped(*words: str) -> str:
    """The heavy modules that are imported."""
    done = subprocess.run([sys.executable, "-c", CODE, *words, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: afa-bench" in done.stdout
    return done.stderr.strip()


@pytest.mark.slow
def test_help_imports_nothing_that_computes() -> None:
    assert helped() == "[]"
    for verb in VERBS:
        assert helped(str(verb)) in ("[]", "['pydantic']"), verb  # which typer, by itself, looks for


def test_every_verb_is_said_in_a_sentence() -> None:
    for command in app().registered_commands:
        assert command.callback is not None
        assert (command.callback.__doc__ or "").split("\n")[0].endswith("."), command.name
