"""Blocks of files: from the block cache, else from wherever the entry says its bytes are. Verified, always.

Blocking and thread-safe. What lies side by side in one object is fetched with one ranged GET, in this process or, with
`fetchers`, in another one that shares the cache.

Nobody knows the hash of a block of an entry that is pinned by its identity before the block was read. In place of a
hash it has a name, `identity_block`, and once it was read, the hash is remembered by that name (`learned_hashes`): so
the cache holds content by its hash alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cache import BlockCache
from penstock.errors import IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, External, TreeEntry, block_count
from penstock.manifest.extents import cut_extents
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.manifest.identity import identity_block
from penstock.repo.fetch.fetch_pool import FetchPool
from penstock.repo.fetch.regions import RESTORE, Region, RegionPiece, RegionReader

from .learned_hashes import LearnedHashes
from .nodes import Nodes

__all__ = ["FileBlocks"]


class FileBlocks:
    """Reads blocks of files of one bucket."""

    def __init__(
        self,
        cache: BlockCache | None,
        nodes: Nodes,
        reader: RegionReader,
        fetchers: FetchPool | None = None,
        learned: LearnedHashes | None = None,
    ) -> None:
        self._cache = cache
        self._nodes = nodes
        self._reader = reader
        self._fetchers = fetchers
        self._learned = learned if learned is not None else LearnedHashes()

    def hash(self, entry: TreeEntry, index: int) -> bytes:
        """Return the hash of one block of a file; of a very large file, a page of hashes may have to be fetched.

        Of an entry that is pinned by its identity, what stands for it.
        """
        if entry.size <= BLOCK_SIZE:
            extents = entry.extents
            # Every cached read of a small file comes by here: the first test is a fifth of what the second takes.
            if extents and type(extents[0].object) is External and entry.is_identity:
                return identity_block(entry, index)
            return entry.hash
        if entry.blocks:
            return entry.blocks[index * HASH_SIZE : (index + 1) * HASH_SIZE]
        if not entry.pages:
            return identity_block(entry, index)
        number = index // PAGE_BLOCKS
        count = min(PAGE_BLOCKS, block_count(entry.size) - number * PAGE_BLOCKS)
        page = self._nodes.page(entry.pages[number], count)
        at = index % PAGE_BLOCKS * HASH_SIZE
        return page[at : at + HASH_SIZE]

    def known_hash(self, entry: TreeEntry, index: int) -> bytes | None:
        """Return the hash of the content of one block of a file; None: nobody knows it who could tell."""
        digest = self.hash(entry, index)
        found = entry.extents[0].object
        if isinstance(found, bytes) or found.size is None:
            return digest
        return self._learned.recall(found, [digest])[0]

    def cached(self, digest: bytes) -> memoryview | None:
        """Return a block from the cache."""
        if self._cache is None:
            return None
        block = self._cache.get(digest)
        if block is None and (known := self._learned.get(digest)) is not None:
            block = self._cache.get(known)
        return block

    def missing(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return those whose blocks are not in the cache, as far as its index says."""
        if self._cache is None:
            return list(digests)
        known = [self._learned.peek(digest) or digest for digest in digests]
        absent = set(self._cache.missing(known))
        return [digest for digest, there in zip(digests, known, strict=True) if there in absent]

    def keep(self, blocks: Sequence[tuple[bytes, bytes]]) -> None:
        """Put blocks into the cache that were just hashed, each with its hash; what it cannot take is left out."""
        if self._cache is not None and self._cache.accepts():
            self._cache.put_many(blocks, checked=True)

    def count_cached(self, entry: TreeEntry) -> int:
        """Count the blocks of a file that are in the cache."""
        if self._cache is None:
            return 0
        count = block_count(entry.size)
        cached = 0
        for start in range(0, count, PAGE_BLOCKS):
            wanted = [self.hash(entry, index) for index in range(start, min(start + PAGE_BLOCKS, count))]
            cached += len(wanted) - len(self.missing(wanted))
        return cached

    def close(self) -> None:
        """Have what was learnt be found by the next session."""
        self._learned.close()

    def fetch(self, entry: TreeEntry, first: int, count: int) -> list[memoryview]:
        """Fetch blocks `first` to `first + count - 1` of a file from the store, check them, and keep them cached.

        IntegrityError names the file: the bytes there are not the ones that the version promises, or are gone.
        """
        blocks: list[memoryview] = []
        try:
            for region, index in self._regions(entry, first, count):
                if region is not None:
                    blocks += self.fetch_region(region)
                else:
                    blocks.append(self._joined(entry, index))
        except IntegrityError as error:
            name = entry.name.decode("utf-8", "replace")
            raise IntegrityError(f"{name!r} cannot be read", why=error.reason, fix=error.fix) from error
        return blocks

    def fetch_region(self, region: Region) -> list[memoryview]:
        """Fetch the blocks of a region, check them, and keep them cached. Raises as `RegionReader.read`."""
        if isinstance(region.object, External) and region.is_identity:  # what is learnt of it is learnt here
            held = self._recalled(region.object, region)
            if held is not None or self._fetchers is None:
                return held if held is not None else self._read_and_keep(region)
            with self._fetchers.budget_of(region).hold(region.length):
                return self._read_and_keep(region)
        if self._fetchers is not None and self._cache is not None and self._cache.readable():
            kept = self._fetchers.fetch(region)
            if kept is None:
                with self._fetchers.budget.hold(region.length):
                    return self._read_and_keep(region)
            found = [self._cache.get(piece.digest, fresh=True) for piece in region.pieces]
            if all(kept) and None not in found:
                return [block for block in found if block is not None]
            # The disk is full, or the cache so small that they are gone again: here, then, and not kept.
            with self._fetchers.budget_of(region).hold(region.length):
                return self._read_missing(region, found)
        if self._fetchers is not None:
            with self._fetchers.budget.hold(region.length):
                return self._read_and_keep(region)
        return self._read_and_keep(region)

    def read_region(self, region: Region) -> list[memoryview]:
        """Return the blocks of a region, checked, which are not kept. Raises as `RegionReader.read`."""
        if isinstance(region.object, External) and region.is_identity:
            held = self._recalled(region.object, region)
            return held if held is not None else self._read(region)[1]
        return self._reader.read(region)

    def _read_and_keep(self, region: Region) -> list[memoryview]:
        digests, blocks = self._read(region)
        if self._cache is not None and self._cache.accepts():
            self._cache.put_many(zip(digests, blocks, strict=True), checked=True)
        return blocks

    def _read(self, region: Region) -> tuple[list[bytes], list[memoryview]]:
        """Return the blocks of a region, and the hashes of their content."""
        names = [piece.digest for piece in region.pieces]
        if not (isinstance(region.object, External) and region.is_identity):
            return names, self._reader.read(region)
        before = self._learned.recall(region.object, names)
        for _ in range(2):  # the first time a fault may have been on the way
            blocks = self._reader.read(region)
            digests = [content_hash(block) for block in blocks]
            if all(old in (None, new) for old, new in zip(before, digests, strict=True)):
                self._learned.learn(region.object, names, digests)
                return digests, blocks
        raise IntegrityError(
            f"{self._reader.describe(region.object)} is not what it was",
            why="its store says that it is the same object, and sends other bytes than when it was first read here",
            fix="Register it without identity. If what was read first was wrong, `penstock cache clear` forgets it.",
        )

    def _recalled(self, found: External, region: Region) -> list[memoryview] | None:
        """Return the blocks of a region pinned by identity, when all that was learnt of it lies in the cache."""
        if self._cache is None:
            return None
        digests = self._learned.recall(found, [piece.digest for piece in region.pieces])
        blocks = [self._cache.get(digest) if digest is not None else None for digest in digests]
        held = [block for block in blocks if block is not None]
        return held if len(held) == len(blocks) else None

    def _read_missing(self, region: Region, found: Sequence[memoryview | None]) -> list[memoryview]:
        missing = [piece for piece, block in zip(region.pieces, found, strict=True) if block is None]
        read = iter(self._reader.read(Region(region.object, tuple(missing))))
        return [next(read) if block is None else block for block in found]

    def _regions(self, entry: TreeEntry, first: int, count: int) -> list[tuple[Region | None, int]]:
        """Cut a run of blocks into regions, each with its first block; None for a block that lies in several places."""
        runs: list[tuple[Region | None, int]] = []
        for index in range(first, first + count):
            start = index * BLOCK_SIZE
            length = min(BLOCK_SIZE, entry.size - start)
            parts = cut_extents(entry.extents, start, length)
            if len(parts) != 1:
                runs.append((None, index))
                continue
            piece = RegionPiece(self.hash(entry, index), parts[0].offset, length)
            last = runs[-1][0] if runs else None
            if last is not None and last.object == parts[0].object and last.offset + last.length == piece.offset:
                runs[-1] = (Region(last.object, (*last.pieces, piece)), runs[-1][1])
            else:
                runs.append((Region(parts[0].object, (piece,)), index))
        return runs

    def _joined(self, entry: TreeEntry, index: int) -> memoryview:
        """Fetch a block that is put together from several places."""
        start = index * BLOCK_SIZE
        parts = cut_extents(entry.extents, start, min(BLOCK_SIZE, entry.size - start))
        digest = self.hash(entry, index)
        for _ in range(2):  # the first time a fault may have been on the way
            block = b"".join([self._reader.get(part.object, part.offset, part.length) for part in parts])
            if content_hash(block) == digest:
                break
        else:
            places = sorted({self._reader.describe(part.object) for part in parts})
            raise IntegrityError(
                f"block {index} is not what was written",
                why=f"the bytes in {' and '.join(places)} have another hash",
                fix=RESTORE,
            )
        if self._cache is not None:
            self._cache.put_many([(digest, block)], checked=True)
        return memoryview(block)
