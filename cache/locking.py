"""Files held by flock(2): the kernel lets go when the last holder dies, however it dies.

A forked child inherits the open file and would keep the parent's lock after the parent's death, so the child closes
its copies at once (closing a copy does not unlock it for the parent). Hence the register of descriptors here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress

__all__ = ["LockedFile", "MomentaryLock"]

_POLL_SECONDS = 0.005
_FIRST_POLL_SECONDS = 0.00005
_READ_WAIT_SECONDS = 2.0
_WRITE_WAIT_SECONDS = 10.0

_held: set[int] = set()


def _close_inherited() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)


class LockedFile:
    """An open file with a lock on it, until `close` or the end of the process. Not inherited by children."""

    __slots__ = ("_pid", "descriptor")

    def __init__(self, path: str, *, exclusive: bool, wait_seconds: float = 0.0, create: bool = True) -> None:
        """Open and lock; BlockingIOError when others hold it for longer than `wait_seconds`."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._pid = os.getpid()
        self.descriptor = os.open(path, flags, 0o600)
        _held.add(self.descriptor)
        deadline = time.monotonic() + wait_seconds
        while not self._try(fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
            if time.monotonic() >= deadline:
                self.close()
                raise BlockingIOError(errno.EAGAIN, f"another process holds {os.path.basename(path)}")
            time.sleep(_POLL_SECONDS)

    def upgrade(self) -> bool:
        """Turn a shared lock into an exclusive one if nobody else shares it; otherwise it may be lost."""
        return self._try(fcntl.LOCK_EX)

    def downgrade(self) -> None:
        """Turn an exclusive lock into a shared one."""
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Unlock and close; nothing in a process that inherited this object."""
        if self.descriptor >= 0 and self._pid == os.getpid():
            _held.discard(self.descriptor)
            # A child forked a moment ago may still have its copy open: unlock for all copies.
            with suppress(OSError):  # on a disk without locks
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
        self.descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            self.close()

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self.descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise OSError(error.errno, f"files cannot be locked on this disk: {error.strerror}") from error
        return True


class MomentaryLock:
    """A lock on a file, shared by readers and alone for a writer, that each holds for a moment. Not inherited.

    Not thread-safe: its threads take turns. Whoever waits gives up in the end, since a holder may be stopped.
    """

    __slots__ = ("_descriptor", "_name")

    def __init__(self, path: str) -> None:
        """Open the file, made if need be, without locking it."""
        self._name = os.path.basename(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _held.add(self._descriptor)

    def shared(self) -> None:
        """Lock it among readers. BlockingIOError when a writer keeps it for two seconds."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(fcntl.LOCK_SH, _READ_WAIT_SECONDS)

    def alone(self) -> None:
        """Lock it for one writer. BlockingIOError when others keep it for ten seconds."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(fcntl.LOCK_EX, _WRITE_WAIT_SECONDS)

    def release(self) -> None:
        """Unlock it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def size(self) -> int:
        """Return the bytes of the file."""
        # Nobody else moves this descriptor; it is half the price of fstat(2).
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def close(self) -> None:
        """Unlock and close it; who locks it afterwards gets an OSError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.discard(descriptor)
            os.close(descriptor)

    def forget(self) -> None:
        """Take note, in a child, that `_close_inherited` has closed it."""
        self._descriptor = -1

    def _wait(self, operation: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        pause = _FIRST_POLL_SECONDS
        while True:
            time.sleep(pause)
            try:
                fcntl.flock(self._descriptor, operation | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise BlockingIOError(
                        errno.EAGAIN, f"another process holds the {self._name} of the index"
                    ) from error
                pause = min(2 * pause, _POLL_SECONDS)
            else:
                return
