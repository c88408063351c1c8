"""Undo what one commit changed, and keep all that came after it: what ``penstock revert`` does. Blocking."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.manifest.ahead import LoadNodes
from penstock.manifest.build import TreeBuilder
from penstock.manifest.descend import LoadNode
from penstock.manifest.merge import Choose
from penstock.manifest.records import Commit, Manifest
from penstock.repo.bucket.repository import Repository
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship, Published

from .branches import require_head
from .landing import Landed, land
from .log import find_published

__all__ = ["Reverted", "revert"]

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Reverted:
    """What a revert did: the version whose change is undone, where the branch stands now, and what its commit says."""

    undone: Published
    landed: Landed
    message: str


def revert(
    repository: Repository,
    load: LoadNode,
    branch: str,
    ref: str,
    authorship: Authorship,
    choose: Choose | None = None,
    load_many: LoadNodes | None = None,
) -> Reverted:
    """Land the state before the commit that `ref` names on a branch, with that commit as the base.

    A message that `authorship` does not have is made of the commit's. A path that was changed again since is a
    conflict; `choose`: Side.OURS is what the branch has, Side.THEIRS what was there before the commit.

    NotFoundError: no such branch, or version. MergeConflictError names the paths; nothing has changed.
    """
    require_head(repository, branch)
    undone = find_published(repository, ref)
    record = repository.commit(undone.commit)
    if not authorship.message:
        first = record.message.strip().partition("\n")[0] or undone.commit.hex()[:_SHORT]
        authorship = replace(authorship, message=f'Revert "{first}"\n\nThis undoes {undone.commit.hex()}.')
    before = _before(repository, record)
    landed = land(repository, load, branch, undone.commit, before, authorship, choose, load_many)
    return Reverted(undone, landed, authorship.message)


def _before(repository: Repository, commit: Commit) -> Manifest:
    """Return what the first parent of a commit contains: nothing, if it has none."""
    if commit.parents:
        parent = repository.commit(bytes.fromhex(commit.parents[0]))
        return repository.manifest(bytes.fromhex(parent.top_hash))
    sink = NodePackWriter(repository.store.put)
    root = TreeBuilder(sink).finish()
    sink.flush()
    return Manifest(sink.located(root))
