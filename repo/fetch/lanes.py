"""Calls that may never come back, each place in a lane of its own: whoever waits is answered by a deadline.

A thread that reads from a dead file server cannot be ended. It is left behind, keeps its slot in the lane until the
kernel lets it go, and holds up nobody but readers of the same place. Blocking, thread-safe.

**Invariant:** `call` returns or raises within its seconds, whatever is called, and however many call.
**Invariant:** a call whose seconds are over, or that nobody waits for any more, is not begun.

Threads are daemons, so that the end of the process waits for none of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from penstock.errors import StoreUnreachableError

__all__ = ["Lane", "Lanes"]

_T = TypeVar("_T")

_IDLE = 10.0
"""Seconds after which a thread without work ends."""
_BEFORE = "the reads before this one have had no answer"
_PROBE = 5.0
"""Seconds between calls that are let through to a place that does not answer, to see whether it does again."""


class _Task(NamedTuple):
    call: Callable[[], Any]
    future: Future[Any]
    end: float


class Lane:
    """Calls to one place, `most` of them at once."""

    def __init__(self, place: str, most: int = 32) -> None:
        self._place = place
        self._most = most
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Task] = SimpleQueue()
        self._running: dict[int, _Task] = {}
        self._unfinished = 0
        self._threads = 0
        self._answered = 0.0
        self._probed = 0.0

    def call(self, seconds: float, call: Callable[[], _T]) -> _T:
        """Return what the call returns; raises what it raises. StoreUnreachableError: it has not ended in time."""
        future = self.start(seconds, call)
        try:
            return future.result(seconds)
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # it is what the call itself met
            if future.cancel():
                raise self._unreachable(_BEFORE) from None
            raise self._unreachable(f"there was no answer for {seconds:.0f} s") from None

    def start(self, seconds: float, call: Callable[[], _T]) -> Future[_T]:
        """Have it called, without waiting; whoever waits sees to the seconds. StoreUnreachableError: it need not be."""
        now = time.monotonic()
        future: Future[_T] = Future()
        with self._lock:
            self._refuse_while_stuck(now, seconds)
            self._unfinished += 1
            if self._unfinished > self._threads and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="penstock-outside", daemon=True).start()
            self._queue.put(_Task(call, future, now + seconds))
        return future

    def _refuse_while_stuck(self, now: float, seconds: float) -> None:
        """Have nobody wait a whole deadline to learn what others have learned; but look again now and then."""
        overdue = [task.end for task in self._running.values() if task.end < now]
        if not overdue or self._answered > max(overdue):
            return
        if now - self._probed < _PROBE:
            raise self._unreachable(f"{len(overdue)} reads have had no answer for {seconds:.0f} s or more")
        self._probed = now

    def _unreachable(self, why: str) -> StoreUnreachableError:
        return StoreUnreachableError(f"{self._place} does not answer", why=why, fix="See whether it can be reached.")

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            try:
                task = self._queue.get(timeout=_IDLE)
            except Empty:
                with self._lock:
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            answered = False
            if not task.future.set_running_or_notify_cancel():
                pass
            elif task.end < time.monotonic():
                task.future.set_exception(self._unreachable(_BEFORE))
            else:
                with self._lock:
                    self._running[me] = task
                try:
                    task.future.set_result(task.call())
                    answered = True
                except BaseException as error:  # noqa: BLE001  # whatever it is belongs to who waits, as in an executor
                    task.future.set_exception(error)
            with self._lock:
                self._running.pop(me, None)
                self._unfinished -= 1
                if answered:
                    self._answered = time.monotonic()


class Lanes:
    """A lane for each place, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}

    def lane(self, place: str) -> Lane:
        """Return the lane of a place."""
        with self._lock:
            lane = self._lanes.get(place)
            if lane is None:
                lane = self._lanes[place] = Lane(place)
        return lane
