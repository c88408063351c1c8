"""Add to an answer of libfuse's what pyfuse3 has no words for: that the kernel may keep a directory's listing.

The answer to OPENDIR has a flag for it (FOPEN_CACHE_DIR of linux/fuse.h), which libfuse knows and pyfuse3 does not set.
So that one answer takes a detour: before it is given, a socket takes the device's place; when it has been, the device
is put back, and the answer goes to the kernel with the flag. All of that is in one step of the event loop: the handler
returns, libfuse writes, and the task that has answered comes for its turn to wait (`request_wait`).

The kernel drops a listing when a change comes through it. What changes otherwise it has to be told
(`version_commands`), and what tells it writes to the same descriptor in a thread of its own: never during a detour,
`notifying` sees to that.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading

__all__ = ["ListingFlag"]

_OPEN_OUT = struct.Struct("=IiQQI")
"""fuse_out_header (length, error, request) and what fuse_open_out begins with: handle, flags."""
_KEEP_CACHE = 1 << 1
_CACHE_DIR = 1 << 3
_MOST_ANSWER = 4096
_NOBODY_WAITS = (errno.ENOENT, errno.ENODEV)
"""Who asked was killed; the mount is gone."""


class ListingFlag:
    """The detour of one session, whose descriptor libfuse writes to. `close` it before the session."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Of the same open file, so that it stays open while its number is another's.
        self._device = os.dup(descriptor)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_taken = False
        self.notifying = threading.Lock()

    def begin(self) -> None:
        """Have the answer that comes next take it. It must be one to OPENDIR, and come before anything is awaited."""
        if self.notifying.acquire(blocking=False):
            os.dup2(self._theirs.fileno(), self._descriptor, inheritable=False)
            self._is_taken = True

    def end(self) -> None:
        """Pass the answer on, if there is one."""
        if not self._is_taken:
            return
        self._is_taken = False
        os.dup2(self._device, self._descriptor, inheritable=False)
        self.notifying.release()
        answer = bytearray(self._ours.recv(_MOST_ANSWER))
        length, error, request, handle, flags = _OPEN_OUT.unpack_from(answer)
        _OPEN_OUT.pack_into(answer, 0, length, error, request, handle, flags | _KEEP_CACHE | _CACHE_DIR)
        try:
            os.write(self._device, answer)
        except OSError as error:
            if error.errno not in _NOBODY_WAITS:
                raise

    def close(self) -> None:
        """Let go of its descriptors."""
        self._ours.close()
        self._theirs.close()
        os.close(self._device)
