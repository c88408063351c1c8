"""What the file system reads from: the face of `penstock.repo.read.snapshot.Snapshot` that the mounted view uses.

All methods are thread-safe. `peek` and `cached_block` are quick enough for the event loop (the latter once a block
has been verified); the others may block on disk or network and are called in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.manifest.entry import Metadata, NodeRef, TreeEntry
from penstock.manifest.node import Node
from penstock.repo.fetch.regions import Region

__all__ = ["Source"]


class Source(Protocol):
    """One version, or a directory of it, opened for reading."""

    handle: str
    root: NodeRef
    root_metadata: Metadata

    @property
    def top_hash(self) -> bytes:
        """Top hash of the version, 32 bytes."""
        ...

    @property
    def commit_id(self) -> bytes | None:
        """Id of the commit, 32 bytes; None when the version was named by its top hash."""
        ...

    def peek(self, ref: NodeRef) -> Node:
        """Return a node that is in memory; `manifest.tree.NodeMissing` otherwise."""
        ...

    def load(self, ref: NodeRef) -> Node:
        """Return a node from wherever it is. Blocking."""
        ...

    def read_metadata(self, metadata: Metadata) -> bytes:
        """Return metadata as canonical JSON; of a document, from wherever it is. Blocking then."""
        ...

    def block_hash(self, entry: TreeEntry, index: int) -> bytes:
        """Return the hash of one block of a file. Blocking when the entry has pages, at once otherwise."""
        ...

    def cached_block(self, digest: bytes) -> memoryview | None:
        """Return a verified block from the cache."""
        ...

    def fetch_blocks(self, entry: TreeEntry, first: int, count: int) -> list[memoryview]:
        """Return verified blocks from the store, which are then in the cache if it takes them. Blocking."""
        ...

    def fetch_region(self, region: Region) -> list[memoryview]:
        """Return the verified blocks of a region from the store, as `fetch_blocks`. Blocking."""
        ...

    def has_block(self, digest: bytes) -> bool:
        """Whether the cache has a block, as far as its index says; it is not read."""
        ...

    def missing_blocks(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return those that the cache has not, as `has_block`."""
        ...

    def cache_holds(self, size: int) -> bool:
        """Whether so many bytes fit into the cache, with room to spare."""
        ...

    def is_cached(self, entry: TreeEntry) -> tuple[int, int]:
        """Count a file's blocks: those in the cache, and all. Blocking."""
        ...

    def physical(self, entry: TreeEntry) -> Sequence[tuple[str, int, int]]:
        """Say where a file's bytes lie: the address, offset and length of each part."""
        ...

    def counters(self) -> dict[str, int]:
        """Return counts since the version was opened; `bytes_fetched` among them."""
        ...

    def count(self, **amounts: int) -> None:
        """Add to the counts `hits` and `misses` of blocks."""
        ...
