"""A changed file's new entry: only blocks that were touched are read, hashed and sent.

A block is untouched where nothing lies over the version's bytes and the file's end does not cut it otherwise than
before; it keeps its hash and its place. So do whole pages of block hashes, which are then not even loaded. A block that
is a hole is not read: the hash of zeros is known, and long holes all refer to one object. Touched blocks that adjoin
are runs of up to 32 MiB: a full run is a data object of its own, the rest shares packs.

Reads frozen data through a snapshot of the tables; blocking. **Invariant:** the same content gives the same objects, so
a commit that is done again sends nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

from penstock.errors import IntegrityError
from penstock.manifest.codec import encode_page
from penstock.manifest.entry import (
    BLOCK_SIZE,
    INLINE_BLOCKS,
    PAGE_BLOCKS,
    Extent,
    Extents,
    PageRef,
    TreeEntry,
    block_count,
)
from penstock.manifest.extents import add_extents
from penstock.manifest.hashing import content_hash, file_hash, page_hash, zero_block_hash
from penstock.overlay.content.file_content import LOWER, ZEROS, Segment
from penstock.overlay.tables.schema import InodeRecord
from penstock.repo.write.data_pack import most_packed
from penstock.repo.write.version_content import VersionContent

from .kept_blocks import KeptBlocks

__all__ = ["Composer", "DataSink", "VersionReader"]

_PAGE_BYTES = PAGE_BLOCKS * BLOCK_SIZE
_TOUCHED, _HOLE = 1, 2
_ZEROS = bytes(BLOCK_SIZE)
_MOST_EXTENTS = 20_000
"""A file in more pieces is sent whole: an entry has to fit into a node, and every piece costs later reads."""


class DataSink(Protocol):
    """What is asked of the bytes of changed files: the face of `file_content.FileContent`."""

    def segments(self, inode: int, record: InodeRecord, start: int, end: int) -> list[Segment]:
        """Say where the bytes of a range are."""
        ...

    def read_file(
        self, inode: int, record: InodeRecord, start: int, end: int, lower: Callable[[int, int], bytes]
    ) -> bytes:
        """Read a range; what still shows of the version comes from `lower`."""
        ...


class VersionReader(Protocol):
    """What is asked of the versions in the bucket: the face of `repo.snapshot.Snapshot`."""

    def block_hash(self, entry: TreeEntry, index: int, /) -> bytes:
        """Return the hash of a block."""
        ...

    def cached_block(self, digest: bytes, /) -> memoryview | None:
        """Return a block from the cache."""
        ...

    def fetch_blocks(self, entry: TreeEntry, first: int, count: int, /) -> list[memoryview]:
        """Return blocks from the store."""
        ...


class ContentReader(NamedTuple):
    """The part of an entry that speaks of a file's bytes; extents may name packs by their stand-ins."""

    size: int
    hash: bytes
    extents: Extents = ()
    blocks: bytes = b""
    pages: tuple[PageRef, ...] = ()


