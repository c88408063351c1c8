"""HTTP/1.1 framing as a proxy needs it: heads and bodies, read from a stream and passed on byte for byte.

Source: RFC 9112, sections 2 (heads), 6 (which framing a body has) and 7.1 (chunked). Used by `faultproxy` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

__all__ = ["Head", "Piece", "answer_has_body", "has_framed_end", "read_body", "read_head", "request_has_body"]

_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Head:
    """The start line's three words, the header fields by lower-case name, and the bytes as they came."""

    words: tuple[str, str, str]
    fields: dict[str, str]
    raw: bytes

    @property
    def status(self) -> int:
        """Of an answer's head: its status code."""
        return int(self.words[1])

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """The body's length as promised, or None."""
        value = self.fields.get("content-length")
        return None if value is None else int(value)

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this message."""
        return self.fields.get("connection", "").lower() == "close" or "HTTP/1.0" in self.words


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a body on the wire: `payload`, or the framing around it."""

    data: bytes
    payload: bool


async def read_head(stream: asyncio.StreamReader) -> Head | None:
    """Read up to and with the empty line; None when the peer has closed before the first byte.

    Raises asyncio.IncompleteReadError when it closes within a head.
    """
    try:
        raw = await stream.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    first, second, third = (*start.split(" ", 2), "", "")[:3]
    pairs = (line.partition(":") for line in lines)
    return Head((first, second, third), {name.strip().lower(): value.strip() for name, _, value in pairs}, raw)


def request_has_body(head: Head) -> bool:
    """Say whether a body follows this head of a request."""
    return has_framed_end(head) and head.length != 0


def answer_has_body(head: Head, method: str) -> bool:
    """Say whether a body follows this head of an answer to `method`."""
    return method != "HEAD" and head.status not in (204, 304) and head.length != 0


def has_framed_end(head: Head) -> bool:
    """Say whether the body says itself where it ends; if not, an answer's body ends with the connection."""
    return head.chunked or head.length is not None


async def read_body(stream: asyncio.StreamReader, head: Head) -> AsyncIterator[Piece]:
    """Yield the body that follows `head`, every byte of it, framing and all.

    Raises asyncio.IncompleteReadError when the peer closes before the end.
    """
    if head.chunked:
        async for piece in _read_chunks(stream):
            yield piece
    elif head.length is not None:
        async for piece in _read_exactly(stream, head.length):
            yield piece
    else:
        while data := await stream.read(_PIECE):
            yield Piece(data, payload=True)


async def _read_exactly(stream: asyncio.StreamReader, length: int) -> AsyncIterator[Piece]:
    left = length
    while left > 0:
        data = await stream.read(min(_PIECE, left))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        yield Piece(data, payload=True)


async def _read_chunks(stream: asyncio.StreamReader) -> AsyncIterator[Piece]:
    while True:
        line = await stream.readuntil(b"\r\n")
        yield Piece(line, payload=False)
        length = int(line.split(b";")[0], 16)
        if length == 0:
            break
        async for piece in _read_exactly(stream, length):
            yield piece
        yield Piece(await stream.readexactly(2), payload=False)
    while True:  # trailer fields, up to the empty line
        line = await stream.readuntil(b"\r\n")
        yield Piece(line, payload=False)
        if line == b"\r\n":
            return
