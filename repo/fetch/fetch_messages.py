"""What goes through the pipes between a process and those that fetch for it: a setup, then requests; answers back.

Tagged structs in MessagePack, each after its length. Not lines as elsewhere (`penstock.wire`): these are mostly
digests, which as JSON take ten times as long to write and read, in the process that serves a mount.
What comes in is bounded by its length, then decoded strictly. What it *says* is for who asked to check.
"""

from __future__ import annotations

import struct
from typing import IO, TypeAlias

import msgspec

from penstock.error_form import ErrorForm
from penstock.wire import MOST, NoMessageError

from .regions import Region

__all__ = ["FetchAnswer", "FetchReady", "FetchRequest", "Told", "decode_told", "read_message", "write_message"]

_LENGTH = struct.Struct("<I")


class FetchRequest(msgspec.Struct, frozen=True, array_like=True, tag="fetch"):
    """A region to fetch."""

    number: int
    region: Region


class FetchReady(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """From now on a fetch takes no longer than the store does. `mode` is how the cache is (`BlockCache.mode`)."""

    mode: str


class FetchAnswer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """What came of a request. `kept` says of each block whether the cache has taken it; `counts` is what it cost.

    While the cache refuses (`mode`), a region is not even fetched.
    """

    number: int
    kept: list[bool]
    failure: ErrorForm | None
    counts: dict[str, int]
    mode: str


Told: TypeAlias = FetchReady | FetchAnswer
"""What a process that fetches says."""

_TOLD = msgspec.msgpack.Decoder(Told)


def decode_told(body: bytes) -> Told:
    """Return what a process that fetches says. NoMessageError: it is not of this form."""
    try:
        return _TOLD.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise NoMessageError(str(error)) from error


def write_message(stream: IO[bytes], body: bytes) -> None:
    """Write one message and push it out."""
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """Return the next message; None at the end of the stream, also in the middle of a message.

    NoMessageError: what follows is longer than a message can be.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MOST:
        raise NoMessageError(f"{length} bytes are announced; a message has at most {MOST}")
    body = stream.read(length)
    return body if len(body) == length else None