class Composer:
    """Makes entries of changed files. `content` takes what is new of them, `kept` the blocks that were read."""

    def __init__(
        self,
        data: DataSink,
        version: VersionReader,
        content: VersionContent,
        kept: KeptBlocks,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`advance` is told of bytes that were read, and before each block of none; it raises what ends the commit."""
        self._data = data
        self._version = version
        self._content = content
        self.kept = kept
        self.advance = advance
        self.bytes_read = 0

    def compose(
        self, inode: int, record: InodeRecord, old: TreeEntry | None, committed: TreeEntry | None
    ) -> ContentReader:
        """Return what a file holds now. `old` is the entry that its record speaks of, `committed` another guess."""
        if record.size <= BLOCK_SIZE:
            return self._small(inode, record, old, committed)
        found = self._large(inode, record, old, afresh=False)
        return found if len(found.extents) <= _MOST_EXTENTS else self._large(inode, record, old, afresh=True)

    def _small(
        self, inode: int, record: InodeRecord, old: TreeEntry | None, committed: TreeEntry | None
    ) -> ContentReader:
        size = record.size
        data = self._read(inode, record, old, 0, size)
        digest = content_hash(data)
        if not size:
            return ContentReader(0, digest)
        self.kept.add(digest, data)
        for known in (old, committed):
            if known is not None and known.is_file and known.size == size and known.hash == digest:
                return ContentReader(size, digest, known.extents)
        return ContentReader(size, digest, (self._content.pack(data, digest),))

    def _large(self, inode: int, record: InodeRecord, old: TreeEntry | None, *, afresh: bool) -> ContentReader:
        # Of what is pinned by its identity no block's hash is known, so none can be kept.
        afresh = afresh or (old is not None and old.is_identity)
        file = _LargeFile(self, inode, record, old, afresh=afresh)
        blocks, pages, hashes = b"", [], []
        count = block_count(record.size)
        for first in range(0, count, PAGE_BLOCKS):
            kept = None if afresh else file.keep_page(first)
            if kept is None:
                blocks = file.page(first)
                hashes.append(page_hash(blocks))
                if count > INLINE_BLOCKS:
                    kept = self._page(blocks, old, first)
            else:
                hashes.append(kept.hash)
            if kept is not None:
                pages.append(kept)
        extents = file.finish()
        digest = file_hash(record.size, b"".join(hashes))
        return ContentReader(record.size, digest, extents, b"" if pages else blocks, tuple(pages))

    def _page(self, blocks: bytes, old: TreeEntry | None, first: int) -> PageRef:
        digest, frame = encode_page(blocks)
        number = first // PAGE_BLOCKS
        if old is not None and number < len(old.pages) and old.pages[number].hash == digest:
            return old.pages[number]
        return PageRef(digest, self._content.write(frame))

    def _read(self, inode: int, record: InodeRecord, old: TreeEntry | None, start: int, end: int) -> bytes:
        def lower(low: int, high: int) -> bytes:
            if old is None:
                raise IntegrityError("the overlay says that a version's bytes show where there are none")
            return self._lower(old, low, high)

        data = self._data.read_file(inode, record, start, end, lower)
        if len(data) != end - start:
            raise IntegrityError(f"{len(data)} bytes of a changed file where {end - start} should be")
        self.bytes_read += len(data)
        self.advance(len(data))
        return data

    def _lower(self, old: TreeEntry, start: int, end: int) -> bytes:
        parts: list[bytes | memoryview] = []
        for index in range(start // BLOCK_SIZE, block_count(end)):
            block = self._version.cached_block(self._version.block_hash(old, index))
            if block is None:
                block = self._version.fetch_blocks(old, index, 1)[0]
            base = index * BLOCK_SIZE
            parts.append(block[max(start - base, 0) : end - base])
        return b"".join(parts)

    def read_block(self, inode: int, record: InodeRecord, old: TreeEntry | None, index: int) -> bytes:
        """Read a block of the file as it is now."""
        start = index * BLOCK_SIZE
        return self._read(inode, record, old, start, min(start + BLOCK_SIZE, record.size))

    def touched(self, inode: int, record: InodeRecord, first: int, count: int) -> bytearray:
        """Say of each of so many blocks whether anything lies over the version's bytes: TOUCHED, or HOLE, or 0."""
        start = first * BLOCK_SIZE
        end = min(start + count * BLOCK_SIZE, record.size)
        flags = bytearray(count)
        for segment in self._data.segments(inode, record, start, end):
            if segment.source != LOWER:
                low, high = (segment.start - start) // BLOCK_SIZE, block_count(segment.end - start)
                flags[low:high] = b"%c" % _TOUCHED * (high - low)
                if segment.source == ZEROS:
                    low, high = block_count(segment.start - start), (segment.end - start) // BLOCK_SIZE
                    flags[low:high] = b"%c" % _HOLE * (high - low)
        return flags

    def block_hash(self, entry: TreeEntry, index: int) -> bytes:
        """Return the hash of a block of a version's file."""
        return self._version.block_hash(entry, index)

    @cached_property
    def zeros(self) -> Extent:
        """Where zeros lie, as many as a run has: what holes are made of."""
        return self.place_run(bytearray(most_packed()))

    def place_run(self, run: bytearray) -> Extent:
        """Send a run of blocks, on its own when it is full, or with others."""
        digest = content_hash(run)
        return (self._content.pack if len(run) < most_packed() else self._content.send)(run, digest)


class _LargeFile:
    """A file of more than one block, taken page by page."""

    def __init__(
        self, composer: Composer, inode: int, record: InodeRecord, old: TreeEntry | None, *, afresh: bool
    ) -> None:
        self._composer = composer
        self._inode = inode
        self._record = record
        self._old = old
        self._afresh = afresh
        self._old_extents = _ExtentReader(old.extents if old is not None else ())
        self._extents: list[Extent] = []
        self._run = bytearray()
        self._holes = 0
        self._most = most_packed()

    def _same_end(self, start: int, length: int) -> bool:
        """Whether the file ends at the same place within a range, or goes on, in both states."""
        return self._old is not None and min(self._old.size, start + length) == min(self._record.size, start + length)

    def _flags(self, first: int) -> bytearray:
        count = min(PAGE_BLOCKS, block_count(self._record.size) - first)
        return self._composer.touched(self._inode, self._record, first, count)

    def keep_page(self, first: int) -> PageRef | None:
        """Return the page of the older state, when nothing in it was touched."""
        number = first // PAGE_BLOCKS
        start = first * BLOCK_SIZE
        if self._old is None or number >= len(self._old.pages) or not self._same_end(start, _PAGE_BYTES):
            return None
        if block_count(self._record.size) <= INLINE_BLOCKS or any(self._flags(first)):
            return None
        self._keep(start, min(_PAGE_BYTES, self._record.size - start))
        return self._old.pages[number]

    def page(self, first: int) -> bytes:
        """Take the blocks of a page; return their joined hashes."""
        hashes: list[bytes] = []
        zeros = zero_block_hash()
        self._composer.advance(0)
        for index, flag in enumerate(self._flags(first), first):
            start = index * BLOCK_SIZE
            length = min(BLOCK_SIZE, self._record.size - start)
            same = self._same_end(start, BLOCK_SIZE) and start < (self._old.size if self._old is not None else 0)
            before = self._composer.block_hash(self._old, index) if same and self._old is not None else None
            if before is not None and not flag and not self._afresh:
                hashes.append(before)
                self._keep(start, length)
                continue
            if flag == _HOLE and length == BLOCK_SIZE:
                hashes.append(zeros)
                if before == zeros and not self._afresh:
                    self._keep(start, length)
                else:
                    self._holes += 1
                continue
            self._composer.advance(0)
            data = self._composer.read_block(self._inode, self._record, self._old, index)
            digest = content_hash(data)
            self._composer.kept.add(digest, data)
            hashes.append(digest)
            if digest == before and not self._afresh:
                self._keep(start, length)
            else:
                self._end_hole()
                self._add(data)
        return b"".join(hashes)

    def _add(self, data: bytes) -> None:
        self._run += data
        if len(self._run) >= self._most:
            self._end_run()

    def _end_hole(self) -> None:
        """Place blocks that are holes: a long one refers to the same zeros over and over, a short one is in the run."""
        holes, self._holes = self._holes * BLOCK_SIZE, 0
        if holes < self._most:
            for _ in range(0, holes, BLOCK_SIZE):
                self._add(_ZEROS)
            return
        self._end_run()
        zeros = self._composer.zeros
        for at in range(0, holes, zeros.length):
            self._extents.append(Extent(zeros.object, zeros.offset, min(zeros.length, holes - at)))

    def _keep(self, start: int, length: int) -> None:
        self._end_hole()
        self._end_run()
        add_extents(self._extents, self._old_extents.cut(start, length))

    def _end_run(self) -> None:
        if self._run:
            add_extents(self._extents, [self._composer.place_run(self._run)])
            self._run = bytearray()

    def finish(self) -> tuple[Extent, ...]:
        """Return where the file's bytes lie."""
        self._end_hole()
        self._end_run()
        return tuple(self._extents)


class _ExtentReader:
    """Cuts ranges out of a list of extents, each behind the last one, in one pass over the list."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = extents
        self._at = 0
        self._start = 0

    def cut(self, start: int, length: int) -> list[Extent]:
        found: list[Extent] = []
        end = start + length
        while self._at < len(self._extents):
            extent = self._extents[self._at]
            low, high = max(start, self._start), min(end, self._start + extent.length)
            if low < high:
                found.append(Extent(extent.object, extent.offset + low - self._start, high - low))
            if self._start + extent.length > end:
                break
            self._start += extent.length
            self._at += 1
        return found
