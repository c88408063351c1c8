"""A process that fetches: regions come in on standard input, blocks go into the block cache, answers out.

A GET costs a millisecond of interpreter time and more for every megabyte; here it costs the mount's event loop none.
Started and ended by `fetch_pool`; it ends by itself when its standard input does, and so with who started it.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import IO

import msgspec

from penstock.cache import BlockCache, note_crashes
from penstock.errors import PenstockError
from penstock.manifest.entry import External
from penstock.repo.settings.trust import Trust
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .externals import Externals
from .memory import shares
from .regions import ReadExternal, Region, RegionReader
from .request_counts import RequestCounts

__all__ = ["READY", "FetchAnswer", "FetchFailure", "FetchRequest", "FetchSetup", "read_message", "write_message"]

_LENGTH = struct.Struct("<I")
_MOST_MESSAGE = 16 << 20
THREADS = 32


class FetchSetup(msgspec.Struct, frozen=True):
    """The first message: what to fetch from and where to put it. `remotes` are the options of stores by address."""

    url: str
    options: StoreOptions
    remotes: dict[str, StoreOptions]
    cache_directory: str
    cache_size: int
    trust: Trust = Trust()


class FetchRequest(msgspec.Struct, frozen=True, array_like=True):
    """A region to fetch."""

    number: int
    region: Region


class FetchFailure(msgspec.Struct, frozen=True):
    """An error of `penstock.errors`, by the name of its class."""

    kind: str
    what: str
    why: str
    fix: str


class FetchAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What came of a request. `kept` says of each block whether the cache has taken it; `counts` is what it cost.

    `mode` is how the cache is (`BlockCache.mode`). While it refuses, a region is not even fetched.
    """

    number: int
    kept: list[bool]
    failure: FetchFailure | None
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


def _failure(error: PenstockError) -> FetchFailure:
    return FetchFailure(type(error).__name__, error.what, error.why, error.fix)


class _Fetcher:
    def __init__(self, setup: FetchSetup, cache: BlockCache, stack: ExitStack, out: IO[bytes]) -> None:
        self._cache = cache
        self._out = out
        self._writing = threading.Lock()
        self._store = stack.enter_context(closing(open_store(setup.url, setup.options)))
        self._externals = stack.enter_context(closing(Externals(setup.url, setup.options, setup.remotes, setup.trust)))

    def prepare(self) -> None:
        with suppress(PenstockError):  # the first request will say what is wrong
            self._store.prepare()
        self._send(FetchAnswer(READY, [], None, {}, self._cache.mode))

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
                blocks = RegionReader(self._store, read_external or self._externals.get, counters).read(request.region)
                found = ((piece.digest, block) for piece, block in zip(pieces, blocks, strict=True))
                kept = self._cache.put_many(found, checked=True)
        except PenstockError as error:
            failure = _failure(error)
        except Exception as error:  # noqa: BLE001  # a fault in here must not leave a reader waiting
            failure = FetchFailure("PenstockError", f"a fault while fetching: {type(error).__name__}", str(error), "")
        self._send(FetchAnswer(request.number, kept, failure, counters.snapshot(), self._cache.mode))

    def _fail(self, request: FetchRequest, error: PenstockError) -> None:
        kept = [False] * len(request.region.pieces)
        self._send(FetchAnswer(request.number, kept, _failure(error), {}, self._cache.mode))

    def _send(self, answer: FetchAnswer) -> None:
        body = msgspec.msgpack.encode(answer)
        with self._writing:
            write_message(self._out, body)


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the foreground is for the mount, which then ends this
    source, out = sys.stdin.buffer, sys.stdout.buffer
    first = read_message(source)
    if first is None:
        return
    setup = msgspec.msgpack.decode(first, type=FetchSetup)
    requests = msgspec.msgpack.Decoder(FetchRequest)
    note_crashes(Path(setup.cache_directory))
    shares()  # who asks holds to them; here the allocator is told, before there are threads
    with ExitStack() as stack:
        cache = stack.enter_context(closing(BlockCache(Path(setup.cache_directory), setup.cache_size)))
        fetcher = _Fetcher(setup, cache, stack, out)
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
