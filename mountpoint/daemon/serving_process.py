"""The process that serves a mount, as its supervisor sees it."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

from .supervisor_link import Link, Message

__all__ = ["ServingProcess"]

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})


class ServingProcess:
    """A child that `spawn` has started. **Invariant:** it does not outlive its supervisor (`server`)."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self._link = Link(end)
        self._ending = os.pidfd_open(pid)
        self._code: int | None = None

    def descriptors(self) -> tuple[int, int]:
        """Return what is readable when it has sent something, and when it has ended."""
        return self._link.fileno(), self._ending

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send it a message; one that is dead already is seen to end."""
        with suppress(OSError):
            self._link.send(message, descriptor)

    def received(self) -> Iterator[tuple[Message, int | None]]:
        """Yield what it has sent so far, without waiting for more."""
        poll = select.poll()
        poll.register(self._link.fileno(), select.POLLIN)
        while poll.poll(0) and (found := self._link.receive()) is not None:
            yield found

    def status(self) -> str | None:
        """Say how it ended; None while it lives."""
        if self._code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done == 0:
                return None
            self._code = os.waitstatus_to_exitcode(status)
        return f"signal {signal.Signals(-self._code).name}" if self._code < 0 else f"exit code {self._code}"

    def at_fault(self) -> bool:
        """Whether it ended by itself, through an error or a crash, and was not killed."""
        return self._code is not None and (self._code > 0 or -self._code in _CRASHES)

    def end(self, grace: float) -> None:
        """Ask it to end, and after `grace` seconds make it; let go of it."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
            if self.status() is None:
                signal.pidfd_send_signal(self._ending, number)
                select.select([self._ending], [], [], patience)
        self.status()
        self._link.close()
        os.close(self._ending)
