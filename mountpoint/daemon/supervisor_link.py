"""What a supervisor and the process that serves its mount tell each other, and the socket between them.

One message a packet (`penstock.wire`), some with a descriptor. Both ends are of the same installation.

    supervisor                      serving process
        ── Start [session] ────────────▶   mount and serve; with a session: serve that one on
        ◀── Mounted [session] ──────────   the first process only: what a later one needs to take over
        ◀── Serving ────────────────────   files can be read
        ◀── Moved ──────────────────────   a writable mount is at another version now
        ◀── Failed ─────────────────────   it cannot go on, and why; it ends
"""

from __future__ import annotations

import os
import socket

import msgspec

from penstock.error_form import ErrorForm
from penstock.mountpoint.daemon_messages import MountRequest
from penstock.mountpoint.mount_records import MountRecord
from penstock.wire import decode_message, encode_message

__all__ = ["Failed", "Link", "Mounted", "Moved", "Serving", "Start"]

_MOST = 1 << 20


class Start(msgspec.Struct, frozen=True, tag=True):
    """The work. `level` is the log's, `parent` the supervisor's process id.

    Of a session that goes on: `greeting` and `pin` are what `Mounted` gave, `record` is the mount's; `set_aside` says
    why the block cache is to be left alone, if it is.
    """

    request: MountRequest
    level: int
    parent: int
    greeting: bytes | None = None
    pin: bytes | None = None
    record: MountRecord | None = None
    set_aside: str = ""


class Mounted(msgspec.Struct, frozen=True, tag=True):
    """A session has begun. `device` is (major, minor); `greeting` the kernel's INIT request; `pin` is for `serve`."""

    device: tuple[int, int]
    greeting: bytes
    pin: bytes


class Serving(msgspec.Struct, frozen=True, tag=True):
    """Files can be read. `record` is what the first process says of the mount, None from a later one."""

    record: MountRecord | None


class Moved(msgspec.Struct, frozen=True, tag=True):
    """A commit has landed, or a refresh: hashes in hex."""

    handle: str
    top_hash: str
    commit: str | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The end, before or while files could be read."""

    error: ErrorForm


Message = Start | Mounted | Serving | Moved | Failed


class Link:
    """One end. Descriptors that come with a message belong to whoever receives it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def inherited(cls, descriptor: int) -> Link:
        """Return the end that a parent has left open for this process."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Return the socket's descriptor: readable when there is a message, or no other end any more."""
        return self._socket.fileno()

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send a message, with a copy of a descriptor. OSError: the other end is gone."""
        body = encode_message(message)
        if descriptor is None:
            self._socket.send(body, socket.MSG_NOSIGNAL)
        else:
            socket.send_fds(self._socket, [body], [descriptor], socket.MSG_NOSIGNAL)

    def receive(self) -> tuple[Message, int | None] | None:
        """Return the next message; None when the other end is gone. Blocks."""
        try:
            body, descriptors, _, _ = socket.recv_fds(self._socket, _MOST, 1)
        except ConnectionResetError:  # it went without reading what it was sent
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if not body:
            return None
        message: Message = decode_message(body, Message)
        return message, descriptors[0] if descriptors else None

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
