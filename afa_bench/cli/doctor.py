"""``afa-bench doctor``: what this machine has, and which suites can run on it."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("afa-bench", "torch", "diffusers", "transformers", "open-clip-torch", "numpy", "pyarrow", "pillow")


def doctor() -> None:
    """Show device, memory, disk, versions and caches, which suites are ready, and what is missing for the others."""
    from rich import box
    from rich.table import Table

    from afa_bench.errors import UserError
    from afa_bench.fetch.engine import free_bytes, gigabytes
    from afa_bench.needs import missing_of
    from afa_bench.paths import data_folder
    from afa_bench.suite import packaged_suites, read_suite
    from afa_bench.terminal import output, text

    console = output()
    data = data_folder()
    held = sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) if data.is_dir() else 0
    facts = {
        "device": _device(),
        "memory": f"{gigabytes(_memory())}, {os.cpu_count()} processors",
        "disk": f"{gigabytes(free_bytes(Path.cwd()))} free here, {gigabytes(free_bytes(data))} free in the data folder",
        "data": f"{data}: {gigabytes(held)}",
        "hub cache": os.environ.get("HF_HOME", "~/.cache/huggingface"),
        "tokens": ", ".join(f"{name} {'set' if os.environ.get(name) else 'not set'}" for name in ("HF_TOKEN", "CIVITAI_TOKEN")),
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }
    for name, value in facts.items():
        console.print(text((f"{name:10}", "bold"), value))
    table = Table("suite", "state", "first missing", box=box.SIMPLE)
    for name, path in packaged_suites().items():
        try:
            missing = missing_of(read_suite(path))
        except UserError as error:
            table.add_row(name, "broken", str(error))
            continue
        table.add_row(name, f"{len(missing)} files missing" if missing else "ready", missing[0] if missing else "")
    console.print(table)
    console.print("afa-bench fetch SUITE gets what is missing; afa-bench validate SUITE says what a suite will take")


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return ", ".join(f"{gpu.name} ({gpu.total_memory / 1e9:.0f} GB)" for gpu in gpus)
    return "mps" if torch.backends.mps.is_available() else "cpu: no GPU that torch can use"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
