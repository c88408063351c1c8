"""The files of a version with their first bytes: read ahead, several at once, as a look at each is a request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.manifest.entry import TreeEntry
from penstock.repo.query.query_record import Record
from penstock.repo.validation.content_types import HEAD_BYTES

from .entry_records import EntryRecords
from .snapshot import Snapshot

__all__ = ["with_heads"]

_AT_ONCE = 8
_AHEAD = 64


def with_heads(
    snapshot: Snapshot, prefix: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[Record, Callable[[], bytes] | None]]:
    """Yield the files below a path in tree order; of those whose paths are wanted, what gives the first HEAD_BYTES.

    Raises what reading raises when that is called, and as `EntryRecords` does.
    """

    def head(entry: TreeEntry) -> bytes:
        return b"".join(bytes(block[:HEAD_BYTES]) for block in snapshot.read(entry, range(min(entry.size, 1))))

    waiting: deque[tuple[Record, Future[bytes] | None]] = deque()
    pool = ThreadPoolExecutor(_AT_ONCE, "penstock-heads")
    try:
        records = EntryRecords(snapshot, prefix)
        for record in records:
            entry = records.entry
            assert entry is not None
            waiting.append((record, pool.submit(head, entry) if wanted(record.path) else None))
            if len(waiting) > _AHEAD:
                yield _told(waiting.popleft())
        while waiting:
            yield _told(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _told(found: tuple[Record, Future[bytes] | None]) -> tuple[Record, Callable[[], bytes] | None]:
    record, head = found
    return record, head.result if head is not None else None
