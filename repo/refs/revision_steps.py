"""Steps back from a ref: to parents of a version, and to where a branch stood (`settings.revision`). Blocking.

A parent costs a request. Where a branch stood at a time is found by halving: its moves are numbered without gaps, and
each costs one. A clock that was wrong when a branch moved makes that answer wrong by as much.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Protocol

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.records import Commit, parse_time
from penstock.repo.settings.revision import MoveNumber, MovesBack, Parent, SteppedRef

from .refs import Head, Refs, nearest
from .version_id import DEFAULT_BRANCH, VersionId

__all__ = ["Versions", "step_back"]


class Versions(Protocol):
    """The versions of a dataset, which are stepped along: `Repository`."""

    refs: Refs
    dataset: str
    handle: str

    def commit(self, commit_id: bytes) -> Commit:
        """Read a commit."""
        ...


def step_back(repository: Versions, revision: SteppedRef, named: Callable[[str], VersionId]) -> VersionId:
    """Return where the steps of a revision lead; `named` finds what a ref alone stands for.

    NotFoundError: a version has no such parent, or a branch no such move. UsageError: a tag or a hash has no moves.
    """
    name = revision.name or DEFAULT_BRANCH
    first, *steps = revision.steps
    if isinstance(first, Parent):
        version, steps = named(name), [first, *steps]
    else:
        version = _moved(repository, name, first)
    for step in steps:
        assert isinstance(step, Parent)  # moves come first
        version = _parent(repository, version, step.number, name)
    return version


def _parent(repository: Versions, version: VersionId, number: int, name: str) -> VersionId:
    if version.commit is None:
        raise UsageError(
            f"what came before {name!r} cannot be said",
            why="a top hash says what a version contains, and not where it comes from",
            fix=f"Name its commit: penstock log {repository.handle} lists them",
        )
    parents = repository.commit(version.commit).parents
    if number > len(parents):
        many = f"has {len(parents)} parents" if len(parents) > 1 else "has one parent" if parents else "is the first"
        raise NotFoundError(
            f"nothing that far back from {name!r} of {repository.dataset!r}",
            why=f"version {version.commit.hex()[:12]} {many}",
            fix=f"penstock log {repository.handle}:{name} lists what there is",
        )
    commit = parents[number - 1]
    return VersionId(repository.commit(commit).top_hash, commit)


def _moved(repository: Versions, branch: str, step: MoveNumber | MovesBack | dt.datetime) -> VersionId:
    refs = repository.refs
    head = refs.head(branch)
    if head is None:
        if refs.tag(branch) is not None:
            raise UsageError(f"{branch!r} is a tag", why="tags never move", fix=f"Name it alone: {branch}")
        raise NotFoundError(
            f"no branch {branch!r} of {repository.dataset!r}", fix=nearest(branch, list(refs.branches()))
        )
    if isinstance(step, dt.datetime):
        found = _at_time(repository, head, step)
    else:
        number = step.number if isinstance(step, MoveNumber) else head.number - step.count
        found = refs.move_at(branch, number) if 0 <= number <= head.number else None
    if found is None:
        raise NotFoundError(
            f"branch {branch!r} of {repository.dataset!r} has not been there",
            why=f"its moves have the numbers 0 to {head.number}, and {_first_time(repository, branch)}",
            fix=f"penstock log --reflog {repository.handle}:{branch} lists them",
        )
    record = found.record
    if not record.commit or not record.top_hash:
        raise NotFoundError(
            f"branch {branch!r} of {repository.dataset!r} was deleted then",
            fix=f"penstock log --reflog {repository.handle}:{branch} lists where it has been",
        )
    return VersionId(record.top_hash, record.commit)


def _first_time(repository: Versions, branch: str) -> str:
    first = repository.refs.move_at(branch, 0)
    return f"it began on {first.record.time}" if first is not None else "its first is gone"


def _at_time(repository: Versions, head: Head, when: dt.datetime) -> Head | None:
    """Return the last move of a branch that was made by then; None: it began later."""
    if parse_time(head.record.time) <= when:
        return head
    low, high, found = -1, head.number, None  # it had not begun at `low`, or has moved on at `found`; `high` is later
    while high - low > 1:
        middle = (low + high) // 2
        move = repository.refs.move_at(head.branch, middle)
        if move is not None and parse_time(move.record.time) <= when:
            low, found = middle, move
        else:
            high = middle
    return found
