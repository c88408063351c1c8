"""What a task has made: read from the disk when a call has ended, put into packs, and written down as a part.

Of little content the part has the bytes itself, so that a task of small outputs sends one object, and the merge fuses
those of many tasks. Beyond that contents go into packs as a push packs them.

**Invariant:** the same outputs in the same order make the same objects. What is held is one pack, what waits for it,
and an entry for each output of the task. One thread.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from penstock.errors import ConflictError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, MAX_DEPTH, Extents, Kind, TreeEntry, display_path, split_path
from penstock.manifest.hashing import hash_of_blocks
from penstock.progress import SILENT
from penstock.repo.parts.part_record import PartEntry, Path
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import file_piece, whole_file
from penstock.repo.push.file_entries import FileEntries
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE, FileRead
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.version_content import VersionContent, open_content

__all__ = ["TaskOutputs"]

_HELD = 1 << 20
"""Bytes of content, in all, that a part has itself."""


class TaskOutputs:
    """Takes the outputs of a task; `entries` returns them in tree order. Use it as a block."""

    def __init__(self, session: BucketSession) -> None:
        self._session = session
        self._open = ExitStack()
        self._content: VersionContent | None = None
        self._files: FileEntries | None = None
        self._queue: PackQueue[tuple[FileRead, str]] | None = None
        self._held: list[tuple[FileRead, str]] = []
        self._bytes = 0
        self._done: dict[Path, PartEntry] = {}
        self._sources: dict[Path, str] = {}

    def __enter__(self) -> TaskOutputs:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, folder: Path, name: str, descriptor: int, mtime_ns: int | None, metadata: bytes, source: str) -> None:
        """Read an output, an open file. ConflictError: two inputs have made it, or it changes while it is read."""
        path = (*folder, *split_path(name))
        if len(path) > MAX_DEPTH:
            raise UsageError(f"{name!r} of {source} is nested too deeply", why=f"the most is {MAX_DEPTH}")
        if path in self._sources:
            raise ConflictError(
                f"{display_path(path)!r} comes from two sides",
                why=f"{self._sources[path]} and {source} both have it",
                fix="Give what comes of them different names.",
            )
        self._sources[path] = source
        status = os.fstat(descriptor)
        kind = Kind.EXECUTABLE if status.st_mode & stat.S_IXUSR else Kind.FILE
        file = LocalFile(path, b"", kind, status.st_size, mtime_ns, metadata)
        if status.st_size <= PACKED_SIZE:
            read = whole_file(file, _read(descriptor, 0, status.st_size, source, name))
            if self._content is None and read.size <= BLOCK_SIZE and self._bytes + read.size <= _HELD:
                self._held.append((read, source))
                self._bytes += read.size
                return
            self._pack(read, source)
            return
        blocks: list[bytes] = []
        files, _ = self._packing()
        for offset in range(0, status.st_size, PIECE_SIZE):
            length = min(PIECE_SIZE, status.st_size - offset)
            piece = file_piece(file, offset, _read(descriptor, offset, length, source, name))
            files.take_piece(piece, lambda: None)
            blocks.append(piece.blocks)
        joined = b"".join(blocks)
        self._pack(FileRead(file, status.st_size, hash_of_blocks(status.st_size, joined), joined, b""), source)

    def _packing(self) -> tuple[FileEntries, PackQueue[tuple[FileRead, str]]]:
        """Return what packs contents; what was held so far goes there first."""
        if self._files is None or self._queue is None:
            self._content = self._open.enter_context(
                open_content(self._session, None, SILENT.stage("uploading"), enter=False)
            )
            self._files = FileEntries(self._content, self._session.blocks.hash)
            self._queue = PackQueue(self._content.data)
            held, self._held = self._held, []
            for read, source in held:
                self._pack(read, source)
        return self._files, self._queue

    def _pack(self, read: FileRead, source: str) -> None:
        files, queue = self._packing()
        extents, _ = files.place(read, lambda: None)
        queue.put((read._replace(data=b""), source), extents)
        for (ready, origin), places in queue.ready():
            self._note(ready, places, origin)

    def _note(self, read: FileRead, places: Extents, source: str, data: bytes | None = None) -> None:
        file = read.file
        entry = TreeEntry(
            file.names[-1], file.kind, read.size, read.hash, file.mtime_ns, file.metadata, extents=tuple(places)
        )
        self._done[file.names] = PartEntry(file.names, entry, read.blocks, data, source)

    def entries(self) -> list[PartEntry]:
        """Return all in tree order, once what they lie in is in the bucket."""
        for read, source in self._held:
            self._note(read, (), source, read.data if read.size else None)
        self._held = []
        if self._queue is not None and self._content is not None:
            for (ready, origin), places in self._queue.rest():
                self._note(ready, places, origin)
            self._content.finish_data()
        return [self._done[path] for path in sorted(self._done)]

    @property
    def sent(self) -> tuple[int, int]:
        """Data objects that went to the bucket, and their bytes."""
        found = self._content.sent[True] if self._content is not None else None
        return (found.objects, found.bytes) if found is not None else (0, 0)


def _read(descriptor: int, offset: int, length: int, source: str, name: str) -> bytes:
    parts = []
    at = offset
    while at < offset + length:
        piece = os.pread(descriptor, offset + length - at, at)
        if not piece:
            break
        parts.append(piece)
        at += len(piece)
    if at != offset + length or os.fstat(descriptor).st_size < offset + length:
        raise ConflictError(f"{name!r} of {source} changed while it was read", why="it is still being written")
    return b"".join(parts)
