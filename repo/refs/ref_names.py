"""What a branch or a tag may be called, and what a name that is given for one means. Blocking.

A name leads to one thing only (`Repository.resolve`): no branch is called like a tag, no tag like a branch, and neither
like a hash of a version. Tags never move.
"""

from __future__ import annotations

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.records import RefRecord
from penstock.repo.settings.handle import check_ref_name
from penstock.repo.settings.revision import parse_revision

from .refs import Head, nearest
from .repository import Repository

__all__ = ["branch_head", "new_tag", "require_head"]


def branch_head(repository: Repository, name: str) -> Head | None:
    """Return where a branch stands; None when it is not there, and can be made.

    UsageError: no branch can be made of this name: a bad one, a tag's, one that names a version by its hash.
    """
    _check_new(name)
    head = repository.refs.head(name)
    if head is None:
        if repository.refs.tag(name) is not None:
            raise _is_tag(repository, name)
        repository.check_new_name(name)
    return head


def require_head(repository: Repository, name: str) -> Head:
    """Return where a branch stands. NotFoundError names what is near; UsageError: it is a tag."""
    refs = repository.refs
    head = refs.head(name)
    if head is not None:
        return head
    if refs.tag(name) is not None:
        raise _is_tag(repository, name)
    known = [branch for branch in refs.branches() if refs.head(branch) is not None]
    raise NotFoundError(f"no branch {name!r} of {repository.dataset!r}", fix=nearest(name, known))


def new_tag(repository: Repository, name: str, branch: str | None = None) -> RefRecord | None:
    """Return what a tag stands for; None when it is not there, and can be made. `branch` is about to be made, if any.

    UsageError: no tag can be made of this name: a bad one, a branch's, one that names a version by its hash.
    """
    _check_new(name)
    if name == branch or repository.refs.head(name) is not None:
        raise UsageError(
            f"{name!r} is a branch of {repository.dataset!r}",
            why="it would hide a tag of that name",
            fix="Choose another name for the tag.",
        )
    repository.check_new_name(name)
    return repository.refs.tag(name)


def _check_new(name: str) -> None:
    revision = parse_revision(name)
    if revision is not None and revision.steps:
        raise UsageError(
            f"{name!r} names a version, and is no branch or tag",
            why="it goes back from one",
            fix="Name a branch: --branch NAME, or bucket/dataset:NAME",
        )
    check_ref_name(name)


def _is_tag(repository: Repository, name: str) -> UsageError:
    return UsageError(
        f"{name!r} is a tag of {repository.dataset!r}",
        why="tags never move, and a branch of that name would hide it",
        fix="Name a branch, one that is there or a new one.",
    )
