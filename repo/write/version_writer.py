"""One version in the making, on one branch: from the look at the branch and the lease to the ref that moves.

    check_names    may branch and tag be called so, and where does the branch stand? Nothing is written
    hold           leave to write (`write_access`): the lease under which what is found is built on
    content        new bytes and nodes are sent (`version_content`), and make a manifest
    publish        the manifest is the next version of the branch, as it was seen; ConflictError when it has moved
    land           the same, merged with what others did if it has moved (`landing`)
    move           the branch stands at a version that is there already
    tag_version    the version gets the tag

Whoever writes a version takes these steps, in this order: a push, a commit, a merge, a revert, a name for a version.

**Order**: data, node packs, manifest, commit, ref, tag. **Invariant**: when an error comes up the branch has not moved,
but for StoreUnreachableError: then its last request may have been heard. A crash anywhere leaves the old version whole,
and at most objects that nothing refers to. To do the same again is safe: what is there already is seen to be there.

Blocking; one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from penstock.errors import ConflictError
from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import NodeRef
from penstock.manifest.merge import Choose, Merged
from penstock.manifest.records import HeldRules, Manifest, RefRecord
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.refs.ref_names import branch_head, new_tag, require_head
from penstock.repo.refs.refs import Head, WriteAccess
from penstock.repo.refs.repository import DEFAULT_BRANCH, Repository, VersionId
from penstock.repo.refs.write_access import write_access
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.handle import check_ref_name

from .landing import Landed, until_it_stands, way_out
from .node_pack import NodePackWriter
from .publish import Authorship, move_branch, publish, stands_at, tag_version
from .tried_nodes import TriedNodes
from .version_content import VersionContent, open_content
from .version_merge import MergedVersion, conflict_error, merge_versions

__all__ = ["VersionWriter"]


class VersionWriter:
    """Writes one version of `repository`, a dataset in the bucket of `session`; closed when its block ends.

    `kind` is of the lease. `tag`: what the version is to be called as well. `progress` is told what is uploaded. With
    `dry_run` nothing is sent, and nothing may be published.

    `head` is where the branch was last seen to stand.
    """

    def __init__(
        self,
        session: BucketSession,
        repository: Repository,
        kind: LeaseKind,
        authorship: Authorship,
        *,
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        progress: Progress = SILENT,
        dry_run: bool = False,
    ) -> None:
        self.session = session
        self.repository = repository
        self.authorship = authorship
        self.branch = branch
        self.tag = tag
        self.dry_run = dry_run
        self.head: Head | None = None
        self._kind = kind
        self._progress = progress
        self._tagged: RefRecord | None = None
        self._access: WriteAccess | None = None
        self._tried: TriedNodes | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lease back, and end what is being sent."""
        self._open.close()

    def note_pins(self, unpinned: int, unversioned: int) -> None:
        """Have the version say how many of the objects that were added to it where they lie are pinned badly.

        Neither a version nor an ETag tells whether `unpinned` ones changed; `unversioned` ones are gone once they are
        overwritten. Nothing else could say it later: to count them is to read every node.
        """
        found = {"unpinned": unpinned, "unversioned": unversioned}
        noted = {name: str(count) for name, count in found.items() if count}
        self.authorship = replace(self.authorship, made_with={**self.authorship.made_with, **noted})

    def check_names(self) -> None:
        """Look where the branch stands, and what the names mean.

        UsageError: no branch, or no tag, can be called so. ConflictError: the tag stands for another version.
        """
        if self.tag is not None:
            check_ref_name(self.tag)  # before anything is asked of the store
        self.head = branch_head(self.repository, self.branch)
        if self.tag is not None:
            self._tagged = new_tag(self.repository, self.tag, self.branch)
        if self._tagged is not None and (self.head is None or self._tagged.commit != self.head.record.commit):
            raise self._tag_is_taken()

    def require_head(self) -> VersionId:
        """Return where the branch stands. NotFoundError: there is none; UsageError: it is a tag."""
        self.head = require_head(self.repository, self.branch)
        return stands_at(self.head)

    def hold(self, base: VersionId | None = None) -> None:
        """Take the lease, if it is not held yet; from here to `close`, gc deletes nothing.

        IntegrityError: `base`, a version that was found before that, is gone already. AccessError: the bucket may not
        be written. UsageError: it does not hold to create-if-absent, and nobody has accepted that.
        """
        if self._access is None:
            self._access = self._open.enter_context(
                write_access(self.repository, self._kind, self.session.settings, self.session.bucket)
            )
        if base is not None:  # a record that is in the bucket has all that it needs there
            if base.commit is not None:
                self.repository.commit(base.commit)
            self.repository.manifest(base.top_hash)

    @property
    def access(self) -> WriteAccess:
        """What `hold` took."""
        assert self._access is not None
        assert not self.dry_run
        return self._access

    @property
    def risk(self) -> str:
        """What to warn of: that the bucket may lose versions; empty when it does not."""
        return self._access.risk if self._access is not None else ""

    def base(self) -> Manifest | None:
        """Return what the branch contained when it was looked at; None: it was not there."""
        return self.repository.manifest(stands_at(self.head).top_hash) if self.head is not None else None

    def content(
        self, base: Manifest | None, *, enter: bool = True, like: Sequence[str] = ()
    ) -> AbstractContextManager[VersionContent]:
        """Open the content of the version, which is made from `base`, for as long as the block lasts.

        See `open_content`.
        """
        stage = self._progress.stage("uploading")
        return open_content(self.session, base, stage, enter=enter, dry_run=self.dry_run, like=like, tried=self._tried)

    def empty(self) -> Manifest:
        """Return a version with nothing in it, whose one node is in the bucket."""
        sink = NodePackWriter(self._put)
        root = TreeBuilder(sink).finish()
        sink.flush()
        return Manifest(sink.located(root))

    def _put(self, key: str, body: bytes) -> None:
        if not self.dry_run:
            self.repository.store.put(key, body)

    def merge(self, base: Manifest | None, ours: Manifest, theirs: Manifest, choose: Choose | None) -> MergedVersion:
        """Merge two versions, and send the nodes that are new. See `merge_versions`."""
        session, tried = self.session, self._tried
        if tried is not None:
            return merge_versions(base, ours, theirs, tried.load, tried.read, self._put, choose)
        read = session.nodes.metadata
        return merge_versions(base, ours, theirs, session.load, read, self._put, choose, session.load_many)

    def try_to_land(self, base: bytes | None) -> bool:
        """Have a dry run keep what it makes, so that `tried_merge` can tell how it would land; whether there is need.

        There is none where the branch stands at `base`, or is to be made.
        """
        if not self.dry_run or self.head is None or stands_at(self.head).commit == base:
            return False
        session = self.session
        self._tried = self._open.enter_context(TriedNodes(session.load, session.nodes.metadata))
        return True

    def tried_merge(self, base: bytes | None, manifest: Manifest, choose: Choose | None) -> tuple[bytes, Merged]:
        """Return which commit a version that was tried would be merged with, and what would come of it."""
        assert self.head is not None
        repository, at = self.repository, stands_at(self.head)
        before = repository.manifest(repository.commit(base).top_hash) if base is not None else None
        return at.known_commit, self.merge(before, repository.manifest(at.top_hash), manifest, choose).merged

    def check_tag(self, manifest: Manifest) -> None:
        """Raise ConflictError when the version that the branch has, which this is not, has the tag."""
        if self._tagged is not None and (self.head is None or self.head.record.top_hash != manifest.top_hash):
            raise self._tag_is_taken()

    def publish(
        self, manifest: Manifest, parents: Sequence[bytes] | None = None, attachments: NodeRef | None = None
    ) -> Landed:
        """Make a manifest the next version of the branch, which is to stand at `head`. ConflictError: it has moved.

        All data and nodes are in the bucket. `parents`, `attachments`: see `publish.publish`; without parents, a branch
        that has all of it stays where it is.
        """
        self.check_tag(manifest)
        at = stands_at(self.head) if self.head is not None else None
        if at is not None and parents is None and at.top_hash == manifest.top_hash:
            if self.tag is not None:
                self.repository.commit(at.known_commit)  # is there still, should the branch have moved meanwhile
            return Landed(at, None, manifest, changed=False)
        held = self._held(manifest, None, tuple(parents or ())[1:])
        published = publish(
            self.repository, self.access, self.branch, self.head, manifest, self.authorship, parents, attachments, held
        )
        return Landed(published, None, manifest, changed=True)

    def land(self, base: bytes | None, manifest: Manifest, choose: Choose | None = None) -> Landed:
        """Make `manifest`, which was made from the commit `base`, the next version of the branch; merge if it moved.

        All data and nodes are in the bucket. `base` None: it was made from nothing. A branch that is not there (or was
        deleted) is made, with `base` as the parent.

        `choose` settles conflicts: Side.OURS is what the branch has, Side.THEIRS what is landed. MergeConflictError
        names those that are left. ConflictError: the branch was overtaken by others ten times in a row.
        """
        self.check_tag(manifest)
        # Where the branch was seen to stand at the base, it stands there still if its next record can be made.
        seen = [self.head] if self.head is not None and stands_at(self.head).commit == base else []
        return until_it_stands(lambda: self._land(seen.pop() if seen else self._look(), base, manifest, choose))

    def _look(self) -> Head | None:
        self.head = branch_head(self.repository, self.branch)
        return self.head

    def _land(self, head: Head | None, base: bytes | None, manifest: Manifest, choose: Choose | None) -> Landed:
        repository = self.repository
        if head is None:
            return self.publish(manifest, () if base is None else (base,))
        at = stands_at(head)
        if at.commit == base:
            return self.publish(manifest)
        # Read only now: a branch that has not moved needs none of this.
        before = repository.manifest(repository.commit(base).top_hash) if base is not None else None
        found = self.merge(before, repository.manifest(at.top_hash), manifest, choose)
        if found.manifest is None:
            operation = self.authorship.operation
            committing = operation == "commit"
            raise conflict_error(
                found.merged, self.branch, repository.dataset, way_out(operation), committing=committing
            )
        return replace(self.publish(found.manifest), merged_with=at.commit)

    def move(self, to: VersionId | None) -> None:
        """Let the branch, which is to stand at `head`, stand at a version that is there; None: delete it.

        ConflictError: it has moved. ProtectedError: the branch is protected, and the version is not as its rules want
        it.
        """
        manifest = self.repository.manifest(to.top_hash) if to is not None else None  # is there, and was not let go
        held = self._held(manifest, to)
        move_branch(self.repository, self.access, self.branch, self.head, to, self.authorship, held)

    def _held(self, manifest: Manifest | None, to: VersionId | None, merged: Sequence[bytes] = ()) -> HeldRules | None:
        """Hold what the branch is to stand at against its rules, if it has some. ProtectedError: it does not fit."""
        found = self.access.protection()
        if found is None or self.branch not in found[1].branches:
            return None
        from penstock.repo.protection.clearance import Proposal, clear

        proposal = Proposal(self.branch, self.head, manifest, to, tuple(merged), self.authorship.author)
        return clear(self.session, self.repository, self.access, found, proposal)

    def tag_version(self, version: VersionId) -> bool:
        """Give a version the tag, if one is asked for; whether it is. ConflictError: the tag stands for another one."""
        if self.tag is None:
            return False
        tag_version(self.repository, self.access, self.tag, version, self.authorship)
        return True

    def _tag_is_taken(self) -> ConflictError:
        return ConflictError(
            f"tag {self.tag!r} of {self.repository.dataset!r} exists already",
            why="it stands for another version, and tags never move",
            fix="Choose another name.",
        )
