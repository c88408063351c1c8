"""Whole files, many of them, in the order in which they are asked for: fetched several at once along the packs.

The files come in windows, each half of a budget of bytes. While one window is handed out the next one is on its way.

**Invariant:** what is fetched and was not handed out yet is at most the budget, or one file that is larger alone.
**Invariant:** a file that is damaged, or that the store refuses, is an error when its turn comes, and no earlier: those
before it are handed out.

Blocking; the iterator belongs to one thread, those that fetch are its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.entry import TreeEntry, block_count
from penstock.repo.fetch.memory import shares
from penstock.repo.fetch.regions import Region

from .block_plan import WantedBlock, plan_blocks
from .snapshot import Snapshot

__all__ = ["REQUESTS", "read_files"]

REQUESTS = 16
"""Requests on their way at once."""
_MOST_FILES = 4096
"""Files in a window: empty ones have no bytes to count."""


class _Window:
    """Some files whose blocks are on their way."""

    def __init__(self, snapshot: Snapshot, entries: list[TreeEntry], pool: ThreadPoolExecutor) -> None:
        self._snapshot = snapshot
        self._entries = entries
        blocks = [WantedBlock(None, entry, index) for entry in entries for index in range(block_count(entry.size))]
        plan = plan_blocks(blocks, snapshot.block_hash, snapshot.missing_blocks)
        self._fetched: dict[bytes, tuple[Future[list[memoryview]], int]] = {}
        self._jobs: list[Future[list[memoryview]]] = []
        for region in plan.regions:
            job = pool.submit(self._fetch, region)
            self._jobs.append(job)
            for at, piece in enumerate(region.pieces):
                self._fetched[piece.digest] = job, at

    def _fetch(self, region: Region) -> list[memoryview]:
        try:
            return self._snapshot.fetch_region(region)
        except (IntegrityError, AccessError):
            return []  # `_block` asks for what is needed of it by itself, and says of which file it is

    def files(self) -> Iterator[bytes]:
        """Yield the files in order."""
        for entry in self._entries:
            yield b"".join([self._block(entry, index) for index in range(block_count(entry.size))])

    def _block(self, entry: TreeEntry, index: int) -> memoryview:
        digest = self._snapshot.block_hash(entry, index)
        found: memoryview | None = None
        if digest in self._fetched:
            job, at = self._fetched[digest]
            blocks = job.result()
            found = blocks[at] if blocks else None
        if found is None:
            found = self._snapshot.cached_block(digest)
        return found if found is not None else self._snapshot.fetch_blocks(entry, index, 1)[0]

    def cancel(self) -> None:
        for job in self._jobs:
            job.cancel()


def _windows(entries: Iterable[TreeEntry], most: int) -> Iterator[list[TreeEntry]]:
    window: list[TreeEntry] = []
    size = 0
    for entry in entries:
        if window and (size + entry.size > most or len(window) == _MOST_FILES):
            yield window
            window, size = [], 0
        window.append(entry)
        size += entry.size
    if window:
        yield window


def read_files(
    snapshot: Snapshot, entries: Iterable[TreeEntry], budget: int | None = None
) -> Generator[bytes, None, None]:
    """Yield the bytes of some files, in order. `budget` is in bytes, what this process may read ahead by default."""
    most = budget if budget is not None else shares().reading
    pool = ThreadPoolExecutor(max(1, min(REQUESTS, most >> 20)), "penstock-read")
    ahead: deque[_Window] = deque()
    try:
        for window in _windows(entries, max(1, most // 2)):
            ahead.append(_Window(snapshot, window, pool))
            if len(ahead) > 1:
                yield from ahead[0].files()
                ahead.popleft()
        while ahead:
            yield from ahead[0].files()
            ahead.popleft()
    finally:
        for window_ in ahead:
            window_.cancel()
        pool.shutdown(wait=False, cancel_futures=True)
