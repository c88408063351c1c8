"""Bodies that know the deadline: reading one piece by piece, and sending one piece by piece.

Called by `s3` only. A timeout bounds each wait for the socket, not their sum: a body that trickles a byte a second
would hold its reader for ever, and a body that is sent in one piece must be gone within one timeout however large it
is. Both ways the clock is looked at between pieces.
"""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING

from .base import Buffer
from .retry import Deadline

if TYPE_CHECKING:
    from botocore.response import StreamingBody

__all__ = ["DeadlinePassed", "SentBody", "TruncatedBody", "content_md5", "read_body"]

_PIECE = 256 * 1024


class DeadlinePassed(Exception):  # noqa: N818 - it is no fault, and never leaves this package
    """The call's time is over in the middle of a body."""


class TruncatedBody(Exception):  # noqa: N818 - as above
    """The connection ended before all of the promised bytes came."""


def read_body(stream: StreamingBody, expected: int | None, deadline: Deadline) -> bytes:
    """Read all of a response, `expected` bytes if the server said how many.

    Raises DeadlinePassed, TruncatedBody and what urllib3 raises.
    """
    # read1 is the one call that returns what a single wait brought; botocore's wrapper does not pass it through.
    raw = stream._raw_stream  # type: ignore[attr-defined]  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]
    pieces: list[bytes] = []
    received = 0
    try:
        # At least once, also for an empty body: that is what lets urllib3 use the connection again.
        while piece := raw.read1(_PIECE):
            pieces.append(piece)
            received += len(piece)
            if received == expected:
                break
            deadline.progress(received)
            if deadline.remaining() <= 0:
                raise DeadlinePassed(f"{received} of {'?' if expected is None else expected} bytes had come")
    except BaseException:
        raw.close()  # the rest is still on its way: the connection cannot be used again
        raise
    if expected is not None and received != expected:
        raise TruncatedBody(f"{received} of {expected} bytes came")
    raw.release_conn()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class SentBody(io.RawIOBase):
    """A buffer as the file that botocore sends in pieces, without a copy, until the deadline passes."""

    def __init__(self, body: Buffer, deadline: Deadline) -> None:
        super().__init__()
        self._body = memoryview(body).cast("B")
        self._deadline = deadline
        self._position = 0

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next `size` bytes. Raises DeadlinePassed."""
        self._deadline.progress(self._position)
        if self._deadline.remaining() <= 0:
            raise DeadlinePassed(f"{self._position} of {len(self._body)} bytes were sent")
        end = len(self._body) if size < 0 else min(self._position + size, len(self._body))
        piece = bytes(self._body[self._position : end])
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
