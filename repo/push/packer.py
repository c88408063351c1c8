"""From files that were read to entries in a tree: what is there already is referred to, the rest goes into packs.

Small new files are fused into packs in tree order. An entry needs its pack's hash, which is known when the pack is
full: what comes after it waits too, so that the tree is built in order. **Invariant:** all that waits, waits for the
one pack that is being filled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from penstock.manifest.build import NodeSink, TreeBuilder, with_blocks
from penstock.manifest.entry import BLOCK_SIZE, Entry, Extent, Extents, Kind, Location, NodeRef, Pages, block_count
from penstock.manifest.extents import add_extents, cut_extents
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.manifest.tree import Tree
from penstock.repo.bucket import object_keys
from penstock.repo.write.data_pack import DataPack
from penstock.repo.write.known_places import KnownPlaces
from penstock.repo.write.upload import Upload

from .directory_walk import EnterDirectory, LeaveDirectory
from .file_reader import FilePiece, FileRead, ReadStep

__all__ = ["FilePacker", "ParentVersion"]

_PACK_WAITING = 65536
_MOST_RUNS = 8
"""A piece of which more separate runs of blocks changed is sent whole: extents cost every later read."""


class ParentVersion:
    """The tree that a branch has now, for finding what did not change."""

    def __init__(self, tree: Tree, block_hash: Callable[[Entry, int], bytes]) -> None:
        self.tree = tree
        self.block_hash = block_hash


class FilePacker:
    """Takes what was read, in order; builds the tree; sends the data that is new.

    A file of the same path and content as in `parent` keeps its place, and so does every unchanged block of a large
    file. Other small files are looked up by their hash among the known `places`.
    """

    def __init__(
        self, builder: TreeBuilder, sink: NodeSink, upload: Upload, places: KnownPlaces, parent: ParentVersion | None
    ) -> None:
        self._builder = builder
        self._sink = sink
        self._upload = upload
        self._places = places
        self._parent = parent
        self._folders: list[NodeRef | None] = [parent.tree.root if parent is not None else None]
        self._waiting: deque[Callable[[], None]] = deque()
        self._pack = DataPack(upload, places)
        self._extents: list[Extent] = []
        self._old: Entry | None = None
        self.files = 0
        self.bytes = 0

    def take(self, step: ReadStep) -> None:
        """Take the next step of `file_reader.read_ahead`."""
        if isinstance(step, FilePiece):
            self._take_piece(step)
        elif isinstance(step, FileRead):
            if step.file.kind is not Kind.SYMLINK:
                self.files += 1
                self.bytes += step.size
            self._take_file(step)
        elif isinstance(step, EnterDirectory):
            base = self._in_parent(step.names[-1])
            folder = base.directory if base is not None else None
            self._folders.append(folder)
            self._then(partial(self._builder.enter, step.names[-1], mtime_ns=step.mtime_ns, base=folder))
        else:
            assert isinstance(step, LeaveDirectory)
            self._folders.pop()
            self._then(self._leave)

    def finish(self) -> NodeRef:
        """Send the last pack; return the root of the tree."""
        self._seal()
        return self._builder.finish()

    def _leave(self) -> None:
        self._builder.leave()

    def _then(self, action: Callable[[], None]) -> None:
        if self._waiting:
            self._waiting.append(action)
            if len(self._waiting) >= _PACK_WAITING:
                self._seal()
        else:
            action()

    def _in_parent(self, name: bytes) -> Entry | None:
        folder = self._folders[-1]
        if folder is None or self._parent is None:
            return None
        found = self._parent.tree.find(folder, name)
        return found[0] if found is not None else None

    def _take_file(self, read: FileRead) -> None:
        if read.file.kind is Kind.SYMLINK or not read.size:
            self._then(partial(self._add, read, ()))
        elif not read.data:
            extents: Extents = tuple(self._extents)
            old_pages: Pages = self._old.pages if self._old is not None else ()
            self._extents, self._old = [], None
            self._then(partial(self._add, read, extents, old_pages))
        else:
            self._take_small(read)

    def _take_small(self, read: FileRead) -> None:
        old = self._in_parent(read.file.names[-1])
        if old is not None and old.hash == read.hash and old.is_file:
            extents = old.extents
        elif (packed := self._pack.find(read.hash, read.size)) is not None:
            self._waiting.append(partial(self._add_packed, read._replace(data=b""), packed))
            return
        else:
            place = self._places.find(read.hash, read.size)
            if place is None:
                self._pack_up(read)
                return
            extents = (Extent(*place, read.size),)
        self._then(partial(self._add, read._replace(data=b""), extents))

    def _pack_up(self, read: FileRead) -> None:
        if not self._pack.fits(read.size):
            self._seal()
        packed = self._pack.add(read.data, read.hash)
        self._waiting.append(partial(self._add_packed, read._replace(data=b""), packed))
        if len(self._waiting) >= _PACK_WAITING:
            self._seal()

    def _seal(self) -> None:
        """End the pack that is being filled: it is sent, and what waited for its hash goes on."""
        self._pack.seal()
        while self._waiting:
            self._waiting.popleft()()

    def _add_packed(self, read: FileRead, packed: Extent) -> None:
        self._add(read, self._pack.resolve((packed,)))

    def _add(self, read: FileRead, extents: Extents, old_pages: Pages = ()) -> None:
        file = read.file
        target = read.data if file.kind is Kind.SYMLINK else b""
        entry = Entry(file.names[-1], file.kind, read.size, read.hash, file.mtime_ns, target=target, extents=extents)
        if read.blocks:
            known = {page.location.digest: page.location for page in old_pages}
            entry = with_blocks(entry, read.blocks, lambda frame: self._write_page(frame, known))
        self._builder.add(entry)

    def _write_page(self, frame: bytes, known: dict[bytes, Location]) -> Location:
        """Write a page of block hashes, or refer to where the file's older state has the same one."""
        return (known.get(content_hash(frame)) if known else None) or self._sink.write(frame)

    def _take_piece(self, piece: FilePiece) -> None:
        if piece.offset == 0:
            self._old = self._in_parent(piece.file.names[-1])
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
                self._upload.send(object_keys.data_key(digest), body, data=True)
                add_extents(self._extents, [Extent(digest, 0, length)])
            at += length

    def _runs(self, piece: FilePiece) -> list[tuple[bool, int]]:
        """Cut a piece into runs of changed and unchanged blocks: (changed, bytes)."""
        whole = [(True, len(piece.data))]
        if self._old is None or self._parent is None:
            return whole
        old_blocks = self._old.size // BLOCK_SIZE if self._old.size != piece.file.size else block_count(self._old.size)
        runs: list[tuple[bool, int]] = []
        first = piece.offset // BLOCK_SIZE
        for number in range(len(piece.blocks) // HASH_SIZE):
            digest = piece.blocks[number * HASH_SIZE : (number + 1) * HASH_SIZE]
            index = first + number
            changed = index >= old_blocks or self._parent.block_hash(self._old, index) != digest
            length = min(BLOCK_SIZE, len(piece.data) - number * BLOCK_SIZE)
            if runs and runs[-1][0] == changed:
                runs[-1] = (changed, runs[-1][1] + length)
            else:
                runs.append((changed, length))
        return runs if len(runs) <= _MOST_RUNS else whole
