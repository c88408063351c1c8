"""Merge one line of history into a branch: what ``penstock merge`` does. Blocking."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from penstock.manifest.ahead import LoadNodes
from penstock.manifest.descend import LoadNode
from penstock.manifest.merge import Choose, Merged
from penstock.manifest.records import Manifest
from penstock.repo.bucket.repository import Repository
from penstock.repo.write.publish import Authorship, Published, move_branch, publish

from .ancestry import Commits
from .branches import require_head, stands_at
from .landing import until_it_stands
from .version_merge import conflict_error, merge_versions

__all__ = ["BranchMerge", "MergeOutcome", "join"]


class MergeOutcome(enum.Enum):
    """What it took to bring a version into a branch."""

    NOTHING = "up to date"
    FORWARD = "fast-forward"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class BranchMerge:
    """What a merge did, or would do.

    `published` is where the branch stands then: None for a merge that was only tried. `base` is the common ancestor;
    `merged` has the counts of a merge.
    """

    how: MergeOutcome
    published: Published | None
    base: bytes | None
    merged: Merged | None = None


def join(
    repository: Repository,
    load: LoadNode,
    branch: str,
    source: bytes,
    authorship: Authorship,
    choose: Choose | None = None,
    load_many: LoadNodes | None = None,
    *,
    dry_run: bool = False,
) -> BranchMerge:
    """Merge the commit `source`, with all that it comes from, into a branch.

    A branch that `source` comes from is moved forward to it; else the merge is a version with two parents, the
    branch's first. `choose`: Side.OURS is the branch's state, Side.THEIRS that of `source`. `load_many`: see `land`.

    NotFoundError: no such branch. MergeConflictError names the paths; nothing has changed.
    """
    commits = Commits(repository)

    def contents(commit_id: bytes) -> Manifest:
        return repository.manifest(bytes.fromhex(commits[commit_id].top_hash))

    def attempt() -> BranchMerge:
        head = require_head(repository, branch)
        at = stands_at(head)
        base = commits.common_ancestor(at.commit, source)
        if base == source:
            return BranchMerge(MergeOutcome.NOTHING, at, base)
        if base == at.commit:
            forward = Published(bytes.fromhex(commits[source].top_hash), source)
            if not dry_run:
                move_branch(repository, branch, head, forward, authorship)
            return BranchMerge(MergeOutcome.FORWARD, forward, base)
        before = contents(base) if base is not None else None
        upload = _forget if dry_run else repository.store.put
        found = merge_versions(before, contents(at.commit), contents(source), load, upload, choose, load_many)
        if found.manifest is None:
            raise conflict_error(found.merged, branch, repository.dataset, _WAY_OUT)
        if dry_run:
            return BranchMerge(MergeOutcome.MERGE, None, base, found.merged)
        published = publish(repository, branch, head, found.manifest, authorship, (at.commit, source))
        return BranchMerge(MergeOutcome.MERGE, published, base, found.merged)

    return until_it_stands(attempt)


_WAY_OUT = "Choose with --ours (what the branch has) or --theirs (what is merged into it), for all or one PATH each."


def _forget(key: str, body: bytes) -> None:
    """Take a node pack of a merge that is only tried."""
