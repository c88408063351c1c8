"""Processes that decode pictures, some at once, each with a deadline for each picture.

What hangs is killed, what needs more than its memory fails alone, and the work goes on with another process.

**Invariant:** a process has one picture at a time, and one that was late is never used again. `ask`: any thread.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from penstock.errors import UsageError

from .picture_messages import DecodedPicture, NotMade, Task, receive, send

__all__ = ["PictureProcesses"]

_SECONDS = 30.0
_TASKS = 2000
"""After so many pictures a process is replaced: of its bounds, that on its time is one."""
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV", "PYTHONPATH", "HOME")


class _Decoder:
    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.repo.similarity.picture_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads of libraries would each reserve memory, of which there is little.
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,
        )
        self.tasks = 0

    def ask(self, task: Task, seconds: float) -> DecodedPicture | NotMade | None:
        self.tasks += 1
        late = threading.Timer(seconds, self._process.kill)
        late.daemon = True
        late.start()
        try:
            send(_of(self._process.stdin), task)
            answer: DecodedPicture | NotMade | None = receive(_of(self._process.stdout), DecodedPicture | NotMade)
            return answer
        except (BrokenPipeError, msgspec.DecodeError):
            return None
        finally:
            late.cancel()

    def end(self) -> None:
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


class PictureProcesses:
    """At most `count` processes, started when they are needed; ended by `close`.

    UsageError: Pillow or numpy is not installed.
    """

    def __init__(self, count: int = 1, *, seconds: float = _SECONDS) -> None:
        for name in ("PIL", "numpy"):
            if importlib.util.find_spec(name) is None:
                raise UsageError(
                    "pictures cannot be compared",
                    why=f"the library {'Pillow' if name == 'PIL' else name} is not installed",
                    fix="pip install 'penstock[similarity]'",
                )
        self.count = count
        self._seconds = seconds
        self._idle: queue.SimpleQueue[_Decoder | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    def ask(self, task: Task) -> DecodedPicture | NotMade:
        """Have a picture decoded, when a process is free for it."""
        decoder = self._idle.get()
        try:
            decoder = decoder or _Decoder()
            answer = decoder.ask(task, self._seconds)
            if answer is None or decoder.tasks >= _TASKS:
                decoder.end()
                decoder = None
            return answer or NotMade("decoding it took too long, or broke its process", is_final=False)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the processes, of which none is at work any more."""
        for _ in range(self.count):
            decoder = self._idle.get()
            if decoder is not None:
                decoder.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
