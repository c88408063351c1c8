"""What is in a tracked directory becomes a version in the local bucket: only what changed since is read.

The version that the directory was brought to last is edited (manifest/update): what it costs is the look at each name,
and the bytes that changed. Nothing of the directory is written to. **Order**: data, nodes, manifest, all synced;
whoever calls then writes the pointer, and last the index. Killed before that, nothing but garbage in the local bucket
is left.

One thread; files are read in threads of a pool.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from msgspec import structs

from penstock.errors import ConflictError
from penstock.manifest.entry import Extents, Kind, Pages, TreeEntry
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import Stage
from penstock.repo.bucket import object_keys
from penstock.repo.local_copy.local_directory import local_error
from penstock.repo.push.directory_walk import LocalFile, Skipped
from penstock.repo.push.file_entries import FileEntries
from penstock.repo.push.file_reader import FilePiece, FileRead, read_ahead
from penstock.repo.push.local_tree import threads
from penstock.repo.push.older_state import OlderState
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.version_content import VersionContent, open_content

from .linked_objects import LinkedObjects, linked_extent, linked_facts
from .survey import Suspect
from .tracked_index import FOLDER_FACTS, FileFacts, facts_of, key_of

__all__ = ["Addition", "FactsSink", "add_version"]


@dataclass(slots=True)
class Addition:
    """What came of it: the version, and what is new in it. `bytes_read` of files that were read for it."""

    manifest: Manifest
    added: int = 0
    modified: int = 0
    removed: int = 0
    files_read: int = 0
    bytes_read: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many paths are other ones than before."""
        return self.added + self.modified + self.removed


