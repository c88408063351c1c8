"""A process that fetches: regions come in on standard input, blocks go into the block cache, answers out.

A GET costs a millisecond of interpreter time and more for every megabyte; here it costs the mount's event loop none.
`repo/fetch/fetch_pool` starts and ends it; it ends by itself when its standard input does, and so with who started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO

import msgspec

from penstock.cache import BlockCache, note_crashes
from penstock.error_form import ErrorForm, to_form
from penstock.errors import PenstockError
from penstock.manifest.entry import External
from penstock.repo.fetch.fetch_messages import (
    FetchAnswer,
    FetchReady,
    FetchRequest,
    Told,
    read_message,
    write_message,
)
from penstock.repo.fetch.memory import shares
from penstock.repo.fetch.regions import ReadExternal, Region, RegionReader
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.fetch.reused_memory import ReusedMemory
from penstock.repo.settings.bucket_setup import BucketSetup

from .bucket_session import BucketSession

__all__ = ["main"]

THREADS = 32
_LARGE = 256 << 10
"""Bytes of a region that is received into memory that was used before: smaller ones the allocator has ready."""
_PIECE = 8 << 20
"""Bytes of such memory: eight full blocks, as many as are asked for together."""


def _failure(error: PenstockError) -> ErrorForm:
    """Return an error as it is told; paths are bytes, and what of them is no text goes into no message."""
    form = to_form(error)
    what, why, fix = (text.encode(errors="backslashreplace").decode() for text in (form.what, form.why, form.fix))
    return ErrorForm(form.kind, what, why, fix)


class _Fetcher:
    def __init__(self, session: BucketSession, cache: BlockCache, out: IO[bytes]) -> None:
        self._cache = cache
        self._out = out
        self._writing = threading.Lock()
        self._store = session.store
        self._externals = session.externals
        self._memory = ReusedMemory(_PIECE, shares().fetching // 4 // _PIECE)

    def prepare(self) -> None:
        with suppress(PenstockError):  # the first request will say what is wrong
            self._store.prepare()
        self._send(FetchReady(self._cache.mode))

    def serve_outside(self, request: FetchRequest, found: External) -> None:
        """Serve a request for what an entry points to elsewhere, in a lane of its own (`externals`). Does not wait."""

        def ended(done: Future[None]) -> None:
            if isinstance(error := done.exception(), PenstockError):  # it was not even begun
                self._fail(request, error)

        try:
            served = self._externals.start(found, request.region.length, lambda read: self.serve(request, read))
        except PenstockError as error:
            self._fail(request, error)
        else:
            served.add_done_callback(ended)

    def serve(self, request: FetchRequest, read_external: ReadExternal | None = None) -> None:
        counters = RequestCounts()
        pieces = request.region.pieces
        kept = [False] * len(pieces)
        failure = None
        try:
            if self._cache.accepts():
                kept = self._bring(
                    request.region, RegionReader(self._store, read_external or self._externals.get, counters)
                )
        except PenstockError as error:
            failure = _failure(error)
        except Exception as error:  # noqa: BLE001  # a fault in here must not leave a reader waiting
            failure = _failure(PenstockError(f"a fault while fetching: {type(error).__name__}", why=str(error)))
        self._send(FetchAnswer(request.number, kept, failure, counters.snapshot(), self._cache.mode))

    def _bring(self, region: Region, reader: RegionReader) -> list[bool]:
        """Put the blocks of a region into the cache; which of them it has taken."""
        if region.is_outside or region.length < _LARGE:
            return self._put(region, reader.read(region))
        with self._memory.lent(region.length) as memory:
            return self._put(region, reader.read_into(region, memory))

    def _put(self, region: Region, blocks: list[memoryview]) -> list[bool]:
        found = ((piece.digest, block) for piece, block in zip(region.pieces, blocks, strict=True))
        return self._cache.put_many(found, checked=True)

    def _fail(self, request: FetchRequest, error: PenstockError) -> None:
        kept = [False] * len(request.region.pieces)
        self._send(FetchAnswer(request.number, kept, _failure(error), {}, self._cache.mode))

    def _send(self, told: Told) -> None:
        body = msgspec.msgpack.encode(told)
        with self._writing:
            write_message(self._out, body)


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the foreground is for the mount, which then ends this
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    first = read_message(source)
    if first is None:
        return
    setup = BucketSetup.decode(first)
    requests = msgspec.msgpack.Decoder(FetchRequest)
    note_crashes(setup.settings.cache_directory)
    shares()  # who asks holds to them; here the allocator is told, before there are threads
    with BucketSession(setup) as session:
        cache = session.cache
        assert cache is not None  # what is fetched goes nowhere else
        fetcher = _Fetcher(session, cache, out)
        pool = ThreadPoolExecutor(THREADS, "penstock-fetch")
        pool.submit(fetcher.prepare)
        while (message := read_message(source)) is not None:
            request = requests.decode(message)
            found = request.region.object
            if isinstance(found, External):
                fetcher.serve_outside(request, found)
            else:
                pool.submit(fetcher.serve, request)
        # Nobody is there to hear of what is still on its way.
        pool.shutdown(wait=False, cancel_futures=True)
    os._exit(0)


if __name__ == "__main__":
    main()
