"""Make, move and delete branches, and make tags: versions that are there get names. Blocking.

The name is the writer's branch, or its tag. To move a branch is to add a record to its sequence: where it stood before
stays readable (`log.moves`), and what it stood at stays there.
"""

from __future__ import annotations

from penstock.errors import ConflictError, UsageError
from penstock.repo.refs.ref_names import new_tag
from penstock.repo.refs.repository import DEFAULT_BRANCH, VersionId
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["delete_branch", "make_branch", "make_tag", "reset_branch"]


def make_branch(writer: VersionWriter, start: VersionId) -> None:
    """Make a branch that stands at a version. ConflictError: it is there; UsageError: its name."""
    writer.check_names()
    if writer.head is not None:
        raise ConflictError(
            f"branch {writer.branch!r} of {writer.repository.dataset!r} exists already",
            why=f"it stands at {(writer.head.record.commit or b'').hex()[:12]}",
            fix="Choose another name, or move it with penstock reset.",
        )
    writer.move(start)


def reset_branch(writer: VersionWriter, to: VersionId) -> VersionId | None:
    """Let a branch stand at another version of the dataset; return where it stood, None when it was there already.

    ConflictError: it moved meanwhile. NotFoundError, UsageError: there is no such branch.
    """
    before = writer.require_head()
    if before.commit == to.commit:
        return None
    writer.move(to)
    return before


def delete_branch(writer: VersionWriter, *, force: bool = False) -> VersionId:
    """Delete a branch and return where it stood. Its records stay. UsageError: `main`, without `force`."""
    if writer.branch == DEFAULT_BRANCH and not force:
        raise UsageError(
            f"{writer.branch!r} is the branch that handles without a ref mean",
            why="without it they lead nowhere",
            fix="Add --force if that is what you want.",
        )
    stood = writer.require_head()
    writer.move(None)
    return stood


def make_tag(writer: VersionWriter, version: VersionId) -> None:
    """Give a version the writer's tag. ConflictError: it stands for another. UsageError: a bad name, or a branch's."""
    assert writer.tag is not None
    new_tag(writer.repository, writer.tag)
    writer.tag_version(version)
