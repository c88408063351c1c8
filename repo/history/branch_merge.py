"""Merge one line of history into a branch: what ``penstock merge`` does. Blocking."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.manifest.merge import Choose, Conflict, Merged
from penstock.manifest.records import Manifest
from penstock.repo.refs.repository import VersionId
from penstock.repo.write.landing import until_it_stands
from penstock.repo.write.version_merge import conflict_error
from penstock.repo.write.version_writer import VersionWriter

from .ancestry import Commits

__all__ = ["BranchMerge", "Joiner", "MergeOutcome", "join"]


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
    published: VersionId | None
    base: bytes | None
    merged: Merged | None = None


class Joiner(Protocol):
    """What joins contents that both sides changed: lines of text, for one."""

    def settle(
        self, conflicts: Sequence[Conflict], base: Manifest | None, ours: Manifest, theirs: Manifest
    ) -> Choose | None:
        """Join what can be joined; return what settles those conflicts until `finish`, None: there are none such."""
        ...

    def finish(self, manifest: Manifest) -> Manifest:
        """Put what was joined into the version that the merge has made of all else."""
        ...


def join(
    writer: VersionWriter, source: bytes, choose: Choose | None = None, joiner: Joiner | None = None
) -> BranchMerge:
    """Merge the commit `source`, with all that it comes from, into the writer's branch.

    A branch that `source` comes from is moved forward to it; else the merge is a version with two parents, the
    branch's first. `choose`: Side.OURS is the branch's state, Side.THEIRS that of `source`. What it leaves,
    `joiner` may join.

    NotFoundError: no such branch. MergeConflictError names the paths; nothing has changed.
    """
    commits = Commits(writer.repository)

    def contents(commit_id: bytes) -> Manifest:
        return writer.repository.manifest(commits[commit_id].top_hash)

    def attempt() -> BranchMerge:
        at = writer.require_head()
        base = commits.common_ancestor(at.known_commit, source)
        if base == source:
            return BranchMerge(MergeOutcome.NOTHING, at, base)
        if base == at.known_commit:
            forward = VersionId(commits[source].top_hash, source)
            if not writer.dry_run:
                writer.move(forward)
            return BranchMerge(MergeOutcome.FORWARD, forward, base)
        before = contents(base) if base is not None else None
        ours, theirs = contents(at.known_commit), contents(source)
        found = writer.merge(before, ours, theirs, choose)
        if found.manifest is None and joiner is not None and len(found.merged.conflicts) == found.merged.conflict_count:
            joined = joiner.settle(found.merged.conflicts, before, ours, theirs)
            if joined is not None:
                found = writer.merge(before, ours, theirs, lambda path: joined(path) or (choose and choose(path)))
        if found.manifest is None:
            raise conflict_error(found.merged, writer.branch, writer.repository.dataset, _WAY_OUT)
        if writer.dry_run:
            return BranchMerge(MergeOutcome.MERGE, None, base, found.merged)
        manifest = joiner.finish(found.manifest) if joiner is not None else found.manifest
        landed = writer.publish(manifest, (at.known_commit, source))
        return BranchMerge(MergeOutcome.MERGE, landed.published, base, found.merged)

    return until_it_stands(attempt)


_WAY_OUT = (
    "Choose with --ours (what the branch has) or --theirs (what is merged into it), for all or one PATH each; --text "
    "joins lines, --rows KEY tables"
)
