"""Publish a tree that was built on this disk: its nodes go to the bucket, and a branch is moved to the version.

The files' bytes are in the bucket, or lie elsewhere for good. **Invariant:** a version is published only when every
data object that it names anew is in the bucket, looked at under the lease that keeps `gc` from it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from msgspec import structs

from penstock.errors import IntegrityError
from penstock.manifest.build import keep_metadata
from penstock.manifest.codec import encode_page
from penstock.manifest.entry import (
    PAGE_BLOCKS,
    DocumentRef,
    Extent,
    External,
    Metadata,
    PageRef,
    TreeEntry,
    block_count,
)
from penstock.manifest.merge import Choose
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.repo.bucket import object_keys
from penstock.repo.push.in_place import is_unversioned
from penstock.repo.refs.repository import VersionId
from penstock.repo.write.landing import Landed
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter

from .draft_edits import draft_edits, new_files
from .draft_tree import DraftTree

__all__ = ["check_data", "land_draft"]

_REQUESTS = 16


def land_draft(
    writer: VersionWriter,
    draft: DraftTree,
    parent: VersionId | None,
    choose: Choose | None = None,
) -> Landed:
    """Land a draft on the writer's branch, which is held, and give it the writer's tag, if any.

    `parent` is the version that it was made from: of a branch that moved on since, what changed there is merged in.
    MergeConflictError names what both changed; the branch is then where it was.
    """
    with writer.content(draft.base, enter=False) as content:
        base = draft.base.root if draft.base is not None else EMPTY_DIRECTORY
        sending = _Sending(draft, content)
        with closing(sending.edits()) as edits:
            root = update(base, edits, draft.load, content)
        manifest = content.finish(root, sending.metadata(draft.metadata))
    writer.note_pins(sending.unpinned, sending.unversioned)
    landed = writer.land(parent.commit if parent is not None else None, manifest, choose)
    writer.tag_version(landed.published)
    return landed


class _Sending:
    """Gives the edits of a draft with all that they refer to in the bucket, or on its way there.

    It counts the objects of S3 among them as `VersionWriter.note_pins` has them, those of whole directories aside that
    come from another version.
    """

    def __init__(self, draft: DraftTree, content: VersionContent) -> None:
        self.unpinned = 0
        self.unversioned = 0
        self._draft = draft
        self._content = content

    def edits(self) -> Generator[Edit, None, None]:
        for edit in draft_edits(self._draft):
            yield edit if edit.entry is None else edit._replace(entry=self._entry(edit.entry))

    def _entry(self, entry: TreeEntry) -> TreeEntry:
        frames = self._draft.frames
        for each in entry.extents:
            if is_unversioned(each) and isinstance(each.object, External):
                self.unversioned += 1
                self.unpinned += each.object.etag is None
        if isinstance(entry.metadata, DocumentRef):
            entry = structs.replace(entry, metadata=self.metadata(entry.metadata, keep=False))
        if any(frames.has(page.location) for page in entry.pages):
            entry = structs.replace(entry, pages=tuple(self._pages(entry)))
        if any(_is_marked(each.object, frames.mark) for each in entry.extents):
            extents = tuple(Extent(_unmarked(each.object), each.offset, each.length) for each in entry.extents)
            entry = structs.replace(entry, extents=extents)
        return entry

    def _pages(self, entry: TreeEntry) -> Iterator[PageRef]:
        blocks = block_count(entry.size)
        for number, page in enumerate(entry.pages):
            hashes = self._draft.page(page, min(PAGE_BLOCKS, blocks - number * PAGE_BLOCKS))
            digest, frame = encode_page(hashes)
            yield PageRef(digest, self._content.write(frame))

    def metadata(self, metadata: Metadata, *, keep: bool = True) -> Metadata:
        """Return metadata whose document, if it is one, is not on this disk alone."""
        if isinstance(metadata, DocumentRef) and self._draft.frames.has(metadata.location):
            body = self._draft.frames.document(metadata)
            return keep_metadata(body, self._content) if keep else body
        return metadata


def _is_marked(found: bytes | External, mark: str) -> bool:
    return isinstance(found, External) and found.etag is not None and found.etag.startswith(mark)


def _unmarked(found: bytes | External) -> bytes | External:
    return External(found.uri) if isinstance(found, External) else found


def check_data(draft: DraftTree) -> None:
    """Look whether all data objects of the bucket are there that new files name. IntegrityError: one is gone.

    Between data and manifest there may be weeks; what no version needs, `gc` deletes in time.
    """
    assert draft.session is not None
    store = draft.session.store
    wanted: set[bytes] = set()
    for _, entry in new_files(draft):
        wanted.update(each.object for each in entry.extents if isinstance(each.object, bytes))
    with ThreadPoolExecutor(_REQUESTS, "penstock-check") as pool:
        for key, found in zip(
            keys := [object_keys.data_key(each) for each in sorted(wanted)], pool.map(store.head, keys), strict=True
        ):
            if found is None:
                raise IntegrityError(
                    f"{key} is not in {store.url} any more",
                    why="data that no version needs is deleted in time",
                    fix="Add the files again, push the data, and then the manifest.",
                )
