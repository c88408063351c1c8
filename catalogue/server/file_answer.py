"""Bytes of a file as an answer: read by threads some at a time, ahead of what is being sent, sent in small pieces.

A piece fits a socket's buffer, so that it is handed to the kernel at once and copied no more; what is read at a time is
larger, for to go to a thread and back costs as much as to send a piece. A range that is read at once costs no way more.

**Invariants:** nothing is sent before the first bytes are there, so that a store which is gone is an error in words.
For who has hung up nothing more is read. At most two readings are held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from itertools import islice

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from penstock.api.packages.entry import Entry
from penstock.manifest.entry import BLOCK_SIZE

__all__ = ["FileAnswer"]

_PIECE = 256 << 10
_AT_ONCE = 8
"""Pieces that are read at a time."""
_AHEAD = 8
"""Blocks that are asked of the store together."""


class FileAnswer(Response):
    """A part of a file, the first bytes of which are read when it is made: in a thread that may wait for a store."""

    def __init__(self, entry: Entry, part: range, status: int, headers: dict[str, str], media_type: str) -> None:
        super().__init__(None, status, {**headers, "content-length": str(len(part))}, media_type)
        self._left = len(part)
        self._pieces = _pieces(entry, part)
        self._first = self._read()

    def _read(self) -> list[bytes]:
        return list(islice(self._pieces, _AT_ONCE))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # the protocol's
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pieces, left = self._first, self._left
        gone = reading = None
        try:
            while pieces:
                left -= sum(map(len, pieces))
                if left and gone is None:
                    gone = asyncio.ensure_future(_hung_up(receive))
                reading = asyncio.ensure_future(run_in_threadpool(self._read)) if left else None
                for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                pieces = await reading if reading is not None and not (gone and gone.done()) else []
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if gone is not None:
                gone.cancel()
            if reading is not None:
                await asyncio.wait([reading])  # the pieces belong to one thread at a time
            self._pieces.close()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pieces(entry: Entry, part: range) -> Generator[bytes, None, None]:
    place = part.start
    while place < part.stop:
        first = place // BLOCK_SIZE
        for block in entry.some_blocks(first, min(_AHEAD, (part.stop - 1) // BLOCK_SIZE - first + 1)):
            begin = place % BLOCK_SIZE
            end = min(len(block), begin + part.stop - place)
            for at in range(begin, end, _PIECE):
                yield bytes(block[at : min(end, at + _PIECE)])
            place += end - begin
