"""Blocking calls in this process, asked a second time when they are late; the first good answer wins. Thread-safe.

What loses goes on in a thread of its own until the store's deadline ends it, and nobody waits for it, nor does the end
of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from .hedge_policy import HedgePolicy, better
from .request_counts import RequestCounts

__all__ = ["HedgedCalls"]

_T = TypeVar("_T")


class HedgedCalls:
    """Makes calls that are safe to make twice."""

    def __init__(self, counters: RequestCounts) -> None:
        self._counters = counters
        self._hedging = HedgePolicy()

    def call(self, length: int, call: Callable[[], _T]) -> _T:
        """Return what the call returns, which brings `length` bytes and has a deadline of its own; raises what it does.

        It is made in another thread: in this one it could not be left alone. That costs 0.1 ms.
        """
        begun = time.monotonic()
        self._hedging.asked()
        taken = first = _start(call)
        wait((first,), self._hedging.delay(length))
        if not first.done() and self._hedging.allow():
            self._counters.add(hedges=1)
            taken = better(first, _start(call), None)
        found = taken.result()
        self._hedging.answered(length, time.monotonic() - begun)
        return found


def _start(call: Callable[[], _T]) -> Future[_T]:
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to who waits, as in an executor
            future.set_exception(error)

    threading.Thread(target=run, name="penstock-race", daemon=True).start()
    return future
