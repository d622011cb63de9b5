"""Trials of a fault: something breaks, in a finished results folder or in the middle of a run, and no wrong number may follow.

Each trial is a function of its seed. Faults of files are real bytes on a real disk; full and read-only disks are mounted ones; a
read that fails with EIO is one of ``/proc/self/mem``; a disk that dies under a run is an audit hook of the interpreter, which
fails the n-th operation on files, or every one from there on.
"""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from runs import run
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from afa_bench import cli
from afa_bench.cli.exits import SIGNAL
from afa_bench.errors import UserError
from afa_bench.generation import generator as generate
from afa_bench.store.garbage import find_garbage
from afa_bench.tables import build_table, load_results

torch.set_num_threads(1)
HEAVY = (
    StableDiffusionPipeline,
    UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    generate,
)
"""What a run imports; a process that is forked from one that has it is there at once."""

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.scandir", "os.listdir", "os.utime"}
Numbers = dict[tuple[Any, ...], Any]


@dataclass(frozen=True)
class Bench:
    """A suite on tiny models, a finished run of it, and what came of that.

    Attributes:
        models: their folder.
        results: the finished run's ``--out``.
        numbers: of its table, differences to a method included.
        images: name -> sha256.
        operations: on files that a run takes.
    """

    folder: Path
    models: Path
    results: Path
    numbers: Numbers
    images: dict[str, str]
    operations: int


def suite_file(folder: Path, models: Path) -> Path:
    """Three prompts with an image each, two methods; denoising losses and cosines of a small CLIP."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for index, text in enumerate(("a red dog", "a green bus", "狗")):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"p{index}.png")
        (pictures / f"p{index}.txt").write_text(text)
    suite = {
        "name": "tiny",
        "groups": [str(models / "tiny.yaml")],
        "prompts": {"name": "folder", "path": "pictures"},
        "methods": [{"name": "base", "model": "one"}, "noise-average"],
        "metrics": [{"name": "denoising-loss", "timesteps": 2}, {"name": "clip-t", "features": "mini-clip"}],
        "sampler": {"guidance": 1.0},
        "steps": [1],
        "size": 8,
        "images_per_prompt": 1,
    }
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump(suite))
    return file


def make_bench(folder: Path, group: Path) -> Bench:
    models = folder / "models"
    shutil.copytree(group.parent, models, ignore=shutil.ignore_patterns("raw", "three"))
    (models / "tiny.yaml").write_text("pipeline: base\nmodels: {one: one, two: two}\n")
    suite = suite_file(folder / "suite", models)
    operations, _ = in_child(suite, folder / "results", folder / "report", 0, "count")
    results = folder / "results"
    return Bench(folder, models, results, numbers(results), images(results), operations)


def numbers(out: Path) -> Numbers:
    """All numbers of the table of all cells, with paired differences."""
    table = build_table(load_results(out / "tiny"), versus="one")
    return {
        (section.title, row.label, column.metric.key, column.steps): (cell.value, cell.low, cell.high, cell.n, cell.difference)
        for section in table.sections
        for row in section.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.value is not None
    }


def images(out: Path) -> dict[str, str]:
    return {
        f"{path.parent.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in out.rglob("*.png")
    }


# --- a run that something happens to


class Saboteur:
    """An audit hook: from the n-th operation on files below a folder on, or only then, something happens."""

    def __init__(self, root: Path, at: int, fault: Callable[[], None], lasting: bool) -> None:
        self.root, self.at, self.fault, self.lasting = str(root), at, fault, lasting
        self.count = 0
        self.resting = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or self.resting or not args or not str(args[0]).startswith(self.root):
            return
        self.count += 1
        if self.count == self.at or (self.lasting and self.at and self.count > self.at):
            self.resting = True
            try:
                self.fault()
            finally:
                self.resting = False


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def remount(disk: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(disk)], capture_output=True, check=False)


def child(suite: Path, out: Path, report: Path, at: int, kind: str) -> None:
    """A run, in a process of its own, with one fault; what it says goes to ``report``."""
    faults: dict[str, tuple[Callable[[], None], bool]] = {
        "count": (lambda: None, False),
        "kill": (lambda: os.kill(os.getpid(), signal.SIGKILL), False),
        "terminate": (lambda: os.kill(os.getpid(), signal.SIGTERM), False),
        "EIO once": (partial(fail, errno.EIO), False),
        "EIO": (partial(fail, errno.EIO), True),
        "ESTALE": (partial(fail, errno.ESTALE), True),
        "EDQUOT once": (partial(fail, errno.EDQUOT), False),
        "disk full": (partial(fill, out.parent), True),
        "read-only": (partial(remount, out.parent, "ro"), True),
    }
    saboteur = Saboteur(out, at, *faults[kind])
    signal.signal(signal.SIGTERM, cli.end)
    sys.addaudithook(saboteur)
    code, text = 0, ""
    try:
        run(suite, out, batch_size=2)
        text = str(saboteur.count)
    except (UserError, OSError) as error:
        code, text = 2, str(error)
    except cli.Ended as ended:
        code = SIGNAL + ended.number
    except BaseException:  # whatever it is, the trial is to show it
        code, text = 5, traceback.format_exc()
    saboteur.resting = True
    report.write_text(f"{text}\n")
    os._exit(code)


def in_child(suite: Path, out: Path, report: Path, at: int, kind: str) -> tuple[int, str]:
    """Exit code (for ``count``: the number of operations) and words of a run with a fault."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["fault_trials"])
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # where the server finds what it is to import before it forks
    process = processes.Process(target=child, args=(suite, out, report, at, kind))
    process.start()
    process.join(300)
    text = report.read_text().strip() if report.exists() else ""
    assert process.exitcode in (0, 2, 143, -signal.SIGKILL), f"{kind} at operation {at}: {process.exitcode} {text}"
    return (int(text), "") if kind == "count" else (process.exitcode, text)


