"""Ctrl-C, at whatever moment of whatever verb: one line, exit code 130, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image
from results_factory import write_results

INTERRUPTED = "afa-bench: interrupted; run the same command again to go on\n"
CODE = """
import os, signal, sys
event, part = sys.argv[1:3]
sent = []
def watch(name, arguments):
    if name == event and part in str(arguments) and not sent:
        sent.append(name)
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(watch)
sys.argv = ["afa-bench", *sys.argv[3:]]
from afa_bench.cli import main
main()
"""
MOMENTS = [
    ("import", "typer", "table"),  # before there is a command line
    ("import", "rich_utils", "--help"),
    ("open", "cell.json", "table tiny"),
    ("open", "samples.parquet", "table tiny --vs afa"),
    ("open", "cell.json", "status tiny"),
    ("open", "samples.parquet", "compare tiny tiny"),
    ("open", "samples.parquet", "gate tiny tiny"),
    ("open", "samples.parquet", "report tiny"),
    ("open", "samples.parquet", "export tiny"),
    ("import", "matplotlib", "figure 4 tiny --metrics clip_t_mini"),
    ("open", "mini.yaml", "validate mini"),
    ("socket.connect", "9", "fetch drawbench --dry-run"),
    ("open", "recipe.yaml", "merge recipe.yaml -o m.safetensors"),
    ("import", "torch", "run mini --limit 1"),
    ("import", "torch", "score images --metrics is:features=lite0"),
    ("import", "torch", "search mini --scorer aes"),
    ("import", "torch", "train config.yaml"),
    ("import", "torch", "bench afa --count"),
]
LATER = [
    ("open", "shard-", "run mini --limit 1 --only base --steps 2"),
    ("open", "a.png", "score images --metrics is:features=lite0:splits=1"),
    ("open", "diffusion_pytorch_model.safetensors", "search mini --scorer {name:·clip-t,features:·mini-clip}"),
    ("open", "diffusion_pytorch_model.safetensors", "maps dog"),
    ("open", "diffusion_pytorch_model.safetensors", "train config.yaml"),
    ("import", "torchvision", "stats images -o s.npz"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    write_results(tmp_path / "tiny")
    Path("images").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8), "red").save(f"images/{name}.png")
    Path("recipe.yaml").write_text("models: {A: a.safetensors, B: b.safetensors}\n")
    Path("config.yaml").write_text(
        yaml.safe_dump({"group": "mini-1", "data": {"name": "mini", "limit": 16}, "size": 32, "validation": 2})
    )
    return tmp_path


def interrupted(moment: tuple[str, str, str]) -> None:
    event, part, words = moment
    command = [sys.executable, "-c", CODE, event, part, *(word.replace("·", " ") for word in words.split())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 130, done.stderr
    assert done.stderr.endswith(INTERRUPTED)
    assert "Traceback" not in done.stderr
    assert "Aborted" not in done.stdout + done.stderr


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment[2]}, {moment[1]}")
def test_an_interrupt_is_one_line(moment: tuple[str, str, str], here: Path) -> None:
    interrupted(moment)


@pytest.mark.slow
@pytest.mark.parametrize("moment", LATER, ids=lambda moment: f"{moment[2]}, {moment[1]}")
def test_an_interrupt_of_work_is_one_line(moment: tuple[str, str, str], here: Path) -> None:
    interrupted(moment)


def test_what_a_package_makes_of_an_interrupt_is_one_line() -> None:
    """As the command line's own does, and a training, which ends by a KeyboardInterrupt after its checkpoint."""
    for raised in ("KeyboardInterrupt", "cli.Ended(2)"):
        code = (
            "import typer\nfrom afa_bench import cli\napp = typer.Typer()\n@app.command()\ndef verb():\n    try:\n"
            f"        raise {raised}\n    except BaseException as error:\n        raise RuntimeError('lost') from error\n"
            "cli.app = lambda: app\ncli.main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (130, INTERRUPTED)


@pytest.mark.slow
def test_a_terminal_interrupts_all_processes(tmp_path: Path) -> None:
    """Ctrl-C goes to a command and all that it has started: the workers of a build are to be silent."""
    words = ["-m", "afa_bench", "mini", "build", "--out", str(tmp_path / "zoo"), "--scale", "0.01", "--only", "data,vae"]
    piped = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, *words], **piped) as process:
        while not list(tmp_path.glob("zoo/.work/*.json")):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(5)  # its workers have begun
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors == INTERRUPTED
