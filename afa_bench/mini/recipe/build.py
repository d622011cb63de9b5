"""Builds the zoo: the stages in their order, each in a process of its own, as many at a time as there are jobs.

A build that was killed goes on where it was: finished stages are skipped, a stage that was running continues from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.mini.recipe.settings import GROUPS, ROUTERS, VERSION, ZooRecipe
from afa_bench.store.atomic import write_bytes
from afa_bench.store.signals import signals_deferred

# One thread a process and no giving back of memory to the system between steps: what was fastest on CPUs.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}

OnProgress = Callable[[str, int, int, float], None]  # stage, step, steps, loss


@dataclass(frozen=True)
class BuildStep:
    """A stage of the build: the function of :mod:`stages` or :mod:`measure` it calls, and what must be finished before."""

    function: str
    needs: tuple[str, ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    processes: int = 1


def plan(recipe: ZooRecipe) -> dict[str, BuildStep]:
    """All stages by name, in an order in which they can run."""
    steps = {
        "data": BuildStep("data"),
        "vae": BuildStep("vae", ("data",)),
        "clip": BuildStep("clip", ("data",)),
        "evaluator": BuildStep("evaluator", ("data",)),
        "base": BuildStep("base", ("vae", "clip"), processes=recipe.base_processes),
    }
    number = 0
    for group, names in GROUPS.items():
        for name in names:
            arguments = (("own", name), ("folder", f"{group}/{name}"), ("number", number))
            steps[f"{group}-{name}"] = BuildStep("expert", ("base",), arguments)
            number += 1
    steps["generalist"] = BuildStep("expert", ("base",), (("own", None), ("folder", "generalist"), ("number", number)))
    for group, names in GROUPS.items():
        steps[f"{group}-sabw"] = BuildStep("sabw", tuple(f"{group}-{name}" for name in names), (("group", group),))
    for group, names in GROUPS.items():
        for method in ROUTERS:
            experts = tuple(f"{group}-{name}" for name in names)
            steps[f"{group}-{method}"] = BuildStep("router", experts, (("group", group), ("method", method)))
    for group in GROUPS:
        steps[f"{group}-measure"] = BuildStep("measure", (f"{group}-sabw", "generalist"), (("group", group),))
        routed = (f"{group}-sabw", *(f"{group}-{method}" for method in ROUTERS))
        steps[f"{group}-routing"] = BuildStep("routing", routed, (("group", group),))
        steps[f"{group}-maps"] = BuildStep("map_focus", (f"{group}-sabw",), (("group", group),))
    return steps


def build(root: Path, recipe: ZooRecipe, only: Sequence[str] = (), jobs: int = 2, progress: OnProgress | None = None) -> None:
    """Build the zoo in ``root``, or only the named stages; what is finished is skipped.

    Raises:
        UserError: an unknown stage, a folder that holds another recipe's zoo, or a stage that failed.
    """
    steps = plan(recipe)
    for name in only:
        if name not in steps:
            raise UserError(f"stage: {name}: expected one of {', '.join(steps)}")
    work = root / ".work"
    work.mkdir(parents=True, exist_ok=True)
    _claim(work / "recipe.json", recipe)
    wanted = [name for name in steps if not only or name in only]
    _run({name: steps[name] for name in wanted}, root, recipe, jobs, progress)
    if all((work / f"{name}.json").exists() for name in steps):
        finish(root, recipe)


def finish(root: Path, recipe: ZooRecipe) -> None:
    """Write ``zoo.json``: the recipe, every stage's facts, the sha256 of every file."""
    work = root / ".work"
    files = sorted(file for file in root.rglob("*") if file.is_file() and ".work" not in file.parts and file.name != "zoo.json")
    facts = {
        "version": VERSION,
        "seed": recipe.seed,
        "recipe": asdict(recipe),
        "parts": {name: json.loads((work / f"{name}.json").read_text()) for name in plan(recipe)},
        "sha256": {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }
    (root / "zoo.json").write_text(json.dumps(facts, indent=1) + "\n")


def _claim(file: Path, recipe: ZooRecipe) -> None:
    text = json.dumps({"version": VERSION, **asdict(recipe)}, indent=1)
    if file.exists() and file.read_text() != text:
        raise UserError(f"{file.parent.parent}: holds a zoo of another recipe; expected the same one, or an empty folder")
    file.write_text(text)


def _run(steps: dict[str, BuildStep], root: Path, recipe: ZooRecipe, jobs: int, progress: OnProgress | None) -> None:
    os.environ.update(ENVIRONMENT)
    context = _context()
    messages: Any = context.Queue()
    done = {name for name in plan(recipe) if (root / ".work" / f"{name}.json").exists()}
    waiting = {name: step for name, step in steps.items() if name not in done}
    running: dict[str, list[BaseProcess]] = {}
    try:
        while waiting or running:
            free = jobs - sum(map(len, running.values()))
            for name, step in list(waiting.items()):
                lost = [need for need in step.needs if need not in done and need not in waiting and need not in running]
                if lost:
                    raise UserError(f"stage: {name}: expected {', '.join(lost)} to be finished before")
                if all(need in done for need in step.needs) and (free >= step.processes or not running):
                    running[name] = [
                        context.Process(target=_work, args=(name, step, root, recipe, rank, messages), daemon=True)
                        for rank in range(step.processes)
                    ]
                    (root / ".work" / f"{name}.meeting").unlink(missing_ok=True)
                    for process in running[name]:
                        _start(process)
                    free -= step.processes
                    del waiting[name]
            time.sleep(0.1)
            while not messages.empty():
                message = messages.get()
                if progress:
                    progress(*message)
            for name, processes in list(running.items()):
                if any(process.exitcode not in (None, 0) for process in processes):
                    raise UserError(f"stage: {name}: failed; its traceback stands above")
                if all(process.exitcode == 0 for process in processes):
                    done.add(name)
                    del running[name]
    finally:
        started = [process for processes in running.values() for process in processes if process.pid is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def _start(process: BaseProcess) -> None:
    """Start a process which does not hear of a terminal's Ctrl-C: the build does, and ends it."""
    with signals_deferred():  # of whichever thread: a process that is half started cannot be ended
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> Any:
    """How processes start: from one that has imported everything, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["afa_bench.mini.recipe.measure", "afa_bench.mini.recipe.stages"])
    return context


def _end_with_parent() -> None:
    """End this process when the build's is gone, however it ended: two builds must never write to one folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(name: str, step: BuildStep, root: Path, recipe: ZooRecipe, rank: int, messages: Any) -> None:
    """One process of one stage."""
    import torch

    from afa_bench.mini.recipe import measure, stages

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if step.processes > 1:
        meeting = f"file://{(root / '.work' / f'{name}.meeting').resolve()}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=step.processes)
    workspace = stages.Workspace(root, recipe)
    last = 0.0

    def report(done: int, total: int, loss: float) -> None:
        nonlocal last
        if rank == 0 and (done == total or time.monotonic() - last > 0.5):
            last = time.monotonic()
            messages.put((name, done, total, loss))

    function = getattr(stages, step.function, None) or getattr(measure, step.function)
    facts = partial(function, **dict(step.arguments))(workspace, report)
    if rank == 0:
        facts |= {"device": "cpu", "processor": platform.machine(), "torch": torch.__version__}
        file = workspace.log_file(name)
        write_bytes(file, json.dumps(facts).encode())
        workspace.checkpoint(name).unlink(missing_ok=True)
    if step.processes > 1:
        torch.distributed.destroy_process_group()
