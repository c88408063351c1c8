"""The process that serves a mount, as its supervisor sees it. Imports little: it is started before all else is."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from .link import Link, Message

__all__ = ["ServingProcess"]


class ServingProcess:
    """One process. **Invariant:** it does not outlive its supervisor (`server`)."""

    def __init__(self) -> None:
        """Start it; it waits for its `Start`."""
        self._link, theirs = Link.pair()
        self._process = subprocess.Popen(
            # -P: the working directory may be a dataset with a file called trio.py in it.
            [sys.executable, "-P", "-m", "penstock.vfs.server", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",  # or the directory that the mount was started in could not be unmounted
            start_new_session=True,  # Ctrl-C in the foreground is for the supervisor
        )
        theirs.close()
        self._ending = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

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
        code = self._process.poll()
        if code is None:
            return None
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self, grace: float) -> None:
        """Ask it to end, and after `grace` seconds make it; let go of it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._link.close()
        os.close(self._ending)
