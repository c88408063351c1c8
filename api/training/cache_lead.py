"""Fetch into the block cache what a reader will read next: its order, announced where there is no mount to tell.

The reader says how far it is, and what it has passed makes room for as many bytes more. Files are looked at by windows,
so that those that lie close together are fetched by one request, whatever the order.

**Invariant:** what was looked at and not passed is at most the budget, or one file that is larger alone; what is
cached is not fetched. A hint: whatever goes wrong here the reader meets itself, and says.

One thread, and those that fetch, until `close`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from penstock.errors import PenstockError
from penstock.manifest.entry import TreeEntry, block_count
from penstock.repo.fetch.regions import Region
from penstock.repo.read.block_plan import WantedBlock, plan_blocks
from penstock.repo.read.many_files import REQUESTS
from penstock.repo.read.snapshot import Snapshot

__all__ = ["CacheLead", "lead_of"]

_MOST_FILES = 512
"""Files in a window."""


def lead_of(snapshot: Snapshot, budget: int) -> int:
    """Return how many bytes of a budget can be fetched ahead so that they are still cached when they are read.

    0 where there is no cache to fetch into.
    """
    return min(budget, snapshot.cache_size // 4) if snapshot.cache_mode == "ok" else 0


class CacheLead:
    """Runs ahead of one reader of `files`, `budget` bytes at the most."""

    def __init__(self, snapshot: Snapshot, files: Iterable[TreeEntry], budget: int) -> None:
        self._snapshot = snapshot
        self._files = iter(files)
        self._next: TreeEntry | None = None
        self._budget = budget
        self._room = threading.Condition()
        self._ahead: deque[int] = deque()
        """Bytes of each file that was looked at and not passed."""
        self._held = 0
        self._early = 0
        """Files that the reader has passed before they were looked at."""
        self._closed = False
        threading.Thread(target=self._run, name="penstock-lead", daemon=True).start()

    def passed(self) -> None:
        """Take note that the reader has passed the next file."""
        with self._room:
            if not self._ahead:
                self._early += 1
                return
            self._held -= self._ahead.popleft()
            if 2 * self._held <= self._budget:
                self._room.notify()

    def close(self) -> None:
        """Fetch no more. What is on its way is not waited for: it comes to nothing, or into the cache."""
        with self._room:
            self._closed = True
            self._room.notify()

    def _run(self) -> None:
        with ThreadPoolExecutor(REQUESTS, "penstock-lead") as pool:
            try:
                while window := self._next_window():
                    self._fetch(window, pool)
            except PenstockError:  # such as a node that cannot be loaded: the reader needs it as well
                return

    def _next_window(self) -> list[TreeEntry]:
        """Wait until half of the budget is free, and return the files that it has room for; none at the end."""
        window: list[TreeEntry] = []
        with self._room:
            self._room.wait_for(lambda: self._closed or 2 * self._held <= self._budget)
        while len(window) < _MOST_FILES:
            entry = self._next or next(self._files, None)
            self._next = None
            with self._room:
                if entry is None or self._closed:
                    break
                if self._early:
                    self._early -= 1  # it is being read already
                    continue
                if self._held and self._held + entry.size > self._budget:
                    self._next = entry
                    break
                self._ahead.append(entry.size)
                self._held += entry.size
            window.append(entry)
        return window

    def _fetch(self, window: list[TreeEntry], pool: ThreadPoolExecutor) -> None:
        snapshot = self._snapshot
        blocks = [WantedBlock(None, entry, index) for entry in window for index in range(block_count(entry.size))]
        plan = plan_blocks(blocks, snapshot.block_hash, snapshot.missing_blocks)
        for job in [pool.submit(self._bring, region) for region in plan.regions]:
            job.result()

    def _bring(self, region: Region) -> None:
        if not self._closed:
            with suppress(PenstockError):  # whoever reads one of its files asks again, and says which
                self._snapshot.fetch_region(region)