# --- trials


@dataclass
class Told:
    """What a trial did, and how the fault was told: an error's words, or an exit code."""

    fault: str
    words: str


def trial(bench: Bench, seed: int, folder: Path) -> Told:
    """One trial, of a kind that goes by its seed.

    Raises:
        AssertionError: a wrong number, a fault without a name, or one that cannot be mended.
    """
    chance = random.Random(seed)
    kinds: Sequence[Callable[[Bench, random.Random, Path], Told]] = (
        damage,
        damage,
        interrupt,
        damage,
        interrupt,
        full,
        locked,
        weights,
    )
    told = kinds[seed % len(kinds)](bench, chance, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return told


def copied(bench: Bench, folder: Path) -> tuple[Path, Path]:
    """A suite and finished results."""
    shutil.copytree(bench.results, folder / "out", symlinks=True)
    return suite_file(folder / "suite", bench.models), folder / "out"


def spoil(path: Path, chance: random.Random) -> str:
    """Damage one file."""
    data = path.read_bytes()
    kind = chance.choice(["flip", "flip", "truncate", "zeroes", "empty", "gone", "EIO", "longer"])
    if kind == "EIO":
        path.unlink()
        path.symlink_to("/proc/self/mem")  # a read at its begin fails with EIO
    elif kind == "gone":
        path.unlink()
    else:
        place = chance.randrange(len(data))
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        size = chance.randrange(8, 256)
        made = {
            "flip": bytes(flipped), "truncate": data[:place], "zeroes": data[:place] + bytes(size) + data[place + size :],
            "empty": b"", "longer": data + chance.randbytes(size),
        }  # fmt: skip
        path.write_bytes(made[kind])
    return f"{kind} {path.name}"


def damage(bench: Bench, chance: random.Random, folder: Path) -> Told:
    """A file of finished results; half of the times the results are scored again."""
    suite, out = copied(bench, folder)
    file = chance.choice(sorted(path for path in out.rglob("*") if path.is_file()))
    cell = file.relative_to(out / "tiny").parts[0]
    again = chance.random() < 0.5 and file.parent != out / "tiny"
    what = spoil(file, chance) + (", scored again" if again else "")
    before = told_by(lambda: agree(numbers(out), bench))
    if again:
        (out / "tiny" / cell / "summary.json").unlink(missing_ok=True)
        for features in (out / "tiny" / cell / "state").glob("*.npz") if file.suffix == ".png" else ():
            features.unlink()
    return Told(what, mended(bench, suite, out) or before)


def told_by(work: Callable[[], object]) -> str:
    """The words of the error that it ends with; none if it ends well."""
    try:
        work()
    except (UserError, OSError) as error:
        return str(error)
    return ""


def agree(found: Numbers, bench: Bench) -> None:
    """Numbers may be missing, but not wrong."""
    wrong = {place: value for place, value in found.items() if bench.numbers.get(place) != value}
    assert not wrong, f"WRONG TABLE: {wrong}"


def mended(bench: Bench, suite: Path, out: Path) -> str:
    """Do what the errors say, until a run comes through: remove the file that is named. The table is then as ever."""
    words = []
    for _ in range(6):
        error = told_by(lambda: run(suite, out, batch_size=2)) or told_by(lambda: agree(numbers(out), bench))
        if not error:
            break
        words.append(error)
        named = [path for path in out.rglob("*") if str(path) in error and not path.is_dir()]
        assert named, f"no file is named: {error}"
        for path in named:
            path.unlink()
    assert numbers(out) == bench.numbers, f"not mended: {words}"
    return "; ".join(words) or told_by(lambda: find_garbage(out / "tiny"))


def interrupt(bench: Bench, chance: random.Random, folder: Path) -> Told:
    """A run that is killed or terminated, or whose disk fails, at one of its operations on files."""
    kind = chance.choice(["kill", "kill", "kill", "terminate", "EIO once", "EIO", "ESTALE", "EDQUOT once"])
    (folder / "disk").mkdir(parents=True)
    told = broken_off(bench, chance, folder, kind)
    return resumed(bench, told, folder)


def full(bench: Bench, chance: random.Random, folder: Path) -> Told:
    """A disk that is full from some operation on."""
    return on_a_disk(bench, chance, folder, "disk full", lambda disk: (disk / "ballast").unlink(missing_ok=True))


def locked(bench: Bench, chance: random.Random, folder: Path) -> Told:
    """A disk that can only be read from some operation on."""
    return on_a_disk(bench, chance, folder, "read-only", lambda disk: remount(disk, "rw"))


def on_a_disk(bench: Bench, chance: random.Random, folder: Path, kind: str, mend: Callable[[Path], None]) -> Told:
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return resumed(bench, broken_off(bench, chance, folder, "EDQUOT once"), folder)  # without the right to mount
    try:
        told = broken_off(bench, chance, folder, kind)
        mend(disk)
        return resumed(bench, told, folder)
    finally:
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)


