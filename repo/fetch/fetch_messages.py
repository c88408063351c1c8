"""What goes through the pipes between a process and those that fetch for it: a setup, then requests; answers back."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from penstock.error_form import ErrorForm

from .regions import Region

__all__ = ["READY", "FetchAnswer", "FetchRequest", "read_message", "write_message"]

_LENGTH = struct.Struct("<I")
_MOST_MESSAGE = 16 << 20


class FetchRequest(msgspec.Struct, frozen=True, array_like=True):
    """A region to fetch."""

    number: int
    region: Region


class FetchAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What came of a request. `kept` says of each block whether the cache has taken it; `counts` is what it cost.

    `mode` is how the cache is (`BlockCache.mode`). While it refuses, a region is not even fetched.
    """

    number: int
    kept: list[bool]
    failure: ErrorForm | None
    counts: dict[str, int]
    mode: str


READY = 0
"""Number of the answer that nobody asked for: from now on a fetch takes no longer than the store does."""


def write_message(stream: IO[bytes], body: bytes) -> None:
    """Write one message and push it out."""
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """Return the next message; None at the end of the stream, also in the middle of a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MOST_MESSAGE:
        return None
    body = stream.read(length)
    return body if len(body) == length else None
