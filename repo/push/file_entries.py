"""From a file that was read to its entry: what is there already is referred to, the rest is sent.

A file of the same content as its older state keeps its place, and so does every unchanged block of a large file. Other
small files are fused into packs in tree order, unless the bucket is known to have them. One thread.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.manifest.build import with_blocks
from penstock.manifest.entry import BLOCK_SIZE, Extent, Extents, Kind, Location, Pages, TreeEntry, block_count
from penstock.manifest.extents import add_extents, cut_extents
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.repo.write.version_content import VersionContent

from .file_reader import FilePiece, FileRead

__all__ = ["FileEntries"]

_MOST_RUNS = 8
"""A piece of which more separate runs of blocks changed is sent whole: extents cost every later read."""


class FileEntries:
    """Takes what was read, in order. `block_hash` gives the hash of a block of an older state."""

    def __init__(self, content: VersionContent, block_hash: Callable[[TreeEntry, int], bytes]) -> None:
        self._content = content
        self._block_hash = block_hash
        self._extents: list[Extent] = []
        self._old: TreeEntry | None = None

    def take_piece(self, piece: FilePiece, old: Callable[[], TreeEntry | None]) -> None:
        """Send what is new in a part of a large file; `old` gives its older state."""
        if piece.offset == 0:
            self._old = old()
            if self._old is not None and not (self._old.is_file and self._old.size > BLOCK_SIZE):
                self._old = None
        data = memoryview(piece.data)
        at = 0
        for changed, length in self._runs(piece):
            if not changed:
                assert self._old is not None
                add_extents(self._extents, cut_extents(self._old.extents, piece.offset + at, length))
            else:
                body = piece.data if length == len(data) else bytes(data[at : at + length])
                digest = piece.hash if length == len(data) else content_hash(body)
                add_extents(self._extents, [self._content.send(body, digest)])
            at += length

    def _runs(self, piece: FilePiece) -> list[tuple[bool, int]]:
        """Cut a piece into runs of changed and unchanged blocks: (changed, bytes)."""
        whole = [(True, len(piece.data))]
        if self._old is None:
            return whole
        old_blocks = self._old.size // BLOCK_SIZE if self._old.size != piece.file.size else block_count(self._old.size)
        runs: list[tuple[bool, int]] = []
        first = piece.offset // BLOCK_SIZE
        for number in range(len(piece.blocks) // HASH_SIZE):
            digest = piece.blocks[number * HASH_SIZE : (number + 1) * HASH_SIZE]
            index = first + number
            changed = index >= old_blocks or self._block_hash(self._old, index) != digest
            length = min(BLOCK_SIZE, len(piece.data) - number * BLOCK_SIZE)
            if runs and runs[-1][0] == changed:
                runs[-1] = (changed, runs[-1][1] + length)
            else:
                runs.append((changed, length))
        return runs if len(runs) <= _MOST_RUNS else whole

    def place(self, read: FileRead, old: Callable[[], TreeEntry | None]) -> tuple[Extents, Pages]:
        """Say where the bytes of a file lie, and the pages of block hashes that its older state has.

        It may be in the pack that is being filled: what is made of it goes through a queue of the content.
        """
        if read.file.kind is Kind.SYMLINK or not read.size:
            return (), ()
        if not read.data:
            extents: Extents = tuple(self._extents)
            pages: Pages = self._old.pages if self._old is not None else ()
            self._extents, self._old = [], None
            return extents, pages
        before = old()
        if before is not None and before.hash == read.hash and before.is_file:
            return before.extents, ()
        return (self._content.pack(read.data, read.hash),), ()

    def entry(self, read: FileRead, extents: Extents, pages: Pages) -> TreeEntry:
        """Return the entry, once all is known of where its bytes lie."""
        file = read.file
        target = read.data if file.kind is Kind.SYMLINK else b""
        entry = TreeEntry(
            file.names[-1], file.kind, read.size, read.hash, file.mtime_ns, file.metadata, target, extents
        )
        if not read.blocks:
            return entry
        known = {page.location.digest: page.location for page in pages}
        return with_blocks(entry, read.blocks, lambda frame: self._write_page(frame, known))

    def _write_page(self, frame: bytes, known: dict[bytes, Location]) -> Location:
        """Write a page of block hashes, or refer to where the file's older state has the same one."""
        return (known.get(content_hash(frame)) if known else None) or self._content.write(frame)
