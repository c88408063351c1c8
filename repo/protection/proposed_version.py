"""A version that a protected branch is to stand at, as checks see it: what it holds, and what others call it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.diff import Change, diff
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, display_path, split_path
from penstock.manifest.metadata import parse_metadata
from penstock.manifest.node import IndexNode, Leaf
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.repo.query.query_record import Record
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.bucket_session import BucketSession

__all__ = ["ProposedVersion", "is_content", "leaves"]


@dataclass(frozen=True, slots=True)
class ProposedVersion:
    """`manifest`, all of whose nodes and data are in the bucket, after `base`, which has passed; None: nothing has.

    `commit` is there already, where a branch is only to be moved; `merged` are commits that a merge brings in.
    """

    session: BucketSession
    repository: Repository
    access: WriteAccess
    branch: str
    manifest: Manifest
    base: Manifest | None
    commit: VersionId | None
    merged: tuple[bytes, ...]
    author: str

    def changes(self, *, all_of_it: bool = False) -> Iterator[Change]:
        """Yield what changed since the version that passed, in tree order; or all that there is."""
        base = self.base.root if self.base is not None and not all_of_it else None
        return diff(base, self.manifest.root, self.session.load, self.session.load)

    def record(self, change: Change) -> Record:
        """Return a file as rules see it."""
        entry = change.new
        assert entry is not None
        metadata = parse_metadata(self.session.nodes.metadata(entry.metadata))
        return Record(display_path(change.path), entry.size, entry.shown_hash, metadata)

    def head(self, entry: TreeEntry, length: int) -> bytes:
        """Return the first bytes of a file."""
        if not entry.size:
            return b""
        return bytes(self.session.blocks.fetch(entry, 0, 1)[0][:length])

    def find(self, path: str) -> TreeEntry | None:
        """Return what is at a path; None: nothing."""
        try:
            return Tree(self.manifest.root, self.session.load).resolve(split_path(path))[1]
        except (NotFoundError, UsageError):
            return None


def leaves(session: BucketSession, root: NodeRef) -> Iterator[Leaf]:
    """Yield the leaves of a tree, each node once."""
    pending, seen = [root], set[bytes]()
    while pending:
        ref = pending.pop()
        if ref.hash in seen:
            continue
        seen.add(ref.hash)
        node = session.load(ref)
        if isinstance(node, IndexNode):
            pending += reversed(node.children)
        else:
            yield node
            pending += [directory for _, directory in node.directories()]


def is_content(leaf: Leaf, at: int) -> bool:
    """Whether an entry of a leaf is a file with something in it."""
    kind, size, _, _ = leaf.content(at)
    return kind <= Kind.EXECUTABLE and size > 0
