"""Versions, branches and tags as values: what is known of each, and what became of one that was moved.

Hashes and commit ids are 64 hex digits; times are ISO 8601 in UTC with microseconds, as the records have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.manifest.records import Commit
    from penstock.repo.history.branch_merge import BranchMerge
    from penstock.repo.refs.refs import Head
    from penstock.repo.refs.repository import VersionId

__all__ = [
    "BranchInfo",
    "BranchMove",
    "MergeReport",
    "RefChange",
    "RevertReport",
    "Revision",
    "TagInfo",
    "first_line",
    "merge_report",
    "move_of",
    "ref_change",
    "revision_of",
]


@dataclass(frozen=True, slots=True)
class Revision:
    """One version in a history, as its commit tells of it. `entries` are all, at any depth; `bytes` those of files."""

    commit: str
    top_hash: str
    parents: tuple[str, ...]
    author: str
    time: str
    message: str
    entries: int
    bytes: int
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """Where a branch stands, since when, and the first line of what was said of that version."""

    branch: str
    commit: str
    top_hash: str
    time: str
    message: str


@dataclass(frozen=True, slots=True)
class TagInfo:
    """What a tag stands for, and who made it when."""

    tag: str
    commit: str | None
    top_hash: str | None
    time: str
    author: str


@dataclass(frozen=True, slots=True)
class BranchMove:
    """One move of a branch, from its reflog. `commit` and `top_hash` are None where it was deleted."""

    branch: str
    number: int
    operation: str
    commit: str | None
    top_hash: str | None
    author: str
    time: str


@dataclass(frozen=True, slots=True)
class RefChange:
    """What became of a branch or tag: `name` stands at `commit` now, or stood there when it was deleted.

    `changed`: False where there was nothing to do. `before` is the commit that a branch stood at, if it was elsewhere.
    `risk`: empty, or why the bucket may lose versions.
    """

    name: str
    commit: str
    top_hash: str
    changed: bool = True
    before: str | None = None
    risk: str = ""


@dataclass(frozen=True, slots=True)
class RevertReport:
    """What a revert did: `reverted` is undone on `branch`, which stands at `commit` now, a version with `message`.

    `changed`: False where nothing of it was left to undo. `risk`: as in `RefChange`.
    """

    branch: str
    reverted: str
    commit: str
    top_hash: str
    changed: bool
    message: str
    risk: str = ""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did, or would do.

    `result` is ``up to date``, ``fast-forward`` or ``merge``. `source` was merged into `branch`, `base` is their common
    ancestor. `commit` is where the branch stands then, None for a merge that was only tried. Of a merge,
    `from_ours`, `from_theirs` and `same` count the paths that were changed on one side, the other, or alike on both,
    and `settled` the conflicts that were decided by `ours` and `theirs`. `joined` are files whose lines were.
    `risk`: as in `RefChange`.
    """

    branch: str
    source: str
    result: str
    base: str | None
    commit: str | None
    top_hash: str | None
    from_ours: int = 0
    from_theirs: int = 0
    same: int = 0
    settled: int = 0
    risk: str = ""
    joined: tuple[str, ...] = ()


def hex_or_none(digest: bytes | None) -> str | None:
    """Return a digest as 64 hex digits."""
    return digest.hex() if digest is not None else None


def revision_of(commit_id: bytes, commit: Commit) -> Revision:
    """Return what a commit says."""
    return Revision(
        commit_id.hex(),
        commit.top_hash.hex(),
        tuple(each.hex() for each in commit.parents),
        commit.author,
        commit.time,
        commit.message,
        commit.entries,
        commit.size,
        commit.environment,
    )


def move_of(head: Head) -> BranchMove:
    """Return what a record of a branch says."""
    record = head.record
    return BranchMove(
        head.branch,
        head.number,
        record.operation,
        hex_or_none(record.commit),
        hex_or_none(record.top_hash),
        record.author,
        record.time,
    )


def merge_report(
    branch: str, source: VersionId, done: BranchMerge, risk: str, joined: Sequence[str] = ()
) -> MergeReport:
    """Return what a merge did as a value."""
    published, merged = done.published, done.merged
    return MergeReport(
        branch,
        source.known_commit.hex(),
        done.how.value,
        done.base.hex() if done.base is not None else None,
        published.known_commit.hex() if published is not None else None,
        published.top_hash.hex() if published is not None else None,
        merged.ours if merged is not None else 0,
        merged.theirs if merged is not None else 0,
        merged.both if merged is not None else 0,
        merged.settled - len(joined) if merged is not None else 0,
        risk,
        tuple(joined),
    )


def first_line(message: str) -> str:
    """Return the first line of a commit's message."""
    return message.strip().partition("\n")[0]


def ref_change(name: str, at: VersionId, *, risk: str, before: VersionId | None = None) -> RefChange:
    """Return that a ref stands at a version."""
    was = before.known_commit.hex() if before is not None else None
    return RefChange(name, at.known_commit.hex(), at.top_hash.hex(), before=was, risk=risk)
