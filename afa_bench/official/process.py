"""The process of the official packages, in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.official import runner


class Official:
    """``runner.py`` as a process that does what it is asked for, a line at a time.

    Args:
        python: its interpreter.
        work: a folder for the job's file and its complaints.
        job: as ``runner.py`` takes it.
    """

    def __init__(self, python: Path, work: Path, job: Mapping[str, Any]) -> None:
        self.python = python
        self.complaints = work / "stderr.txt"
        (work / "job.json").write_text(json.dumps(job))
        command = [str(python), runner.__file__, str(work / "job.json")]
        quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if job["device"] == "cpu" else {}  # hpsv2 takes a GPU wherever there is one
        try:
            with self.complaints.open("w") as file:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    env=os.environ | quiet | hidden,
                )
        except OSError as error:
            raise UserError(f"--official: {python}: cannot be run: {error.strerror}") from error

    def __enter__(self) -> Official:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, order: str) -> Any:
        """The answer to an order.

        Raises:
            UserError: the process has ended instead.
        """
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            print(order, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            last = (self.complaints.read_text().strip().splitlines() or ["no message"])[-1]
            raise UserError(f"--official: {self.python}: the official packages do not run there: {last}")
        return json.loads(answer)
