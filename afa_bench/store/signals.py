"""Signals that end a process, put off while something is done that must be whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Put off SIGINT, SIGTERM and SIGHUP until the end of the block; a second one is not put off.

    Their exceptions would otherwise come up anywhere in the block, even between a lock's being taken and its holder's knowing.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal's exception comes up
        yield
        return
    arrived: list[int] = []
    with ExitStack() as handlers:

        def put_off(number: int, frame: object) -> None:
            arrived.append(number)
            handlers.close()

        for ending in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
            handlers.callback(signal.signal, ending, signal.getsignal(ending) or signal.SIG_DFL)
            signal.signal(ending, put_off)
        yield
    for number in arrived:
        signal.raise_signal(number)
