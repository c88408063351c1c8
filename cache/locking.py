"""Files held by flock(2): the kernel lets go when the last holder dies, however it dies.

A forked child inherits the open file and would keep the parent's lock after the parent's death, so the child closes
its copies at once (closing a copy does not unlock it for the parent). Hence the register of descriptors here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

__all__ = ["LockedFile"]

_POLL_SECONDS = 0.005

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
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
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
        return True
