"""Processes that decode what users sent, some at a time, each with a deadline.

Decoders meet whatever is in a bucket: what hangs is killed, what needs more than its memory fails alone, and the server
goes on. A process is started when it is first needed, and replaced after some hundred tasks, or when it died.

**Invariants:** a process has one task at a time. One that was late or failed is never used again. Any thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from .decoding_process import read_frame, write_frame

__all__ = ["MOST_SENT", "DecodingPool"]

MOST_SENT = 96 << 20
"""Bytes of a file that is decoded."""
_MEMORY = 2 << 30
_MOST_ANSWERED = 32 << 20
"""Bytes that a process answers; what is more was not made by it as it should be."""
_MOST_FETCHED = 512 << 20
"""Bytes that are fetched for one task."""
_SECONDS = 15.0
_TASKS = 300
Fetch = Callable[[int, int], bytes]
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV", "PYTHONPATH")


class _Decoder:
    """One process."""

    def __init__(self, memory: int) -> None:
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.catalogue.page.content.decoding_process", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
            close_fds=True,
        )
        self.tasks = 0

    def ask(
        self, head: dict[str, Any], body: bytes, seconds: float, fetch: Fetch | None
    ) -> tuple[dict[str, Any], bytes] | None:
        """Return the answer; None: there was none in time, and the process is no more."""
        self.tasks += 1
        late = threading.Timer(seconds, self._process.kill)
        late.daemon = True
        late.start()
        left = _MOST_FETCHED
        try:
            write_frame(_of(self._process.stdin), head, body)
            while True:
                answer = read_frame(_of(self._process.stdout), _MOST_ANSWERED)
                wanted = answer[0].get("wanted") if answer is not None else None
                if wanted is None or fetch is None:
                    return answer
                offset, length = (int(each) for each in wanted)
                if offset < 0 or not 0 <= length <= MOST_SENT:
                    return None
                part = fetch(offset, min(length, left)) if left > 0 else b""
                left -= len(part)
                write_frame(_of(self._process.stdin), {}, part)
        except (BrokenPipeError, ValueError):
            return None
        finally:
            late.cancel()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                _of(stream).close()
            except BrokenPipeError:  # what was not sent is of no use now
                continue
        self._process.wait()


def _of(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    return stream


class DecodingPool:
    """At most `count` processes, each with so many bytes of memory; closed with `close`."""

    def __init__(self, count: int = 2, seconds: float = _SECONDS, memory: int = _MEMORY) -> None:
        self._memory = memory
        self._seconds = seconds
        self._count = count
        self._places = threading.BoundedSemaphore(count)
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._is_closed = False

    def start(self) -> None:
        """Start the processes now, for whoever comes first."""
        decoders = [_Decoder(self._memory) for _ in range(self._count)]
        with self._lock:
            if not self._is_closed:
                self._idle += decoders
                return
        for decoder in decoders:
            decoder.end()

    @contextmanager
    def _decoder(self) -> Iterator[_Decoder]:
        with self._places:
            with self._lock:
                decoder = self._idle.pop() if self._idle else None
            decoder = decoder or _Decoder(self._memory)
            is_good = False
            try:
                yield decoder
                is_good = decoder.tasks < _TASKS
            finally:
                with self._lock:
                    is_kept = is_good and not self._is_closed
                    if is_kept:
                        self._idle.append(decoder)
                if not is_kept:
                    decoder.end()

    def ask(
        self, head: dict[str, Any], body: bytes | Callable[[], bytes] = b"", fetch: Fetch | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Have something decoded. The answer's head has a ``note`` where it could not be.

        Where `body` is called for its bytes, that is done once a process is free: no more of them are held than those.
        `fetch` gives bytes by offset and length to a task that asks for them; what it raises ends the task.
        """
        with self._decoder() as decoder:
            answer = decoder.ask(head, body() if callable(body) else body, self._seconds, fetch)
            if answer is None:
                decoder.tasks = _TASKS
                return {"note": "decoding it took too long, or broke its process", "is_late": True}, b""
            return answer

    def close(self) -> None:
        """End the processes that have nothing to do, and the others when they are done."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.end()
