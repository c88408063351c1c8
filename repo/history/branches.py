"""Make, move and delete branches, and make tags: versions that are there get names. Blocking.

To move a branch is to add a record to its sequence: where it stood before stays readable (`history.moves`), and what
it stood at stays there.
"""

from __future__ import annotations

from penstock.errors import ConflictError, NotFoundError, UsageError
from penstock.repo.bucket.refs import Head, nearest
from penstock.repo.bucket.repository import DEFAULT_BRANCH, Repository
from penstock.repo.settings.handle import check_ref_name
from penstock.repo.write.publish import Authorship, Published, move_branch, tag_version

__all__ = ["check_branch_name", "delete_branch", "make_branch", "make_tag", "require_head", "reset_branch", "stands_at"]


def stands_at(head: Head) -> Published:
    """Return the version that a branch stands at."""
    commit, top_hash = head.record.commit, head.record.top_hash
    assert commit is not None  # `Refs.head` gives none that is deleted
    assert top_hash is not None
    return Published(bytes.fromhex(top_hash), bytes.fromhex(commit))


def require_head(repository: Repository, branch: str) -> Head:
    """Return where a branch stands. NotFoundError names what is near; UsageError: it is a tag."""
    head = repository.refs.head(branch)
    if head is not None:
        return head
    refs = repository.refs
    if refs.tag(branch) is not None:
        raise UsageError(f"{branch!r} is a tag of {repository.dataset!r}", why="tags never move", fix="Name a branch.")
    known = [name for name in refs.branches() if refs.head(name) is not None]
    raise NotFoundError(f"no branch {branch!r} of {repository.dataset!r}", fix=nearest(branch, known))


def check_branch_name(repository: Repository, name: str) -> None:
    """Raise UsageError when no branch can be made of this name: a bad one, a tag's, one that looks like a hash."""
    check_ref_name(name)
    if repository.refs.tag(name) is not None:
        raise UsageError(
            f"{name!r} is a tag of {repository.dataset!r}",
            why="a branch would hide it",
            fix="Choose another name for the branch.",
        )
    repository.check_new_name(name)


def make_branch(repository: Repository, name: str, start: Published, authorship: Authorship) -> None:
    """Make a branch that stands at a version. ConflictError: it is there, and stands elsewhere; see as well above."""
    head = repository.refs.head(name)
    if head is not None:
        raise ConflictError(
            f"branch {name!r} of {repository.dataset!r} exists already",
            why=f"it stands at {(head.record.commit or '')[:12]}",
            fix="Choose another name, or move it with penstock reset.",
        )
    check_branch_name(repository, name)
    move_branch(repository, name, None, start, authorship)


def reset_branch(repository: Repository, name: str, to: Published, authorship: Authorship) -> Published | None:
    """Let a branch stand at another version of the dataset; return where it stood, None when it was there already.

    ConflictError: it moved meanwhile. NotFoundError, UsageError: there is no such branch.
    """
    head = require_head(repository, name)
    before = stands_at(head)
    if before.commit == to.commit:
        return None
    move_branch(repository, name, head, to, authorship)
    return before


def delete_branch(repository: Repository, name: str, authorship: Authorship, *, force: bool = False) -> Published:
    """Delete a branch and return where it stood. Its records stay. UsageError: `main`, without `force`."""
    if name == DEFAULT_BRANCH and not force:
        raise UsageError(
            f"{name!r} is the branch that handles without a ref mean",
            why="without it they lead nowhere",
            fix="Add --force if that is what you want.",
        )
    head = require_head(repository, name)
    move_branch(repository, name, head, None, authorship)
    return stands_at(head)


def make_tag(repository: Repository, name: str, version: Published, authorship: Authorship) -> None:
    """Give a version a tag. ConflictError: it stands for another one. UsageError: a bad name, or a branch's."""
    check_ref_name(name)
    if repository.refs.head(name) is not None:
        raise UsageError(
            f"{name!r} is a branch of {repository.dataset!r}",
            why="it would hide a tag of that name",
            fix="Choose another name for the tag.",
        )
    repository.check_new_name(name)
    tag_version(repository, name, version, authorship)
