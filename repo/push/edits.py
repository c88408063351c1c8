"""A version made by edits, from anywhere: local files, bytes, entries of other versions, addresses of objects.

Edits come in tree order, each path once, and are applied to a base tree: only nodes on the way to what changed are
read and written, and nothing needs a directory. Memory does not grow with their number: bytes that are read ahead or
being sent, the pack that is being filled and what waits for it, one unfinished slice of each directory that is open.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from penstock.errors import NotFoundError, UsageError
from penstock.lru import Lru
from penstock.manifest.entry import BLOCK_SIZE, Extents, Kind, Metadata, Pages, TreeEntry
from penstock.manifest.hashing import ContentHasher, content_hash
from penstock.manifest.merge import Choose
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress, Stage
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.landing import Landed
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.upload import Sent
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter

from .directory_walk import LocalFile
from .file_entries import FileEntries
from .file_reader import PACKED_SIZE, PIECE_SIZE, FilePiece, FileRead, read_ahead
from .local_path import file_error
from .local_tree import threads
from .older_state import OlderState

__all__ = [
    "EditedContent",
    "EditsReport",
    "GivenBytes",
    "LocalFiles",
    "PlacedEdits",
    "VersionEdit",
    "apply_edits",
    "file_piece",
    "land_edits",
    "whole_file",
]


@dataclass(frozen=True, slots=True)
class GivenBytes:
    """A file whose content is in memory. `metadata` is canonical JSON, or empty."""

    names: tuple[bytes, ...]
    data: bytes
    kind: Kind = Kind.FILE
    mtime_ns: int = 0
    metadata: bytes = b""


_FOLDERS = 1000

VersionEdit = LocalFile | GivenBytes | FilePiece | FileRead | Edit
"""A file is to be there, of this disk, of bytes, or read already, as `read_ahead` takes it; or, as
`manifest.update.Edit` says it: an entry as it is, from another version of the bucket or with an address of its own, a
directory and its metadata, or nothing."""


@dataclass(frozen=True, slots=True)
class EditsReport:
    """What came of edits: where they landed, and the objects that went to the bucket for it."""

    landed: Landed
    data: Sent
    nodes: Sent


class LocalFiles:
    """Finds files of this disk that are named one by one. Directories that they are in are followed once."""

    def __init__(self) -> None:
        self._folders: Lru[str, tuple[tuple[int, int], bytes]] = Lru(_FOLDERS)

    def find(self, names: tuple[bytes, ...], path: str, metadata: bytes = b"") -> LocalFile:
        """Return an edit that puts a file at a path of the version; a symlink to it is followed.

        NotFoundError: there is none. UsageError: it is no file.
        """
        try:
            real, facts = self._real(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"no file {path!r}", fix="Name the file to read.") from error
        except OSError as error:
            raise file_error(os.fsencode(path), error) from error
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"{path!r} is no file", fix="Name a file; what is in a directory is added file by file.")
        kind = Kind.EXECUTABLE if facts.st_mode & stat.S_IXUSR else Kind.FILE
        return LocalFile(names, real, kind, facts.st_size, facts.st_mtime_ns, metadata)

    def _real(self, path: str) -> tuple[bytes, os.stat_result]:
        """Return the path without symlinks, and what `lstat` says of it."""
        above, name = os.path.split(path)
        if name in ("", ".", ".."):
            real = os.fsencode(os.path.realpath(path))
            return real, os.lstat(real)
        facts = os.stat(above or ".")
        seen = facts.st_dev, facts.st_ino
        known = self._folders.get(above)
        if known is None or known[0] != seen:  # a symlink may lead elsewhere by now, or this process be elsewhere
            known = seen, os.fsencode(os.path.realpath(above))
            self._folders.put(above, known)
        real = os.path.join(known[1], os.fsencode(name))
        facts = os.lstat(real)
        if stat.S_ISLNK(facts.st_mode):
            real = os.path.realpath(real)
            facts = os.lstat(real)
        return real, facts


def land_edits(
    writer: VersionWriter,
    base: VersionId | None,
    edits: Iterable[VersionEdit],
    *,
    metadata: Metadata | None = None,
    choose: Choose | None = None,
    progress: Progress = SILENT,
) -> EditsReport:
    """Apply edits to a version, and land what comes of it on the writer's branch, with the tag if there is one.

    `base` is the version that the edits were made for, None: nothing; a branch that has moved since is merged with.
    `metadata` is the version's own, None: as it was.

    MergeConflictError names paths that others changed as well. Any of `penstock.errors` may come up: the branch is then
    where it was, and what was sent is found again by the next try. Errors of edits as `manifest.update.update`.
    """
    writer.check_names()
    writer.hold(base)
    before = writer.repository.manifest(base.top_hash) if base is not None else None
    if metadata is None:
        metadata = before.metadata if before is not None else b""
    made = apply_edits(writer, before, edits, metadata, progress)
    manifest = made.manifest
    landed = writer.land(base.commit if base is not None else None, manifest, choose)
    writer.tag_version(landed.published)
    return EditsReport(landed, made.data, made.nodes)


@dataclass(frozen=True, slots=True)
class EditedContent:
    """What a version contains, all of it in the bucket, and the objects that went there for it."""

    manifest: Manifest
    data: Sent
    nodes: Sent


def apply_edits(
    writer: VersionWriter,
    before: Manifest | None,
    edits: Iterable[VersionEdit],
    metadata: Metadata,
    progress: Progress = SILENT,
) -> EditedContent:
    """Apply edits to what a version contains, under the lease that the writer holds. Errors as `land_edits`."""
    reading = progress.stage("reading")
    with writer.content(before, enter=False) as content:
        source = PlacedEdits(writer.session, content, before, reading)
        root = before.root if before is not None else EMPTY_DIRECTORY
        with closing(source.edits(edits)) as placed:
            manifest = content.finish(update(root, placed, writer.session.load, content), metadata)
    return EditedContent(manifest, content.sent[True], content.sent[False])


_Waiting = Edit | tuple[FileRead, Pages]


class PlacedEdits:
    """Reads what edits speak of, sends what is new of it, and gives edits of a tree, which was `base`."""

    def __init__(
        self,
        session: BucketSession,
        content: VersionContent,
        base: Manifest | None,
        reading: Stage,
        older: Callable[[tuple[bytes, ...]], TreeEntry | None] | None = None,
    ) -> None:
        """With `older`, that says what the older state of a file is, and not `base`."""
        self._files = FileEntries(content, session.blocks.hash)
        self._foresee = content.foresee
        self._older = older or OlderState(Tree(base.root, session.load) if base is not None else None).find_path
        self._queue: PackQueue[_Waiting] = PackQueue(content.data)
        self._reading = reading

    def edits(self, edits: Iterable[VersionEdit]) -> Generator[Edit, None, None]:
        """Yield edits of the tree, in order."""
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
            for step in stack.enter_context(closing(read_ahead(_steps(edits), pool, self._foresee))):
                if isinstance(step, FilePiece):
                    self._files.take_piece(step, partial(self._older, step.file.names))
                    self._reading.advance(len(step.data))
                    continue
                if isinstance(step, FileRead):
                    self._reading.advance(len(step.data))
                    extents, pages = self._files.place(step, partial(self._older, step.file.names))
                    self._queue.put((FileRead(step.file, step.size, step.hash, step.blocks, b""), pages), extents)
                else:
                    self._queue.put(step)
                if self._queue.is_ready:
                    yield from map(self._placed, self._queue.ready())
            yield from map(self._placed, self._queue.rest())

    def _placed(self, ready: tuple[_Waiting, Extents]) -> Edit:
        waiting, extents = ready
        if isinstance(waiting, Edit):
            return waiting
        read, pages = waiting
        return Edit(read.file.names, self._files.entry(read, extents, pages))


def _steps(edits: Iterable[VersionEdit]) -> Iterator[LocalFile | FilePiece | FileRead | Edit]:
    for edit in edits:
        if isinstance(edit, GivenBytes):
            yield from _given(edit)
        else:
            yield edit


def _given(edit: GivenBytes) -> Iterator[FilePiece | FileRead]:
    """Cut bytes as a file that is read is cut."""
    data, size = edit.data, len(edit.data)
    file = LocalFile(edit.names, b"", edit.kind, size, edit.mtime_ns, edit.metadata)
    if size <= PACKED_SIZE:
        yield whole_file(file, data)
    else:
        for offset in range(0, size, PIECE_SIZE):
            yield file_piece(file, offset, data[offset : offset + PIECE_SIZE])


def whole_file(file: LocalFile, data: bytes) -> FileRead:
    """Return a file of up to `PACKED_SIZE` bytes as read."""
    if len(data) <= BLOCK_SIZE:
        return FileRead(file, len(data), content_hash(data), b"", data)
    hasher = ContentHasher()
    hasher.update(data)
    digest, blocks = hasher.finish()
    return FileRead(file, len(data), digest, blocks, data)


def file_piece(file: LocalFile, offset: int, data: bytes) -> FilePiece:
    """Return a piece of a larger file as read: `PIECE_SIZE` bytes, or the last ones."""
    view = memoryview(data)
    blocks = b"".join(content_hash(view[at : at + BLOCK_SIZE]) for at in range(0, len(data), BLOCK_SIZE))
    return FilePiece(file, offset, data, content_hash(data), blocks)
