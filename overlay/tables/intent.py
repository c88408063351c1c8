"""What a commit is about to do, noted before the branch moves, so that one who crashed can see whether it did.

The branch's history tells: the commit that landed has the intent's mark in its environment.
"""

from __future__ import annotations

import msgspec

from penstock.errors import IntegrityError
from penstock.manifest.records import Manifest
from penstock.repo.refs.repository import Repository, VersionId

from .interface import ReadTables
from .schema import META, TableChange

__all__ = ["Intent", "clear_intent", "find_landed", "read_intent"]

_KEY = b"intent"


class Intent(msgspec.Struct, frozen=True):
    """A commit of all up to `sequence` as `manifest`, made from the commit `base`, to land on `branch`.

    Data files up to `generation` hold what it took. `mark` is what nothing else is marked with.
    """

    mark: str
    branch: str
    base: bytes | None
    manifest: Manifest
    sequence: int
    generation: int

    def change(self) -> TableChange:
        """Return the change that writes it."""
        return TableChange(META, _KEY, msgspec.msgpack.encode(self))


def clear_intent() -> TableChange:
    """Return the change that removes it."""
    return TableChange(META, _KEY, None)


def read_intent(tables: ReadTables) -> Intent | None:
    """Return what a commit that did not end wanted; None: there is none such. IntegrityError."""
    value = tables.get(META, _KEY)
    if value is None:
        return None
    try:
        return msgspec.msgpack.decode(value, type=Intent)
    except msgspec.DecodeError as error:
        raise IntegrityError("the overlay does not say what its last commit wanted", why=str(error)) from error


def find_landed(repository: Repository, intent: Intent) -> VersionId | None:
    """Look for an intent's commit in the history of its branch; None: it did not land. Blocking."""
    head = repository.refs.head(intent.branch)
    at = head.record.commit if head is not None else None
    while at is not None and at != intent.base:
        commit = repository.commit(at)
        if commit.environment.get("write_id") == intent.mark:
            return VersionId(commit.top_hash, at)
        at = commit.parents[0] if commit.parents else None
    return None
