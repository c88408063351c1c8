"""Branches and tags: sequences of records that only ever grow, moved by create-if-absent alone.

A branch is ``heads/<name>/<number>``: the highest number is where it stands, all of them are its history (the
reflog). To move it is to create the next number; whoever comes second is told so. A tag is one record, made once.

**Invariant:** no record is ever changed. What `create` answered False to was not written by this call.
**Invariant:** nothing moves without a `WriteAccess`, whose lease stood all the time: what a ref leads to was found
under it.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError
from penstock.manifest.records import MAX_RECORD, DatasetInfo, PolicyRecord, ProtectionRecord, RefRecord
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.promises import create_watched
from penstock.repo.bucket.stored_records import read_record
from penstock.store.base import Store

if TYPE_CHECKING:
    from penstock.repo.bucket.leases import Lease

__all__ = ["Head", "Protection", "Refs", "WriteAccess", "nearest", "write_id"]

T = TypeVar("T")

_MOST = 1 << 48
"""The number of a record beyond which nobody counted: a foreign object whose name happens to be hex."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a branch stands: the record, and its number in the branch's sequence."""

    branch: str
    number: int
    record: RefRecord


Protection = tuple[int, ProtectionRecord]
"""The rules of a dataset, and the number of their record."""


def _unprotected() -> Protection | None:
    return None


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """Leave to move the refs of a dataset, for as long as `lease` stands: `write_access` gives it.

    `risk` says what is wrong with the bucket's create-if-absent, where somebody writes all the same: then who made a
    record looks after a while whether it is still theirs. `protection` gives the dataset's rules, None: there are none.
    """

    lease: Lease
    risk: str = ""
    protection: Callable[[], Protection | None] = _unprotected

    def check_move(self, dataset: str, branch: str, record: RefRecord) -> None:
        """Refuse a move of a protected branch that nobody has held against its rules. AccessError."""
        found = self.protection()
        if found is None or branch not in found[1].branches:
            return
        if record.protection is None or record.protection.rules != found[0]:
            raise AccessError(
                f"branch {branch!r} of {dataset!r} is protected",
                why="this move was not held against its rules",
                fix=f"penstock protect DATASET:{branch} shows them; push, commit, merge and reset hold to them.",
            )

    def create(self, store: Store, key: str, body: bytes, *, contested: bool = True) -> bool:
        """Make a record; False when another one is there. `contested`: others may make it with another body."""
        if not self.risk:
            return store.create(key, body)
        return create_watched(store, key, body, contested=contested)


def write_id() -> str:
    """Return 32 random hex digits: they tell one writer's record from another's that says the same."""
    return secrets.token_hex(16)


