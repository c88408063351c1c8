"""One command of a stage, run: by the shell, in a process group of its own, its output told line by line.

A group of its own, so that Ctrl-C reaches it through `stop` alone, in an order that lets it end well: SIGINT, SIGTERM,
SIGKILL, some seconds apart. What a command leaves running in its group is ended when it has ended, because it could
still write to what the stage made. The leader is waited for without being reaped until then: its number is nobody
else's.

`run` is called in any thread; `stop` from another one.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, NamedTuple

from penstock.errors import AccessError, NotFoundError

__all__ = ["Ended", "StageCommand"]

_LINE = 64 << 10
"""Bytes of a line that are told at once; a longer one is told in pieces."""
_PATIENCE = (5.0, 5.0)
"""Seconds that a command has after SIGINT, and after SIGTERM."""
_GLANCE = 0.5
"""Seconds after which a running command looks whether it was told to end."""
_LINGER = 0.5
"""Seconds after the end of a command in which what it left behind may end by itself."""


class Ended(NamedTuple):
    """How a command ended: its exit code, negative for a signal; whether processes that it left had to be ended."""

    code: int
    left_processes: bool


class StageCommand:
    """A command that is about to run, runs, or has run."""

    def __init__(
        self,
        text: str,
        directory: str,
        environment: Mapping[str, str],
        tell: Callable[[str], None],
        *,
        patience: tuple[float, float] = _PATIENCE,
    ) -> None:
        self._text = text
        self._directory = directory
        self._environment = environment
        self._tell = tell
        self._patience = patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: float | None = None
        """When `stop` was called first."""
        self._ended = False

    def run(self) -> Ended:
        """Run it to its end. NotFoundError, AccessError: it cannot even be begun."""
        with self._lock:
            if self._stopped is not None:
                return Ended(-signal.SIGINT, left_processes=False)
            try:
                self._process = process = subprocess.Popen(
                    ["/bin/sh", "-c", self._text],
                    cwd=self._directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            except FileNotFoundError as error:
                raise NotFoundError(f"{error.filename!r} is not there", why="the command runs in it") from error
            except OSError as error:
                raise AccessError("the command cannot be begun", why=error.strerror or str(error)) from error
        assert process.stdout is not None
        with process.stdout as output:
            left = self._follow(process, output)
        code = process.wait()
        return Ended(code, left)

    def _follow(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> bool:
        """Tell what it writes until it has ended and nobody writes any more; whether others had to be ended."""
        lines = _Lines(self._tell)
        ended_at: float | None = None
        left = False
        signals = 0
        os.set_blocking(output.fileno(), False)
        with _exit_descriptor(process.pid) as exited, selectors.DefaultSelector() as waiting:
            waiting.register(output, selectors.EVENT_READ)
            waiting.register(exited, selectors.EVENT_READ)
            is_open = True
            while is_open or ended_at is None:
                for key, _ in waiting.select(self._due(ended_at)):
                    if key.fileobj is output:
                        data = output.read(_LINE)
                        if data:
                            lines.take(data)
                        elif data is not None:
                            waiting.unregister(output)
                            is_open = False
                    else:
                        waiting.unregister(exited)
                        ended_at = time.monotonic()
                now = time.monotonic()
                if ended_at is None:
                    self._hasten(process.pid, now)
                elif is_open and now - ended_at > _LINGER * (1 + 4 * signals):
                    left = True
                    if signals > 1:
                        break  # it holds the pipe from outside of the group: what it writes is heard no more
                    _signal(process.pid, (signal.SIGTERM, signal.SIGKILL)[signals])
                    signals += 1
        with self._lock:
            self._ended = True
        # Also those that write somewhere else. The leader is not reaped yet, so the group is still this command's.
        _signal(process.pid, signal.SIGKILL)
        lines.finish()
        return left

    def _due(self, ended_at: float | None) -> float:
        """Return how long nothing has to be done but to listen; `stop` wakes nobody."""
        if ended_at is not None:
            return 0.1
        return 0.1 if self._stopped is not None else _GLANCE

    def _hasten(self, group: int, now: float) -> None:
        """Signal it again when it has not ended in its time."""
        if self._stopped is None:
            return
        first, second = self._patience
        since = now - self._stopped
        if since > first + second:
            _signal(group, signal.SIGKILL)
        elif since > first:
            _signal(group, signal.SIGTERM)

    def stop(self) -> None:
        """Have it end: asked by SIGINT first. A second call leaves it no more time."""
        with self._lock:
            again, process = self._stopped is not None, self._process
            self._stopped = time.monotonic() if not again else -sum(self._patience) - 1
            if process is not None and not self._ended:
                _signal(process.pid, signal.SIGKILL if again else signal.SIGINT)


class _Lines:
    """Cuts what comes in pieces into lines: what ends with CR alone, as progress does, is one too."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._say(line)
        while len(self._rest) > _LINE:
            self._say(self._rest[:_LINE])
            self._rest = self._rest[_LINE:]

    def _say(self, line: bytes) -> None:
        self._tell(line.decode("utf-8", "replace"))

    def finish(self) -> None:
        if self._rest:
            self._say(self._rest)


class _exit_descriptor:  # noqa: N801  # a context manager, used as a function
    """A descriptor that can be read once a process has ended; it stays a zombie until it is waited for."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone; or of another user, by setuid: it ends by itself or not
        os.killpg(group, number)
