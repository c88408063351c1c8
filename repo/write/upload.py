"""Send objects named by their hash, several at a time, each only if it is not there yet.

The bytes in flight are bounded: `send` waits when there are too many. The first failure ends the whole: the next
`send`, or `finish`, raises it, and nothing more is started.

**Invariant:** a put that hangs holds up nobody for longer than a moment once the upload has failed or was
interrupted. Its thread ends with the deadline of its call, and does not keep the process from ending: what it was
writing is named by its hash, whole or not there.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from penstock.progress import Stage
from penstock.repo.fetch.memory import shares
from penstock.store.base import Store

__all__ = ["Sent", "Upload"]

_THREADS = 8
_LAST_MOMENT = 2.0
"""Seconds that `close` gives to what is on its way."""


@dataclass(slots=True)
class Sent:
    """What really went out: objects that were there already do not count."""

    objects: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    key: str
    body: bytes | bytearray
    data: bool


class Upload:
    """One upload of many objects. `stage` is told the bytes of each object that is done. `most`: bytes in flight.

    `sent[True]` counts data objects, `sent[False]` node packs. `send`, `finish` and `close` belong to one thread.
    """

    def __init__(self, store: Store, stage: Stage, most: int | None = None) -> None:
        self._store = store
        self._stage = stage
        self._most = shares().sending if most is None else most
        self._changed = threading.Condition()  # guards what follows
        self._tasks: deque[_Task] = deque()
        self._threads = 0
        self._running = 0
        self._held = 0
        self._failure: BaseException | None = None
        self._closed = False
        self._known: set[str] = set()
        self.sent = {False: Sent(), True: Sent()}

    def send(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Start sending an object, once there is room for its bytes. Raises what an earlier one failed with."""
        if key in self._known:
            return
        with self._changed:
            while self._failure is None and self._held and self._held + len(body) > self._most:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            self._known.add(key)
            self._held += len(body)
            self._tasks.append(_Task(key, body, data))
            if self._threads < min(_THREADS, self._running + len(self._tasks)):
                self._threads += 1
                # Daemons: the interpreter does not wait for them when it ends.
                threading.Thread(target=self._work, name=f"penstock-upload-{self._threads}", daemon=True).start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._tasks and not self._closed and self._failure is None:
                    self._changed.wait()
                if self._closed or self._failure is not None:
                    return
                task = self._tasks.popleft()
                self._running += 1
            failure: BaseException | None = None
            uploaded = False
            try:
                uploaded = self._put(task)
                if not self._closed:
                    self._stage.advance(len(task.body))
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread that calls send or finish
                failure = error
            with self._changed:
                self._running -= 1
                self._held -= len(task.body)
                self._failure = self._failure or failure
                if uploaded:
                    self.sent[task.data].objects += 1
                    self.sent[task.data].bytes += len(task.body)
                self._changed.notify_all()

    def _put(self, task: _Task) -> bool:
        """Put an object where it is not there yet; whether it was not."""
        found = self._store.head(task.key)
        if found is not None and found.size == len(task.body):
            return False
        self._store.put(task.key, task.body)
        return True

    def finish(self) -> None:
        """Wait until everything is sent. Raises what one of them failed with."""
        with self._changed:
            while self._failure is None and (self._tasks or self._running):
                self._changed.wait()
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Start nothing more, and wait a moment for what is on its way."""
        with self._changed:
            self._closed = True
            self._tasks.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, _LAST_MOMENT)
