"""Bodies that know the deadline: reading one piece by piece, and sending one piece by piece.

A timeout bounds each wait for the socket, not their sum: a body that trickles
a byte a second would hold its reader for ever, and a body that is sent in one piece must be gone within one timeout
however large it is. Both ways the clock is looked at between pieces.

**Invariant:** no more is kept of a body than was asked for, whatever its headers say, and what is beyond that is not
read: the connection is closed instead.
"""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING, Any

from penstock.store.base import Buffer
from penstock.store.retry import Deadline

from .http_range import BentAnswer

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["DeadlinePassed", "SentBody", "TooSlow", "TruncatedBody", "content_md5", "read_body", "read_body_into"]

_PIECE = 256 * 1024


class DeadlinePassed(Exception):  # noqa: N818 - it is no fault, and never leaves this package
    """The call's time is over in the middle of an answer, or of a body that is sent."""


class TooSlow(Exception):  # noqa: N818 - as above
    """An answer came in drops: fewer bytes a second than any line that works."""


class TruncatedBody(Exception):  # noqa: N818 - as above
    """The connection ended before all of the promised bytes came."""


def read_body(
    raw: BaseHTTPResponse,
    deadline: Deadline,
    most: int,
    *,
    skip: int = 0,
    expected: int | None = None,
    before: int = 0,
) -> bytes:
    """Read `most` bytes of a body behind its first `skip`; fewer when it ends before that.

    `expected`: bytes that the body has, if the server said. `before`: bytes that other answers to the same call have
    brought. Raises DeadlinePassed, TruncatedBody, BentAnswer and what urllib3 raises.
    """
    end = skip + most
    pieces: list[bytes] = []
    received = 0
    try:
        # At least once, also for an empty body: that is what lets urllib3 use the connection again.
        while piece := raw.read1(_PIECE):
            at, received = received, received + len(piece)
            if at < skip or received > end:
                piece = piece[max(0, skip - at) : max(0, end - at)]
            if piece:
                pieces.append(piece)
            if received == expected:
                break
            if expected is not None and received > expected:
                raise BentAnswer(f"it announced {expected} bytes and sent more")
            if received > end or (received == end and expected is not None):
                raw.close()  # nobody asked for what is still to come
                return b"".join(pieces)
            deadline.progress(before + received)
            if deadline.remaining() <= 0:
                raise DeadlinePassed(f"{received} of {'?' if expected is None else expected} bytes had come")
    except BaseException:
        raw.close()  # the rest is still on its way: the connection cannot be used again
        raise
    if expected is not None and received != expected:
        raise TruncatedBody(f"{received} of {expected} bytes came")
    raw.release_conn()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_body_into(raw: BaseHTTPResponse, deadline: Deadline, memory: memoryview, *, before: int = 0) -> None:
    """Fill `memory` with a body that the server said has as many bytes. `before` and what it raises as `read_body`.

    The bytes go from the socket to where they belong: urllib3's own `readinto` would make others of them first, in
    memory that the kernel has to find anew for each answer. So the answer below urllib3's is read, which keeps count.
    """
    answer: Any = raw
    received = 0
    try:
        with answer._error_catcher():  # noqa: SLF001 - so that faults are urllib3's as everywhere
            while received < len(memory):
                count = answer._fp.readinto(memory[received : received + _PIECE])  # noqa: SLF001
                if not count:
                    break
                received += count
                deadline.progress(before + received)
                if deadline.remaining() <= 0 and received < len(memory):
                    raise DeadlinePassed(f"{received} of {len(memory)} bytes had come")
    except BaseException:
        raw.close()  # as above
        raise
    if received != len(memory):
        raw.close()
        raise TruncatedBody(f"{received} of {len(memory)} bytes came")
    raw.release_conn()


class SentBody(io.RawIOBase):
    """A buffer as the file that botocore sends in pieces, without a copy, until the deadline passes."""

    def __init__(self, body: Buffer, deadline: Deadline) -> None:
        super().__init__()
        self._body = memoryview(body).cast("B")
        self._deadline = deadline
        self._position = 0

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int = -1, /) -> memoryview:  # the same bytes, where they are
        """Return the next `size` bytes. Raises DeadlinePassed."""
        self._deadline.progress(self._position)
        if self._deadline.remaining() <= 0:
            raise DeadlinePassed(f"{self._position} of {len(self._body)} bytes were sent")
        end = len(self._body) if size < 0 else min(self._position + size, len(self._body))
        piece = self._body[self._position : end]
        self._position = end
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position; botocore measures and rewinds with it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._body)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True


def content_md5(body: Buffer) -> str:
    """Return the Content-MD5 header of `body`: the one checksum of uploads that every S3 server verifies."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode("ascii")
