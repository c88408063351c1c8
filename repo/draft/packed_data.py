"""Send the bytes that a tree points to elsewhere into packs of the bucket, as a push does.

They lie in files of this disk, or in data objects of another bucket of ours. Each file is read once more, and has to be
what was hashed when it was added, before anything of it is sent; what the bucket has is not sent again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain

from msgspec import structs

from penstock.errors import ConflictError
from penstock.manifest.entry import BLOCK_SIZE, Extents, TreeEntry, block_count, display_path
from penstock.manifest.hashing import HASH_SIZE
from penstock.manifest.tree import Tree
from penstock.manifest.update import Edit
from penstock.progress import Stage
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import file_piece, whole_file
from penstock.repo.push.file_entries import FileEntries
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE, FilePiece, FileRead, read_ahead
from penstock.repo.push.local_tree import threads
from penstock.repo.push.older_state import OlderState
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.version_content import VersionContent
from penstock.store.base import Store

from .draft_edits import new_files
from .draft_tree import DraftTree, Path
from .local_source import local_path
from .version_source import brought_objects, read_brought

__all__ = ["OpenBucket", "changed_since", "pack_files"]

OpenBucket = Callable[[str], Store]
"""Opens another bucket, by its address, to read data objects of it; whoever gives it closes it."""

_Waiting = tuple[Path, TreeEntry]


def pack_files(
    draft: DraftTree,
    content: VersionContent,
    reading: Stage,
    open_bucket: OpenBucket | None,
    sent: Callable[[Path, int], None],
) -> None:
    """Send what is not in the bucket, and let the tree point to where it is then.

    With `open_bucket`, what lies in other buckets, too. `sent` is told each file, and how many of its bytes went out.
    ConflictError: a file is not what it was when it was added. The tree is then as it was.
    """
    packing = _Packing(draft, content, reading, open_bucket, sent)
    with closing(packing.edits()) as edits:
        first = next(edits, None)
        if first is None:
            return
        draft.edit(chain((first,), edits))
    content.finish_data()


class _Packing:
    """Reads files in tree order, and gives the edits that say where their bytes are."""

    def __init__(
        self,
        draft: DraftTree,
        content: VersionContent,
        reading: Stage,
        open_bucket: OpenBucket | None,
        sent: Callable[[Path, int], None],
    ) -> None:
        assert draft.session is not None
        self._draft = draft
        self._foresee = content.foresee
        self._files = FileEntries(content, draft.session.blocks.hash)
        self._older = OlderState(Tree(draft.base.root, draft.load) if draft.base is not None else None)
        self._queue: PackQueue[_Waiting] = PackQueue(content.data)
        self._reading = reading
        self._expected: deque[_Waiting] = deque()
        self._open_bucket = open_bucket
        self._sent = sent

    def edits(self) -> Generator[Edit, None, None]:
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
            for step in stack.enter_context(closing(read_ahead(self._local(), pool, self._foresee))):
                path, entry = self._expected[0]
                older = partial(self._older.find_path, path)
                self._reading.advance(len(step.data))
                if isinstance(step, FilePiece):
                    self._check_piece(step, entry)
                    self._files.take_piece(step, older)
                    continue
                if step.hash != entry.hash:
                    raise changed_since(step.file.path)
                self._expected.popleft()
                extents, _ = self._files.place(step, older)
                self._sent(path, step.size if self._is_new(path, extents) else 0)
                self._queue.put((path, entry), extents)
                yield from map(_placed, self._queue.ready())
            yield from map(_placed, self._queue.rest())

    def _local(self) -> Iterator[LocalFile | FilePiece | FileRead]:
        mark = self._draft.frames.mark
        for path, entry in new_files(self._draft):
            place = local_path(entry, mark)
            if place is not None:
                self._expected.append((path, entry))
                yield LocalFile(path, place, entry.kind, entry.size, entry.mtime_ns)
            elif self._open_bucket is not None and brought_objects(entry, mark):
                self._expected.append((path, entry))
                yield from self._brought(path, entry, self._open_bucket)

    def _brought(self, path: Path, entry: TreeEntry, open_bucket: OpenBucket) -> Iterator[FilePiece | FileRead]:
        """Read a file out of another bucket, cut as a file of this disk is."""
        file = LocalFile(path, os.fsencode(display_path(path)), entry.kind, entry.size, entry.mtime_ns)
        if entry.size <= PACKED_SIZE:
            yield whole_file(file, read_brought(entry, 0, entry.size, open_bucket))
            return
        for offset in range(0, entry.size, PIECE_SIZE):
            piece = read_brought(entry, offset, min(PIECE_SIZE, entry.size - offset), open_bucket)
            yield file_piece(file, offset, piece)

    def _is_new(self, path: Path, extents: Extents) -> bool:
        """Whether some of a file lies in objects that the bucket is sent now."""
        if any(isinstance(each.object, bytes) and len(each.object) < HASH_SIZE for each in extents):
            return True
        old = self._older.find_path(path)
        before = {each.object for each in old.extents} if old is not None else set()
        return (
            len(extents) > 0
            and block_count(sum(each.length for each in extents)) * BLOCK_SIZE > PACKED_SIZE
            and any(each.object not in before for each in extents)
        )

    def _check_piece(self, piece: FilePiece, entry: TreeEntry) -> None:
        """Hold a piece against the hashes of its blocks before anything of it is sent."""
        first = piece.offset // BLOCK_SIZE
        for at in range(len(piece.blocks) // HASH_SIZE):
            expected = self._draft.block_hash(entry, first + at)
            if piece.blocks[at * HASH_SIZE : (at + 1) * HASH_SIZE] != expected:
                raise changed_since(piece.file.path)


def _placed(ready: tuple[_Waiting, Extents]) -> Edit:
    (path, entry), extents = ready
    return Edit(path, structs.replace(entry, extents=extents))


def changed_since(path: bytes) -> ConflictError:
    """Return the error for a local file that is not what was hashed."""
    return ConflictError(
        f"{path.decode('utf-8', 'replace')!r} changed since it was added",
        why="its content is not the one that the manifest has",
        fix="Add it again, and build the manifest anew.",
    )
