"""Blocks of files: from the block cache, else from wherever the entry says its bytes are. Verified, always.

Blocking and thread-safe. What lies side by side in one object is fetched with one ranged GET.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from penstock.cache import BlockCache
from penstock.errors import ConflictError, IntegrityError, NotFoundError
from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, Entry, External, block_count
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.store.base import ByteRange, Store

from . import layout
from .counters import Counters
from .nodes import Nodes

__all__ = ["Blocks", "describe_object"]

_RESTORE = "Restore the object from a copy of the bucket."

OpenExternal = Callable[[str], tuple[Store, str]]
"""Turns the URI of an object into the store that holds it and its key there."""


def describe_object(store: Store, found: bytes | External) -> str:
    """Return the address of an object that holds a file's bytes, as a person would write it."""
    if isinstance(found, bytes):
        return f"{store.url.rstrip('/')}/{layout.data_key(found)}"
    return f"{found.uri}?versionId={found.version_id}" if found.version_id else found.uri


class Blocks:
    """Reads blocks of files of one bucket."""

    def __init__(
        self, store: Store, cache: BlockCache | None, nodes: Nodes, open_external: OpenExternal, counters: Counters
    ) -> None:
        self._store = store
        self._cache = cache
        self._nodes = nodes
        self._open_external = open_external
        self._counters = counters

    def hash(self, entry: Entry, index: int) -> bytes:
        """Return the hash of one block of a file; of a very large file, a page of hashes may have to be fetched."""
        if entry.size <= BLOCK_SIZE:
            return entry.hash
        if entry.blocks:
            return entry.blocks[index * HASH_SIZE : (index + 1) * HASH_SIZE]
        page = self._nodes.page(entry.pages[index // PAGE_BLOCKS])
        at = index % PAGE_BLOCKS * HASH_SIZE
        return page[at : at + HASH_SIZE]

    def cached(self, digest: bytes) -> memoryview | None:
        """Return a block from the cache."""
        return self._cache.get(digest) if self._cache is not None else None

    def count_cached(self, entry: Entry) -> int:
        """Count the blocks of a file that are in the cache."""
        if self._cache is None:
            return 0
        wanted = [self.hash(entry, index) for index in range(block_count(entry.size))]
        return len(wanted) - len(self._cache.missing(wanted))

    def fetch(self, entry: Entry, first: int, count: int) -> list[memoryview]:
        """Fetch blocks `first` to `first + count - 1` of a file from the store, check them, and keep them cached.

        IntegrityError: the bytes there are not the ones that the version promises, or are gone.
        """
        start = first * BLOCK_SIZE
        end = min(entry.size, (first + count) * BLOCK_SIZE)
        data = memoryview(self._read(entry, start, end))
        found = []
        for number in range(count):
            at = number * BLOCK_SIZE
            found.append(self._checked(entry, first + number, data[at : at + BLOCK_SIZE]))
        if self._cache is not None:
            self._cache.put_many([(self.hash(entry, first + number), block) for number, block in enumerate(found)])
        return found

    def _checked(self, entry: Entry, index: int, block: memoryview) -> memoryview:
        expected = self.hash(entry, index)
        if content_hash(block) == expected:
            return block
        # Once more: the fault may have been on the way. A second time it is in the store.
        start = index * BLOCK_SIZE
        end = min(entry.size, start + BLOCK_SIZE)
        again = self._read(entry, start, end)
        if content_hash(again) == expected:
            self._counters.add(corrupt_answers=1)
            return memoryview(again)
        places = [describe_object(self._store, found) for found, _, _ in self._spans(entry, start, end)]
        raise IntegrityError(
            f"block {index} of {entry.name.decode('utf-8', 'replace')!r} is not what was written",
            why=f"the bytes in {' and '.join(places)} have another hash",
            fix=_RESTORE,
        )

    def _read(self, entry: Entry, start: int, end: int) -> bytes:
        parts = [self._get(entry, *span) for span in self._spans(entry, start, end)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _spans(self, entry: Entry, start: int, end: int) -> Iterator[tuple[bytes | External, int, int]]:
        """Yield (object, offset, length) for a range of a file, what adjoins in one object as one span."""
        at = 0
        open_span: tuple[bytes | External, int, int] | None = None
        for extent in entry.extents:
            low, high = max(start, at), min(end, at + extent.length)
            at += extent.length
            if low >= high:
                continue
            offset = extent.offset + low - (at - extent.length)
            if open_span is not None and open_span[0] == extent.object and open_span[1] + open_span[2] == offset:
                open_span = (extent.object, open_span[1], open_span[2] + high - low)
                continue
            if open_span is not None:
                yield open_span
            open_span = (extent.object, offset, high - low)
        if open_span is not None:
            yield open_span

    def _get(self, entry: Entry, found: bytes | External, offset: int, length: int) -> bytes:
        wanted = ByteRange(offset, length)
        try:
            if isinstance(found, bytes):
                body = self._store.get(layout.data_key(found), wanted)
            else:
                store, key = self._open_external(found.uri)
                body = store.get(key, wanted, version_id=found.version_id, etag=found.etag)
        except (NotFoundError, ConflictError) as error:
            raise IntegrityError(
                f"{entry.name.decode('utf-8', 'replace')!r} cannot be read", why=error.what, fix=error.fix or _RESTORE
            ) from error
        self._counters.add(gets=1, bytes_fetched=len(body))
        if len(body) != length:
            raise IntegrityError(
                f"{entry.name.decode('utf-8', 'replace')!r} cannot be read",
                why=f"{describe_object(self._store, found)} ends before byte {offset + length}",
                fix=_RESTORE,
            )
        return body
