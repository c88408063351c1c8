"""Undo what one commit changed, and keep all that came after it: what ``penstock revert`` does. Blocking."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.manifest.merge import Choose
from penstock.repo.refs.repository import VersionId
from penstock.repo.write.landing import Landed
from penstock.repo.write.version_writer import VersionWriter

from .log import find_published

__all__ = ["Reverted", "revert"]

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Reverted:
    """What a revert did: the version whose change is undone, where the branch stands now, and what its commit says."""

    undone: VersionId
    landed: Landed
    message: str


def revert(writer: VersionWriter, ref: str, choose: Choose | None = None) -> Reverted:
    """Land the state before the commit that `ref` names on the writer's branch, with that commit as the base.

    A message that the writer does not have is made of the commit's. A path that was changed again since is a conflict;
    `choose`: Side.OURS is what the branch has, Side.THEIRS what was there before the commit.

    NotFoundError: no such branch, or version. MergeConflictError names the paths; nothing has changed.
    """
    writer.require_head()
    repository = writer.repository
    undone = find_published(repository, ref)
    record = repository.commit(undone.known_commit)
    if not writer.authorship.message:
        first = record.message.strip().partition("\n")[0] or undone.known_commit.hex()[:_SHORT]
        text = f'Revert "{first}"\n\nThis undoes {undone.known_commit.hex()}.'
        writer.authorship = replace(writer.authorship, message=text)
    if record.parents:
        parent = repository.commit(record.parents[0])
        before = repository.manifest(parent.top_hash)
    else:
        before = writer.empty()
    return Reverted(undone, writer.land(undone.commit, before, choose), writer.authorship.message)
