"""Threads for blocking calls, counted, so that an end knows whether any is still at work.

A thread that waits for a store cannot be cancelled. It is left behind, and `drain` tells whether what it uses may
be closed. One `Workers` a mount; called from the event loop's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import trio

__all__ = ["Workers"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """Runs blocking calls in at most `most` threads at once."""

    def __init__(self, most: int = 64, outside: int = 256) -> None:
        self._limiter = trio.CapacityLimiter(most)
        # As many as there are requests at once: each may wait a whole deadline for a place that is not the store.
        self._outside = trio.CapacityLimiter(outside)
        self._idle = threading.Condition()
        self._busy = 0

    async def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what the call returns. When the waiting task is cancelled, the call goes on unheard."""
        return await self._run(self._limiter, lambda: call(*args, **kwargs))

    async def run_outside(self, call: Callable[[], _T]) -> _T:
        """Do the same in threads of their own, for what may wait for something else than the data set's store."""
        return await self._run(self._outside, call)

    async def _run(self, limiter: trio.CapacityLimiter, call: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(lambda: self._counted(call), limiter=limiter, abandon_on_cancel=True)

    def _counted(self, call: Callable[[], _T]) -> _T:
        with self._idle:
            self._busy += 1
        try:
            return call()
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the calls under way; True when none is left. Blocking."""
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, timeout)
