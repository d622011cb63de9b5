"""Shards on a Ray cluster: actors pull from the driver, one actor a GPU, or one a CPU where there is no GPU.

The driver alone holds the claims and decides what is next; an actor makes a shard's images and writes them to the results folder,
which all machines share. Nothing but numbers goes through Ray. An actor that dies is never restarted in place: a new one is
started, and its shard goes back to the queue.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from afa_bench.cells import Cell, Plan
from afa_bench.errors import UserError
from afa_bench.workspace import OpenShard

ATTEMPTS = 3
"""How often a shard is begun before it is left to the next run."""

REACHED = 5.0
"""Seconds in which a cluster's address has to answer."""


@dataclass
class RayEngine:
    """An engine on Ray Core (extra ``ray``).

    Attributes:
        workers: number of actors; None: one a GPU of the cluster, or one a CPU.
        address: of a running cluster (``auto``, ``ray://host:10001``); None: this machine alone.
    """

    workers: int | None = None
    address: str | None = None

    def __call__(
        self, plan: Plan, work: Sequence[OpenShard], device: str, batch_size: int, advance: Callable[[Cell, int], None]
    ) -> int:
        """Make all shards that no other process is at; see :func:`afa_bench.generation.inline.run_shards`."""
        with _cluster(self.address) as ray:
            resources = ray.cluster_resources()
            gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
            needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
            count = min(self.workers or gpus or cpus, len(work))
            actor = ray.remote(max_restarts=0, **needs)(_Worker)
            shared = ray.put((plan, work))
            start = lambda: actor.remote(shared, "cuda" if gpus else device, batch_size)  # noqa: E731
            return _Driver(ray, work, advance, start).run(count)


class _Worker:
    """The actor: one generator, which keeps the group and the denoiser of the last shard."""

    def __init__(self, shared: tuple[Plan, Sequence[OpenShard]], device: str, batch_size: int) -> None:
        import torch

        from afa_bench.generation.generator import Generator

        if device == "cpu":
            torch.set_num_threads(1)
        plan, self.work = shared
        self.generator = Generator(plan, device, batch_size)

    def ready(self) -> None:
        """Answer once the actor stands."""

    def run(self, place: int) -> None:
        """Make the shard at a place of the work."""
        shard = self.work[place]
        shard.files.write_shard(
            shard.number, self.generator.run_shard(shard.cell, shard.samples, shard.files, lambda count: None)
        )


@dataclass
class _Driver:
    """Hands out shards, by their places in the work, until none is left."""

    ray: Any
    work: Sequence[OpenShard]
    advance: Callable[[Cell, int], None]
    start: Callable[[], Any]
    made: int = 0
    deaths_at_start: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    given_up: list[int] = field(default_factory=list)
    claims: dict[int, ExitStack] = field(default_factory=dict)
    queues: dict[str, deque[int]] = field(default_factory=dict)

    def run(self, count: int) -> int:
        for number, shard in enumerate(self.work):
            self.queues.setdefault(shard.cell.name, deque()).append(number)
        busy: dict[Any, tuple[Any, int | None]] = {}
        for _ in range(count):
            worker = self.start()
            busy[worker.ready.remote()] = (worker, None)
        try:
            while any(self.queues.values()) or self.claims:
                (done,), _ = self.ray.wait(list(busy), num_returns=1)
                worker, place = busy.pop(done)
                if not self._finished(done, place):
                    if any(self.queues.values()):
                        worker = self.start()
                        busy[worker.ready.remote()] = (worker, None)
                    continue
                following = self._next(place)
                if following is not None:
                    busy[worker.run.remote(following)] = (worker, following)
        finally:
            for stack in self.claims.values():
                stack.close()
        if self.given_up:
            shard, others = self.work[self.given_up[0]], f" and at {len(self.given_up) - 1} others" if self.given_up[1:] else ""
            raise UserError(
                f"--engine ray: {ATTEMPTS} workers died at shard {shard.number} of {shard.cell.title}{others}, which stay open: "
                "all else is made; run the same command again once the machine is put right"
            )
        return self.made

    def _finished(self, done: Any, place: int | None) -> bool:
        """Take a worker's answer. False: the worker has died."""
        try:
            self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError:  # the process, its node, or the way to it is gone
            if place is None:
                self.deaths_at_start += 1
                if self.deaths_at_start > ATTEMPTS * len(self.queues):
                    raise UserError("--engine ray: workers die before they can begin") from None
                return False
            self.claims.pop(place).close()
            if self.attempts[place] < ATTEMPTS:
                self.queues[self.work[place].cell.name].appendleft(place)
            else:
                self.given_up.append(place)
            return False
        if place is not None:
            self._count(self.work[place])
            self.claims.pop(place).close()
        return True

    def _next(self, last: int | None) -> int | None:
        """A shard that is nobody else's: of the cell that the worker has in memory, else of the first cell with any left."""
        names = [] if last is None else [self.work[last].cell.name]
        for name in (*names, *self.queues):
            while self.queues[name]:
                place = self.queues[name].popleft()
                stack = ExitStack()
                if stack.enter_context(self.work[place].claim()):
                    self.claims[place] = stack
                    self.attempts[place] += 1
                    return place
                stack.close()
        return None

    def _count(self, shard: OpenShard) -> None:
        samples = len(shard.samples)
        self.made += samples
        self.advance(shard.cell, samples)


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """A connection to a cluster, or one of this machine's own for as long as the block lasts.

    Raises:
        UserError: the extra is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: Ray is not installed; pip install 'afa-bench[ray]'") from None
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        if not (address or os.environ.get("RAY_ADDRESS") or os.access(os.path.expanduser("~"), os.W_OK)):
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())  # of the new cluster; Ray would write one there
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{_named(address)}: {reason}") from error
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, terminate)  # Ray has put its own there
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Open and close a connection to a cluster's address; Ray itself would try for minutes.

    Raises:
        OSError: nothing listens there, or nothing was found where ``auto`` is to find it.
        ValueError: it is no address.
    """
    from ray._private.services import canonicalize_bootstrap_address  # what ray.init begins with

    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    protocol, url, rest = (address or "").partition("://")
    if url and protocol != "ray":
        return  # Ray loads a module of this name
    find: Any = canonicalize_bootstrap_address
    place = rest if url else find(address)
    if place is None:
        return  # a cluster of this machine's own is started
    parts = urlsplit(f"//{place}")
    if not parts.hostname or not parts.port:
        raise ValueError("expected auto, HOST:PORT or ray://HOST:PORT")
    socket.create_connection((parts.hostname, parts.port), REACHED).close()


def _named(address: str | None) -> str:
    """What is wrong where, for an error's words."""
    if address in (None, "auto") and (variable := os.environ.get("RAY_ADDRESS")):
        return f"RAY_ADDRESS: {variable}: no Ray cluster there"
    return f"--address: {address}: no Ray cluster there" if address else "--engine ray: Ray does not start on this machine"
