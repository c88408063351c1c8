"""Land a version on a branch that may have moved since: the commit protocol.

Whoever edits a version knows the commit that it started from. If the branch still stands there, the new version is
published as it is. If it moved, what was changed is merged into where it stands now: paths that only one side
changed are taken from that side, and a path that both changed is a conflict, which changes nothing. If it moves
once more in between, all of this is done again.

History stays linear: a version that was merged while landing has one parent, the one that it landed on. Two parents
are for branches that people merge (`branch_merge`).

**Order**: data, node packs (the caller's), node packs of a merge, manifest, commit, ref. **Invariant**: when an
error comes up the branch has not moved, but for StoreUnreachableError: then its last request may have been heard.
To land the same again is safe: what is there already is seen to be there.

Blocking.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from penstock.errors import ConflictError, MergeConflictError
from penstock.manifest.ahead import LoadNodes
from penstock.manifest.descend import LoadNode
from penstock.manifest.merge import Choose
from penstock.manifest.records import Manifest
from penstock.repo.bucket.repository import Repository
from penstock.repo.write.publish import Authorship, Published, publish

from .branches import check_branch_name, stands_at
from .version_merge import conflict_error, merge_versions

__all__ = ["Landed", "land", "until_it_stands"]

T = TypeVar("T")

_TRIES = 10
_PAUSE = 0.1
"""Seconds, at most and times the number of the try, that one waits who was overtaken."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a version came to stand.

    `merged_with` is the commit that it was merged into, None when the branch had not moved. `manifest` is what the
    branch contains now. `changed` is False when the branch had all of it already, and stays where it was.
    """

    published: Published
    merged_with: bytes | None
    manifest: Manifest
    changed: bool


def land(
    repository: Repository,
    load: LoadNode,
    branch: str,
    base: bytes | None,
    manifest: Manifest,
    authorship: Authorship,
    choose: Choose | None = None,
    load_many: LoadNodes | None = None,
) -> Landed:
    """Make `manifest`, which was made from the commit `base`, the next version of a branch; merge if it moved.

    All data and nodes of `manifest` are in the bucket; `load` loads nodes of any version, and `load_many` (if given)
    fetches many at a time to where `load` finds them. `base` None: it was made from nothing. A branch that is not
    there (or was deleted) is made, with `base` as the parent.

    `choose` settles conflicts: Side.OURS is what the branch has, Side.THEIRS what is landed. MergeConflictError
    names those that are left. ConflictError: the branch was overtaken by others ten times in a row.
    """

    def attempt() -> Landed:
        head = repository.refs.head(branch)
        if head is None:
            check_branch_name(repository, branch)
            parents = () if base is None else (base,)
            return Landed(publish(repository, branch, None, manifest, authorship, parents), None, manifest, True)
        at = stands_at(head)
        merged_with = None
        landing = manifest
        if at.commit != base:
            # Read only now: a branch that has not moved needs none of this.
            before = repository.manifest(bytes.fromhex(repository.commit(base).top_hash)) if base is not None else None
            ours = repository.manifest(at.top_hash)
            found = merge_versions(before, ours, manifest, load, repository.store.put, choose, load_many)
            if found.manifest is None:
                fix, committing = _way_out(authorship), authorship.operation == "commit"
                raise conflict_error(found.merged, branch, repository.dataset, fix, committing=committing)
            merged_with, landing = at.commit, found.manifest
        if landing.top_hash == at.top_hash:
            return Landed(at, merged_with, landing, False)
        return Landed(publish(repository, branch, head, landing, authorship), merged_with, landing, True)

    return until_it_stands(attempt)


def until_it_stands(attempt: Callable[[], T]) -> T:
    """Do again what failed because a branch moved meanwhile; the tenth ConflictError is raised."""
    for number in range(1, _TRIES):
        try:
            return attempt()
        except MergeConflictError:
            raise
        except ConflictError:
            time.sleep(random.uniform(0, _PAUSE * number))  # spreads those who race
    return attempt()


def _way_out(authorship: Authorship) -> str:
    if authorship.operation == "revert":
        return "Choose with --ours (what the branch has) or --theirs (what it was before), for all or one PATH each."
    return (
        "Choose with --ours (what was changed here) or --theirs (what they have), for all or one PATH each, "
        "or commit to another branch: --branch NAME."
    )
