"""From a directory that was read to a tree, built anew in tree order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import Extents, Kind, Metadata, NodeRef, Pages, TreeEntry
from penstock.manifest.tree import Tree
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.version_content import VersionContent

from .directory_walk import EnterDirectory, LeaveDirectory
from .file_entries import FileEntries
from .file_reader import FilePiece, FileRead, ReadStep
from .local_attributes import kept_metadata
from .older_state import OlderState

__all__ = ["FilePacker"]

_Action = Callable[[Extents], None]


class FilePacker:
    """Takes what was read, in order; builds the tree; sends the data that is new.

    `parent` is the tree that the branch has now; `block_hash` gives hashes of blocks of its files. A directory on disk
    has no metadata: what the branch has of it for a path stays, unless it is not to be kept.
    """

    def __init__(
        self,
        builder: TreeBuilder,
        content: VersionContent,
        parent: Tree | None,
        block_hash: Callable[[TreeEntry, int], bytes],
        *,
        keep_metadata: bool = True,
    ) -> None:
        self._builder = builder
        self._older = OlderState(parent)
        self._keep_metadata = keep_metadata
        self._files = FileEntries(content, block_hash)
        self._queue: PackQueue[_Action] = PackQueue(content.data)
        self.files = 0
        self.bytes = 0

    def take(self, step: ReadStep) -> None:
        """Take the next step of `file_reader.read_ahead`."""
        if isinstance(step, FilePiece):
            self._files.take_piece(step, partial(self._older.find, step.file.names[-1]))
            return
        action: _Action
        extents: Extents = ()
        if isinstance(step, FileRead):
            is_link = step.file.kind is Kind.SYMLINK
            if not is_link:
                self.files += 1
                self.bytes += step.size
            before = self._older.find(step.file.names[-1])
            extents, pages = self._files.place(step, lambda: before)
            if self._keep_metadata and before is not None and before.metadata and before.directory is None:
                metadata = kept_metadata(before.metadata, step.file.metadata, step.file.path)
                step = step._replace(file=replace(step.file, metadata=metadata))
            action = partial(self._add, step if is_link or not step.data else step._replace(data=b""), pages)
        elif isinstance(step, EnterDirectory):
            base = self._older.enter(step.names[-1])
            metadata = step.metadata
            if self._keep_metadata and self._older.metadata:
                metadata = kept_metadata(self._older.metadata, metadata, b"/".join(step.names))
            action = partial(self._enter, step, base, metadata)
        else:
            assert isinstance(step, LeaveDirectory)
            self._older.leave()
            action = self._leave
        placed = self._queue.straight(extents)
        if placed is not None:
            action(placed)
            return
        self._queue.put(action, extents)
        for waited, where in self._queue.ready():
            waited(where)

    def finish(self) -> NodeRef:
        """Send the last pack; return the root of the tree."""
        for action, extents in self._queue.rest():
            action(extents)
        return self._builder.finish()

    def _add(self, read: FileRead, pages: Pages, extents: Extents) -> None:
        self._builder.add(self._files.entry(read, extents, pages))

    def _enter(self, step: EnterDirectory, base: NodeRef | None, metadata: Metadata, _: Extents) -> None:
        self._builder.enter(step.names[-1], mtime_ns=step.mtime_ns, metadata=metadata, base=base)

    def _leave(self, _: Extents) -> None:
        self._builder.leave()
