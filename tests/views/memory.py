"""A version in memory, for file systems without a bucket: a real tree, blocks in a dict, and faults on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from penstock.errors import StoreUnreachableError
from penstock.manifest.build import MemorySink, TreeBuilder
from penstock.manifest.codec import decode_document, decode_node, decode_page
from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, Extent, Kind, Metadata, NodeRef, TreeEntry, block_count
from penstock.manifest.hashing import HASH_SIZE, ContentHasher, content_hash
from penstock.manifest.node import Node
from penstock.manifest.tree import NodeMissing
from penstock.repo.fetch.regions import Region
from penstock.vfs.files.filesystem import DirectoryItem, ReadOnlyFileSystem
from penstock.vfs.source.workers import Workers

__all__ = ["EPOCH_NS", "MTIME_NS", "Link", "Made", "MemorySource", "Spec", "listing", "paths", "with_file_system"]

_T = TypeVar("_T")
EPOCH_NS = 1_600_000_000_000_000_000
MTIME_NS = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class Made:
    """A file."""

    data: bytes = b""
    executable: bool = False
    mtime_ns: int | None = MTIME_NS
    metadata: bytes = b""


@dataclass(frozen=True)
class Link:
    """A symlink."""

    target: bytes


Spec = Mapping[bytes, "Made | Link | Spec"]
"""A directory by name."""


class MemorySource:
    """What `vfs.source.Source` asks for.

    `forgetful`: no node stays in memory, so every question needs every node loaded. `keeps`: whether the cache takes
    blocks. `pack`: small files lie in one object, side by side. `gate`: fetches wait for it. `faults`: raised by the
    next fetches, one each.
    """

    def __init__(self, spec: Spec, *, forgetful: bool = False, keeps: bool = True, pack: bool = False) -> None:
        self._pack_end = 0 if pack else None
        self._contents: dict[bytes, bytes] = {}
        self.handle = "memory/tree:main"
        self.top_hash = bytes(range(32))
        self.commit_id: bytes | None = bytes(range(1, 33))
        self.forgetful = forgetful
        self.keeps = keeps
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        self.faults: list[Exception] = []
        self.node_faults: list[Exception] = []
        self.loads: Counter[bytes] = Counter()
        self.fetches: list[tuple[bytes, int, int]] = []
        self.regions: list[Region] = []
        self.holds = True
        self.counts: Counter[str] = Counter(bytes_fetched=0)
        self.store: dict[bytes, bytes] = {}
        self.cache: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._sink = MemorySink()
        self._nodes: dict[bytes, Node] = {}
        builder = TreeBuilder(self._sink)
        self._build(builder, spec)
        self.root = builder.finish()
        self.root_metadata: Metadata = b""

    def _build(self, builder: TreeBuilder, spec: Spec) -> None:
        for name in sorted(spec):
            item = spec[name]
            if isinstance(item, Link):
                digest = content_hash(item.target)
                builder.add(TreeEntry(name, Kind.SYMLINK, len(item.target), digest, MTIME_NS, target=item.target))
            elif isinstance(item, Made):
                hasher = ContentHasher()
                hasher.update(item.data)
                digest, blocks = hasher.finish()
                for at in range(0, len(item.data), BLOCK_SIZE):
                    block = item.data[at : at + BLOCK_SIZE]
                    self.store[content_hash(block)] = block
                size = len(item.data)
                self._contents[name] = item.data
                place = Extent(digest, 0, size)
                if self._pack_end is not None:
                    place = Extent(bytes(32), self._pack_end, size)
                    self._pack_end += size
                kind = Kind.EXECUTABLE if item.executable else Kind.FILE
                extents = (place,) if size else ()
                entry = TreeEntry(name, kind, size, digest, item.mtime_ns, item.metadata, extents=extents)
                builder.add_file(entry, blocks)
            else:
                builder.enter(name, mtime_ns=MTIME_NS)
                self._build(builder, item)
                builder.leave()

    def content(self, name: bytes) -> bytes:
        """Return the bytes of the file that was made with a name."""
        return self._contents[name]

    def digest(self, name: bytes) -> bytes:
        """Return the hash of a file of one block."""
        return content_hash(self._contents[name])

    def peek(self, ref: NodeRef) -> Node:
        node = self._nodes.get(ref.location.digest)
        if node is None:
            raise NodeMissing(ref)
        return node

    def read_metadata(self, metadata: Metadata) -> bytes:
        """Return metadata; a document from the frames."""
        self._pass_gate(self.node_faults)
        if isinstance(metadata, bytes):
            return metadata
        return decode_document(self._sink.frames[metadata.location.digest], metadata)

    def load(self, ref: NodeRef) -> Node:
        self._pass_gate(self.node_faults)
        digest = ref.location.digest
        with self._lock:
            self.loads[digest] += 1
        node = decode_node(self._sink.frames[digest], ref)
        if not self.forgetful:
            self._nodes[digest] = node
        return node

    def _pass_gate(self, faults: list[Exception]) -> None:
        self.waiting.release()
        assert self.gate.wait(20)
        with self._lock:
            if faults:
                raise faults.pop(0)

    def block_hash(self, entry: TreeEntry, index: int) -> bytes:
        if entry.size <= BLOCK_SIZE:
            return entry.hash
        hashes, at = entry.blocks, index
        if entry.pages:
            page = entry.pages[index // PAGE_BLOCKS]
            hashes, at = decode_page(self._sink.frames[page.location.digest], page.hash), index % PAGE_BLOCKS
        return hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]

    def cached_block(self, digest: bytes) -> memoryview | None:
        block = self.cache.get(digest)
        return memoryview(block) if block is not None else None

    def fetch_blocks(self, entry: TreeEntry, first: int, count: int) -> list[memoryview]:
        with self._lock:
            self.fetches.append((entry.name, first, count))
        self._pass_gate(self.faults)
        found = []
        for index in range(first, first + count):
            digest = self.block_hash(entry, index)
            block = self.store.get(digest)
            if block is None:
                raise StoreUnreachableError("the block is not there")
            if self.keeps:
                self.cache[digest] = block
            found.append(memoryview(block))
            self.count(bytes_fetched=len(block))
        return found

    def fetch_region(self, region: Region) -> list[memoryview]:
        with self._lock:
            self.regions.append(region)
        self._pass_gate(self.faults)
        found = []
        for piece in region.pieces:
            block = self.store.get(piece.digest)
            if block is None:
                raise StoreUnreachableError("the block is not there")
            if self.keeps:
                self.cache[piece.digest] = block
            found.append(memoryview(block))
            self.count(bytes_fetched=len(block))
        return found

    def has_block(self, digest: bytes) -> bool:
        return digest in self.cache

    def missing_blocks(self, digests: Sequence[bytes]) -> list[bytes]:
        return [digest for digest in digests if digest not in self.cache]

    def cache_holds(self, size: int) -> bool:
        return self.holds

    def is_cached(self, entry: TreeEntry) -> tuple[int, int]:
        blocks = block_count(entry.size)
        return sum(self.block_hash(entry, index) in self.cache for index in range(blocks)), blocks

    def physical(self, entry: TreeEntry) -> list[tuple[str, int, int]]:
        return [("memory", each.offset, each.length) for each in entry.extents]

    def counters(self) -> dict[str, int]:
        return dict(self.counts)

    def count(self, **amounts: int) -> None:
        with self._lock:
            self.counts.update(amounts)

    def forget_nodes(self) -> None:
        self._nodes.clear()


def with_file_system(source: MemorySource, body: Callable[[ReadOnlyFileSystem], Awaitable[_T]]) -> _T:
    """Run `body` on a file system; what it raises comes out as it is."""

    async def main() -> _T:
        async with trio.open_nursery() as nursery:
            file_system = ReadOnlyFileSystem(source, nursery, Workers(), epoch_ns=EPOCH_NS)
            try:
                with trio.fail_after(30):
                    result = await body(file_system)
            except BaseException as error:  # noqa: BLE001  # passed on, out of the nursery's group
                failure: BaseException | None = error
            else:
                failure = None
            source.gate.set()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return result

    return trio.run(main)


async def listing(file_system: ReadOnlyFileSystem, inode: int) -> list[DirectoryItem]:
    """List a directory to its end, without ``.`` and ``..``."""
    handle = await file_system.opendir(inode)
    found: list[DirectoryItem] = []
    start = 0
    while items := await file_system.readdir(handle, start):
        found += items
        start = items[-1].next
    file_system.releasedir(handle)
    assert [item.name for item in found[:2]] == [b".", b".."]
    return found[2:]


def paths(spec: Spec, prefix: tuple[bytes, ...] = ()) -> Iterator[tuple[tuple[bytes, ...], Made | Link | Spec]]:
    """Yield every path of a spec in tree order with what is there."""
    for name in sorted(spec):
        item = spec[name]
        yield (*prefix, name), item
        if isinstance(item, Mapping):
            yield from paths(item, (*prefix, name))