def broken_off(bench: Bench, chance: random.Random, folder: Path, kind: str) -> Told:
    at = chance.randrange(1, bench.operations + 1)
    suite, out = suite_file(folder / "suite", bench.models), folder / "disk" / "out"
    code, words = in_child(suite, out, folder / "report", at, kind)
    what = f"{kind} at operation {at} of {bench.operations}"
    assert code != 2 or str(out) in words or "[Errno" in words, f"{what}: no name: {words}"
    assert kind != "terminate" or not list(out.rglob("*.claim.*")), f"{what}: a claim is left"
    return Told(what, words if code == 2 else f"exit code {code}")


def resumed(bench: Bench, told: Told, folder: Path) -> Told:
    """The same command again gives what an signals_deferred run gives, to the byte; until then no number is wrong."""
    out = folder / "disk" / "out"
    if list(out.glob("tiny/*/cell.json")):
        told_by(lambda: agree(numbers(out), bench))
    run(folder / "suite" / "suite.yaml", out, batch_size=2)
    assert numbers(out) == bench.numbers, f"other numbers: {told}"
    assert images(out) == bench.images, f"other images: {told}"
    garbage = {one.path for one in find_garbage(out / "tiny")}
    assert garbage >= set(out.rglob("*.claim.*")), f"a claim is left for ever: {told}"
    return told


def weights(bench: Bench, chance: random.Random, folder: Path) -> Told:
    """A model's file that is damaged after a run: it is refused, or it is another model, with cells of its own."""
    models = folder / "models"
    shutil.copytree(bench.models, models)
    shutil.copytree(bench.results, folder / "out")
    suite, out = suite_file(folder / "suite", models), folder / "out"
    cells = {path: path.read_bytes() for path in out.glob("tiny/*/*") if path.is_file()}
    file = chance.choice(sorted(path for path in models.rglob("*.safetensors") if "base/unet" not in str(path)))  # not read
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    cut = chance.random() < 0.3
    file.write_bytes(data[:place] if cut else data)
    what = f"{'truncated' if cut else 'flipped'} {file.relative_to(models)}"
    words = told_by(lambda: run(suite, out, batch_size=2))
    assert words or not cut, f"{what}: not told"
    assert not words or "models" in words or "tiny" in words, f"{what}: no name: {words}"
    assert all(path.read_bytes() == before for path, before in cells.items()), f"{what}: results of the whole model have changed"
    if not words:
        words = told_by(lambda: numbers(out))
        assert "two results for" in words, f"{what}: not told"
    return Told(what, words)