def nearest(name: str, known: list[str]) -> str:
    """Say which known names a name may have been meant for, as the end of a message."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    if known:
        return f"There is {', '.join(map(repr, known[:5]))}{' and more' if len(known) > 5 else ''}."
    return ""


class Refs:
    """The refs of one dataset."""

    def __init__(self, store: Store, dataset: str) -> None:
        self._store = store
        self._dataset = dataset
        self._prefix = object_keys.dataset_prefix(dataset)

    def _newest(self, prefix: str, decode: Callable[[bytes], T]) -> tuple[int, T] | None:
        for found in self._store.list(prefix, limit=2):
            if found.key == prefix:
                continue  # the marker that a console makes for a folder
            number = object_keys.number_of(prefix, found.key)
            if number is None or number > _MOST:
                raise IntegrityError(
                    f"{found.key!r} in {self._store.url} does not belong there",
                    why="the records of a ref are named by 16 hex digits, counting down from ffffffffffffffff",
                    fix="Remove the object; Penstock did not write it.",
                )
            return number, read_record(self._store, found.key, decode)
        return None

    def _newest_move(self, branch: str) -> tuple[int, RefRecord] | None:
        return self._newest(f"{self._prefix}heads/{branch}/", RefRecord.decode)

    def head(self, branch: str) -> Head | None:
        """Return where a branch stands; None when there is no such branch, or it was deleted."""
        newest = self._newest_move(branch)
        return Head(branch, *newest) if newest is not None and newest[1].commit is not None else None

    def move_at(self, branch: str, number: int) -> Head | None:
        """Return the move of a branch with this number; None when there is none."""
        prefix = f"{self._prefix}heads/{branch}/"
        try:
            record = read_record(self._store, object_keys.number_key(prefix, number), RefRecord.decode)
        except NotFoundError:
            return None
        return Head(branch, number, record)

    def head_unlisted(self, branch: str) -> Head | None:
        """Return where a branch stands, for who may read objects but not list them; None when none can be read.

        Numbers have no gaps, so the last that is there is found by doubling and halving: some 2 log2(n) requests. A
        server that refuses to list answers 403 for what is not there.
        """
        prefix = f"{self._prefix}heads/{branch}/"

        def is_there(number: int) -> bool:
            try:
                self._store.get(object_keys.number_key(prefix, number), limit=MAX_RECORD)
            except (NotFoundError, AccessError):
                return False
            return True

        if not is_there(0):
            return None
        low, high = 0, 1
        while high <= _MOST and is_there(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_there(middle) else (low, middle)
        record = read_record(self._store, object_keys.number_key(prefix, low), RefRecord.decode)
        return Head(branch, low, record) if record.commit is not None else None

    def tag_unlisted(self, name: str) -> RefRecord | None:
        """Return a tag's record, for who may read objects but not list them; None when none can be read."""
        try:
            return read_record(self._store, object_keys.tag_key(self._dataset, name), RefRecord.decode)
        except (NotFoundError, AccessError):
            return None

    def move(self, access: WriteAccess, branch: str, expected: Head | None, record: RefRecord) -> Head:
        """Move a branch from where it was seen; ConflictError when it has moved since. `expected` None: make it."""
        prefix = f"{self._prefix}heads/{branch}/"
        if expected is None:
            newest = self._newest_move(branch)  # a deleted branch goes on behind its last record
            number = newest[0] + 1 if newest is not None else 0
            if newest is not None and newest[1].commit is not None:
                raise self._moved(branch)
        else:
            number = expected.number + 1
        access.check_move(self._dataset, branch, record)
        access.lease.check()
        if not access.create(self._store, object_keys.number_key(prefix, number), record.encode()):
            raise self._moved(branch)
        return Head(branch, number, record)

    def _moved(self, branch: str) -> ConflictError:
        return ConflictError(
            f"branch {branch!r} of {self._dataset!r} has moved meanwhile",
            why="somebody else published a version",
            fix="Run the command again: what was uploaded is not uploaded a second time.",
        )

    def branches(self) -> Iterator[str]:
        """Yield the names of branches, deleted ones too."""
        return self._store.list_folders(f"{self._prefix}heads/")

    def tag(self, name: str) -> RefRecord | None:
        """Return a tag's record; None when there is no such tag."""
        key = object_keys.tag_key(self._dataset, name)
        return read_record(self._store, key, RefRecord.decode) if self._store.head(key) is not None else None

    def create_tag(self, access: WriteAccess, name: str, record: RefRecord) -> None:
        """Make a tag. ConflictError when it stands for another commit; one that stands for the same is kept."""
        access.lease.check()
        if access.create(self._store, object_keys.tag_key(self._dataset, name), record.encode()):
            return
        existing = self.tag(name)
        if existing is None or existing.commit != record.commit:
            where = existing.commit.hex()[:12] if existing is not None and existing.commit else "another commit"
            raise ConflictError(
                f"tag {name!r} of {self._dataset!r} exists already",
                why=f"it stands for {where}, and tags never move",
                fix="Choose another name.",
            )

    def tags(self) -> Iterator[str]:
        """Yield the names of tags."""
        prefix = object_keys.tag_key(self._dataset, "")
        return (found.key[len(prefix) :] for found in self._store.list(prefix) if found.key != prefix)

    def protection(self) -> Protection | None:
        """Return the rules of the dataset; None when there never were any."""
        return self._newest(object_keys.protection_prefix(self._dataset), ProtectionRecord.decode)

    def policy(self) -> tuple[int, PolicyRecord] | None:
        """Return how long versions are kept, and the number of that record; None when nobody has said it."""
        return self._newest(object_keys.policy_prefix(self._dataset), PolicyRecord.decode)

    def protect(self, access: WriteAccess, expected: Protection | None, record: ProtectionRecord) -> int:
        """Say what is to hold from now on; return the number. ConflictError: somebody else has said something since."""
        number = expected[0] + 1 if expected is not None else 0
        key = object_keys.number_key(object_keys.protection_prefix(self._dataset), number)
        if not access.create(self._store, key, record.encode()):
            raise ConflictError(
                f"the rules of {self._dataset!r} have changed meanwhile", fix="Look at them, and run the command again."
            )
        return number

    def info(self) -> DatasetInfo | None:
        """Return what is said of the dataset; None when nothing was."""
        newest = self._newest(f"{self._prefix}info/", DatasetInfo.decode)
        return newest[1] if newest is not None else None

    def set_info(self, access: WriteAccess, change: Callable[[DatasetInfo | None], DatasetInfo]) -> DatasetInfo:
        """Say something else of the dataset: `change` makes the next record of the newest one."""
        prefix = f"{self._prefix}info/"
        newest = self._newest(prefix, DatasetInfo.decode)
        record = change(newest[1] if newest is not None else None)
        number = newest[0] + 1 if newest is not None else 0
        if not access.create(self._store, object_keys.number_key(prefix, number), record.encode()):
            raise ConflictError(
                f"the description of {self._dataset!r} has changed meanwhile", fix="Run the command again."
            )
        return record
