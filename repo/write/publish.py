"""Publish a tree as a version: manifest, commit record, ref, tag, in an order that a crash cannot turn into harm.

All data and nodes are in the bucket before the first of these is written; the ref moves after all the rest. A crash
anywhere leaves the old version whole, and at most objects that nothing refers to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.entry import NodeRef
from penstock.manifest.hashing import commit_id
from penstock.manifest.records import Commit, HeldRules, Manifest, RefRecord, format_time
from penstock.repo.bucket import object_keys
from penstock.repo.refs.refs import Head, WriteAccess, write_id
from penstock.repo.refs.repository import Repository, VersionId

from .authorship import environment

__all__ = ["Authorship", "check_text", "copy_commit", "move_branch", "publish", "stands_at", "tag_version"]


_LONGEST_TEXT = 64 << 10


@dataclass(frozen=True, slots=True)
class Authorship:
    """What a person says of a version: who made it, and why. UsageError: no UTF-8, or more than 64 KiB.

    `mark`, if any, is kept in the commit's environment: who crashed while it landed finds it by that. `made_with` is
    what that environment says beside what it always does. `time`, as `format_time` writes it, is when the version was
    made, where that was not now.
    """

    author: str
    message: str
    operation: str
    mark: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)
    time: str = ""

    def __post_init__(self) -> None:
        check_text("author", self.author)
        check_text("message", self.message)


def check_text(what: str, text: str) -> None:
    """Raise UsageError for a text that no record takes: no UTF-8, or more than 64 KiB."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"the {what} is not UTF-8", why=str(error), fix="Write it in UTF-8.") from error
    if size > _LONGEST_TEXT:
        raise UsageError(f"the {what} has {size} bytes", why=f"the most is {_LONGEST_TEXT}", fix="Make it shorter.")


def stands_at(head: Head) -> VersionId:
    """Return the version that a branch stands at."""
    commit, top_hash = head.record.commit, head.record.top_hash
    assert commit is not None  # `Refs.head` gives none that is deleted
    assert top_hash is not None
    return VersionId(top_hash, commit)


def _record(authorship: Authorship, published: VersionId | None, time: str, held: HeldRules | None = None) -> RefRecord:
    commit, top_hash = (published.known_commit, published.top_hash) if published is not None else (None, None)
    return RefRecord(commit, top_hash, authorship.author, time, authorship.operation, write_id(), held)


def publish(
    repository: Repository,
    access: WriteAccess,
    branch: str,
    head: Head | None,
    manifest: Manifest,
    authorship: Authorship,
    parents: Sequence[bytes] | None = None,
    attachments: NodeRef | None = None,
    held: HeldRules | None = None,
) -> VersionId:
    """Make a manifest the next version of a branch that was seen at `head`. ConflictError: it moved meanwhile.

    `parents` are the ids of the commits that it comes from, the one that the branch stood at first; that one alone
    by default. All data and nodes of the manifest, and of the directory of `attachments`, are in the bucket already.
    `held`: the rules of the branch that this was held against.
    """
    if parents is None:
        parents = (head.record.commit,) if head is not None and head.record.commit else ()
    store, dataset = repository.store, repository.dataset
    time = format_time(dt.datetime.now(dt.UTC))
    top_hash = manifest.top_hash
    if not access.create(store, object_keys.manifest_key(dataset, top_hash.hex()), manifest.encode(), contested=False):
        # The same content was published before, perhaps from other packs: those stay the ones in use.
        repository.manifest(top_hash)
    commit = Commit(
        top_hash,
        manifest.root.entries,
        manifest.root.size,
        tuple(parents),
        authorship.author,
        authorship.time or time,
        authorship.message,
        {
            **environment(authorship.operation),
            **authorship.made_with,
            **({"write_id": authorship.mark} if authorship.mark else {}),
            **({"protection": str(held.rules)} if held is not None else {}),
        },
        attachments,
    )
    body = commit.encode()
    published = VersionId(top_hash, commit_id(body))
    if not access.create(store, object_keys.commit_key(dataset, published.known_commit.hex()), body, contested=False):
        raise IntegrityError(
            f"commit {published.known_commit.hex()} in {store.url} is not what its id says",
            fix="Something else has changed the object: restore it from a copy of the bucket.",
        )
    repository.refs.move(access, branch, head, _record(authorship, published, time, held))
    return published


def copy_commit(repository: Repository, access: WriteAccess, manifest: Manifest, body: bytes) -> VersionId:
    """Put a commit of another bucket, as it is, into this one, which has all that `manifest` needs.

    IntegrityError: the commit is of another content. Its parents have to be here already.
    """
    commit = Commit.decode(body, commit_id(body))
    if commit.top_hash != manifest.top_hash:
        raise IntegrityError(
            f"commit {commit_id(body).hex()} is of another content",
            why=f"its top hash is {commit.top_hash.hex()}, and that of what was copied {manifest.top_hash.hex()}",
        )
    store, dataset = repository.store, repository.dataset
    published = VersionId(manifest.top_hash, commit_id(body))
    access.create(store, object_keys.manifest_key(dataset, manifest.top_hash.hex()), manifest.encode(), contested=False)
    access.create(store, object_keys.commit_key(dataset, published.known_commit.hex()), body, contested=False)
    return published


def move_branch(
    repository: Repository,
    access: WriteAccess,
    branch: str,
    head: Head | None,
    published: VersionId | None,
    authorship: Authorship,
    held: HeldRules | None = None,
) -> None:
    """Move a branch to a version that is there already; to None: delete it. ConflictError: it moved meanwhile."""
    time = format_time(dt.datetime.now(dt.UTC))
    repository.refs.move(access, branch, head, _record(authorship, published, time, held))


def tag_version(
    repository: Repository, access: WriteAccess, tag: str, published: VersionId, authorship: Authorship
) -> None:
    """Give a version a tag. ConflictError: the tag stands for another one."""
    repository.refs.create_tag(access, tag, _record(authorship, published, format_time(dt.datetime.now(dt.UTC))))
