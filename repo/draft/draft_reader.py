"""What a tree in the making holds, read: from files of this disk, from its bucket, from wherever entries point.

Every block is held against its hash. Blocking; one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from penstock.errors import IntegrityError, NotFoundError
from penstock.manifest.entry import (
    BLOCK_SIZE,
    Extent,
    External,
    Metadata,
    NodeRef,
    TreeEntry,
    block_count,
    display_path,
    split_path,
)
from penstock.manifest.extents import cut_extents
from penstock.manifest.hashing import content_hash
from penstock.manifest.tree import Tree
from penstock.repo.fetch.regions import describe_object
from penstock.repo.push.local_path import file_error, open_path
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.settings import Settings
from penstock.store.base import Store
from penstock.store.opening import open_store

from .draft_tree import DraftTree
from .local_source import local_path
from .packed_data import changed_since
from .version_source import brought_objects, read_brought

__all__ = ["DraftReader"]


class DraftReader:
    """Reads one state of a tree; has the methods of a `Snapshot` that looking at entries takes."""

    def __init__(self, draft: DraftTree, settings: Settings) -> None:
        self._draft = draft
        self._settings = settings
        self.root: NodeRef = draft.root
        self.root_metadata: Metadata = draft.metadata
        self.read_metadata = draft.read_metadata

    @property
    def tree(self) -> Tree:
        """The tree, loading nodes as they are needed."""
        return Tree(self.root, self._draft.load)

    def find(self, path: str) -> TreeEntry:
        """Return the entry at a path. NotFoundError: there is none."""
        names = split_path(path)
        try:
            return self.tree.resolve(names)[1]
        except NotFoundError as error:
            raise NotFoundError(f"no {display_path(names)!r} in it", fix="`ls()` shows what there is.") from error

    def read(self, entry: TreeEntry, wanted: range | None = None) -> Iterator[memoryview]:
        """Yield a file's blocks in order, or those of a range. ConflictError: a local file changed since it was added.

        IntegrityError, AccessError: what an entry points to is not what it was, or may not be read.
        """
        with ExitStack() as stack:
            for index in wanted if wanted is not None else range(block_count(entry.size)):
                length = min(BLOCK_SIZE, entry.size - index * BLOCK_SIZE)
                yield memoryview(self._block(entry, index, length, stack))

    def _block(self, entry: TreeEntry, index: int, length: int, stack: ExitStack) -> bytes | memoryview:
        digest = self._draft.block_hash(entry, index)
        mark = self._draft.frames.mark
        place = local_path(entry, mark)
        if place is not None:
            block = _read_file(place, index * BLOCK_SIZE, length)
            if content_hash(block) != digest:
                raise changed_since(place)
            return block
        if brought_objects(entry, mark):
            block = read_brought(entry, index * BLOCK_SIZE, length, lambda address: self._open(address, stack))
        elif self._draft.session is not None and not entry.pages:
            return self._draft.session.blocks.fetch(entry, index, 1)[0]
        else:
            parts = cut_extents(entry.extents, index * BLOCK_SIZE, length)
            block = b"".join(self._part(part, stack) for part in parts)
        if not entry.is_identity and content_hash(block) != digest:
            places = sorted({describe_object_of(part) for part in entry.extents})
            raise IntegrityError(
                f"{entry.name.decode('utf-8', 'replace')!r} cannot be read",
                why=f"the bytes in {' and '.join(places)} have another hash",
                fix="Add it again.",
            )
        return block

    def _part(self, part: Extent, stack: ExitStack) -> bytes:
        session = self._draft.session
        if session is None:
            assert isinstance(part.object, External)  # nothing was added from a bucket
            name = part.object.uri.removeprefix("s3://").partition("/")[0]
            session = stack.enter_context(open_session(f"s3://{name}", self._settings, cached=False))
        return session.regions.get(part.object, part.offset, part.length)

    def _open(self, address: str, stack: ExitStack) -> Store:
        session = self._draft.session
        if session is not None and address.startswith("s3://"):
            return stack.enter_context(session.externals.open(address))
        return stack.enter_context(open_store(address))

    def physical(self, entry: TreeEntry) -> list[tuple[str, int, int]]:
        """Say where a file's bytes lie: the address, offset and length of each part."""
        store = self._draft.session.store if self._draft.session is not None else None
        return [
            (describe_object(store, e.object) if store is not None else describe_object_of(e), e.offset, e.length)
            for e in entry.extents
        ]


def describe_object_of(extent: Extent) -> str:
    """Return the address of what an extent is of."""
    return extent.object.uri if isinstance(extent.object, External) else extent.object.hex()


def _read_file(place: bytes, offset: int, length: int) -> bytes:
    try:
        descriptor = open_path(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(place, error) from error