class FactsSink(Protocol):
    """What is told of each file that was read: an `IndexWriter`, or whoever has no use for it."""

    def put(self, key: bytes, facts: FileFacts, /) -> None:
        """Note what is known of a file now."""
        ...

    def remove(self, key: bytes, /) -> None:
        """Know nothing of a file any more."""
        ...

    def stand_at(self, top: bytes, /) -> None:
        """Note the version that came of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Folder:
    finding: Suspect


@dataclass(frozen=True, slots=True)
class _Gone:
    finding: Suspect


@dataclass(frozen=True, slots=True)
class _Placed:
    read: FileRead
    pages: Pages
    older: TreeEntry | None


def add_version(
    session: BucketSession,
    dataset: str,
    base: Manifest | None,
    findings: Iterator[Suspect],
    writer: FactsSink,
    stage: Stage,
    uploading: Stage,
    skipped: list[Skipped],
    links: LinkedObjects | None = None,
) -> Addition:
    """Make a version of `base` and what was found beside it, in the local bucket that is open as `session`.

    `findings` come from a survey that held the directory against the rows of `writer`'s path, which stood at `base`;
    the rows are brought up to date. With `links`, files are objects of their own, and not copied. Any of
    `penstock.errors` may come up: nothing has changed then, if the writer's block ends with it.
    """
    with ExitStack() as stack:
        content = stack.enter_context(open_content(session, base, uploading, enter=False))
        pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
        adding = _Adding(session, base, content, writer, stage, links)
        edits = stack.enter_context(closing(adding.edits(findings, pool)))
        root = update(base.root if base is not None else EMPTY_DIRECTORY, edits, session.load, content)
        if base is not None and root.hash == base.root.hash:
            root = base.root
        if links is not None:
            with _told():
                links.sync()
        manifest = content.finish(root, base.metadata if base is not None else b"")
    store = session.store
    key = object_keys.manifest_key(dataset, manifest.top_hash.hex())
    if links is not None:
        store.put(key, manifest.encode())  # where its bytes lie may be elsewhere than before
    elif not store.create(key, manifest.encode()):
        session.repository(dataset).manifest(manifest.top_hash)  # raises, if it is damaged
    addition = adding.addition(manifest)
    addition.skipped = skipped
    writer.stand_at(manifest.top_hash)
    return addition


class _Adding:
    """Reads what was found, in tree order, and gives the edits that make the version."""

    def __init__(
        self,
        session: BucketSession,
        base: Manifest | None,
        content: VersionContent,
        writer: FactsSink,
        stage: Stage,
        links: LinkedObjects | None,
    ) -> None:
        self._links = links
        self._foresee = content.foresee
        self._files = FileEntries(content, session.blocks.hash)
        self._older = OlderState(Tree(base.root, session.load) if base is not None else None)
        self._queue: PackQueue[_Placed | Edit] = PackQueue(content.data)
        self._writer = writer
        self._stage = stage
        self._began_ns = time.time_ns()
        self._findings: dict[tuple[bytes, ...], Suspect] = {}
        self._counts = {"added": 0, "modified": 0, "removed": 0}
        self._files_read = self._bytes_read = 0

    def addition(self, manifest: Manifest) -> Addition:
        """Return what was done."""
        counts = self._counts
        return Addition(
            manifest, counts["added"], counts["modified"], counts["removed"], self._files_read, self._bytes_read
        )

    def edits(self, findings: Iterator[Suspect], pool: ThreadPoolExecutor) -> Generator[Edit, None, None]:
        """Yield the edits, in tree order."""
        gone: tuple[bytes, ...] | None = None
        with closing(read_ahead(self._steps(findings), pool, self._foresee)) as steps:
            for step in steps:
                if isinstance(step, FilePiece):
                    self._stage.advance(len(step.data))
                    if self._links is None:
                        self._files.take_piece(step, partial(self._older.find_path, step.file.names))
                elif isinstance(step, FileRead):
                    self._take(step)
                elif isinstance(step, _Gone):
                    names, known = step.finding.names, step.finding.known
                    self._writer.remove(key_of(names))
                    self._counts["removed"] += known is not None and known.kind != Kind.DIRECTORY
                    if gone is None or names[: len(gone)] != gone:
                        gone = names
                        self._queue.put(Edit(names, None, missing_ok=True))
                else:
                    assert isinstance(step, _Folder)
                    names, status = step.finding.names, step.finding.status
                    assert status is not None
                    self._writer.put(key_of(names), FOLDER_FACTS)
                    self._queue.put(Edit(names, TreeEntry(names[-1], Kind.DIRECTORY, mtime_ns=status.st_mtime_ns)))
                yield from self._made(self._queue.ready())
            yield from self._made(self._queue.rest())

    def _steps(self, findings: Iterator[Suspect]) -> Iterator[LocalFile | _Folder | _Gone]:
        for finding in findings:
            if finding.status is None:
                yield _Gone(finding)
            elif finding.kind is Kind.DIRECTORY:
                yield _Folder(finding)
            else:
                assert finding.kind is not None
                self._findings[finding.names] = finding
                status = finding.status
                yield LocalFile(finding.names, finding.path, finding.kind, status.st_size, status.st_mtime_ns)

    def _take(self, read: FileRead) -> None:
        finding = self._findings.pop(read.file.names)
        status, known = finding.status, finding.known
        assert status is not None
        assert finding.kind is not None
        self._files_read += 1
        self._bytes_read += read.size
        self._stage.advance(len(read.data))
        facts = facts_of(finding.kind, status, read.hash, self._began_ns)
        if (status.st_size, status.st_mtime_ns) != (read.size, read.file.mtime_ns):
            facts = facts._replace(size=read.size, ctime_ns=0)
        older = self._older.find_path(finding.names)
        pages: Pages = ()
        if self._links is not None and read.size and read.file.kind is not Kind.SYMLINK:
            with _told():
                taken = self._links.take(finding.path, status, read.hash, finding.kind)
            if not taken.is_stored:
                raise _changed(finding.path)
            if taken.status is not None:
                facts = linked_facts(finding.kind, taken.status, read.hash)
            extents: Extents = linked_extent(read.hash, read.size)
        else:
            extents, pages = self._files.place(read, lambda: older)
        self._writer.put(key_of(finding.names), facts)
        if self._links is None and older is not None and older.hash == read.hash and older.kind == finding.kind:
            return
        self._counts["added" if known is None else "modified"] += 1
        kept = read._replace(data=b"") if read.data and read.file.kind is not Kind.SYMLINK else read
        self._queue.put(_Placed(kept, pages, older), extents)

    def _made(self, ready: Iterator[tuple[_Placed | Edit, Extents]]) -> Iterator[Edit]:
        for item, extents in ready:
            if isinstance(item, Edit):
                yield item
                continue
            entry = self._files.entry(item.read, extents, item.pages)
            if item.older is not None and item.older.directory is None and item.older.metadata:
                entry = structs.replace(entry, metadata=item.older.metadata)
            yield Edit(item.read.file.names, entry)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise local_error(error, "cannot link a file into the local bucket") from error


def _changed(path: bytes) -> ConflictError:
    return ConflictError(
        f"{os.fsdecode(path)!r} changed while it was being read",
        why="nothing was added",
        fix="Run the command again when nothing writes to it.",
    )
