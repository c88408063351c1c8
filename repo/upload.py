"""Send objects named by their hash, several at a time, each only if it is not there yet.

The bytes in flight are bounded: `send` waits when there are too many. The first failure ends the whole: the next
`send`, or `finish`, raises it, and nothing more is started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from penstock.store.base import Store

__all__ = ["Sent", "Upload"]

_THREADS = 8
_BYTES = 256 << 20


@dataclass(slots=True)
class Sent:
    """What really went out: objects that were there already do not count."""

    objects: int = 0
    bytes: int = 0


class Upload:
    """One upload of many objects. `progress` is told the bytes of each object that is done.

    `sent[True]` counts data objects, `sent[False]` node packs.
    """

    def __init__(self, store: Store, progress: Callable[[int], None]) -> None:
        self._store = store
        self._progress = progress
        self._pool = ThreadPoolExecutor(_THREADS, "penstock-upload")
        self._changed = threading.Condition()
        self._held = 0
        self._running: set[Future[None]] = set()
        self._failure: BaseException | None = None
        self._known: set[str] = set()
        self.sent = {False: Sent(), True: Sent()}

    def send(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Start sending an object, once there is room for its bytes. Raises what an earlier one failed with."""
        with self._changed:
            while self._failure is None and self._held and self._held + len(body) > _BYTES:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            if key in self._known:
                return
            self._known.add(key)
            self._held += len(body)
            future = self._pool.submit(self._put, key, body, self.sent[data])
            self._running.add(future)
        future.add_done_callback(lambda done: self._done(done, len(body)))

    def _put(self, key: str, body: bytes | bytearray, sent: Sent) -> None:
        if self._failure is not None:
            return
        found = self._store.head(key)
        if found is None or found.size != len(body):
            self._store.put(key, body)
            with self._changed:
                sent.objects += 1
                sent.bytes += len(body)
        self._progress(len(body))

    def _done(self, future: Future[None], size: int) -> None:
        with self._changed:
            self._held -= size
            self._running.discard(future)
            error = future.exception()
            if error is not None and self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is sent. Raises what one of them failed with."""
        with self._changed:
            while self._running and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Start nothing more, and wait for what is on its way."""
        self._pool.shutdown(wait=True, cancel_futures=True)
