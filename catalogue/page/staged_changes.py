"""Changes of a dataset that somebody has staged on the page, and the version that is made of them.

They are kept beside the server's state, by who staged them and of which dataset: a list of steps in a file, and the
bytes that were uploaded. They stand on the version that was shown when the first was staged. Nothing reaches the bucket
before they are committed, as one version of the branch; what others changed there meanwhile is merged with, and
what both changed is a conflict that leaves all as it was.

**Invariants:** the file of steps is replaced whole. One step is taken at a time for each list; any thread.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from penstock.api.builder.builder import PackageBuilder
from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.catalogue.page.content.shown_text import read_key, written_key
from penstock.errors import ConflictError, UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.metadata import canonical_json

__all__ = ["StagedChange", "StagedChanges", "StagingArea"]

_MOST_STEPS = 10_000
_MOST_UPLOADED = 4 << 30


class StagedChange(msgspec.Struct, frozen=True):
    """One change. `other` is the key that something is moved to, `file` the name of what was uploaded.

    Keys are percent-encoded here, for they may be no UTF-8.
    """

    kind: Literal["delete", "move", "metadata", "upload"]
    key: str
    other: str = ""
    metadata: dict[str, Any] | None = None
    file: str = ""
    size: int = 0


class StagedChanges(msgspec.Struct, frozen=True):
    """Steps in their order, for `branch`, on the version `base`."""

    branch: str
    base: str
    steps: tuple[StagedChange, ...] = ()


class StagingArea:
    """What is staged on a server, in a folder of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def _place(self, who: str, dataset: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(f"{who}\0{dataset}".encode()).hexdigest()[:32])

    @contextmanager
    def _held(self, who: str, dataset: str) -> Iterator[str]:
        place = self._place(who, dataset)
        with self._lock:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            yield place

    def find(self, who: str, dataset: str) -> StagedChanges | None:
        """Return what somebody has staged; None: nothing."""
        return _read(self._place(who, dataset))

    def count(self, who: str, dataset: str) -> int:
        """Return how many changes somebody has staged."""
        found = self.find(who, dataset)
        return len(found.steps) if found is not None else 0

    def add(
        self, who: str, dataset: str, branch: str, package: Package, steps: Sequence[StagedChange]
    ) -> StagedChanges:
        """Stage changes. ConflictError: others are staged, of another branch. UsageError: they cannot be."""
        with self._held(who, dataset) as place:
            known = _read(place) or StagedChanges(branch, package.commit or package.top_hash)
            if known.branch != branch:
                raise ConflictError(
                    f"changes of {known.branch!r} are staged", fix="Commit or discard them before others are made."
                )
            for step in steps:
                _check(step)
            fresh = [step for step in steps if step not in known.steps]  # a form that was sent twice is one
            _check_there(known.steps, fresh)
            now = msgspec.structs.replace(known, steps=(*known.steps, *fresh))
            if len(now.steps) > _MOST_STEPS:
                raise UsageError(f"more than {_MOST_STEPS:,} changes", fix="Commit those that are staged first.")
            _write(place, now)
            return now

    def upload(
        self,
        who: str,
        dataset: str,
        branch: str,
        package: Package,
        key: str,
        body: bytes,
        *,
        at: int,
        total: int,
        name: str,
    ) -> str:
        """Take a piece of a file, and stage the file with the last one; return the name that the next piece brings.

        UsageError: it does not go on where the one before ended, or is too large.
        """
        split_path(key)
        with self._held(who, dataset) as place:
            os.makedirs(place, mode=0o700, exist_ok=True)
            name = name or secrets.token_hex(16)
            if len(name) != 32 or not name.isalnum() or total > _MOST_UPLOADED or at + len(body) > total:
                raise UsageError("this piece of a file cannot be taken", why=f"{_MOST_UPLOADED} bytes are the most")
            path = os.path.join(place, name)
            with open(path, "ab") as stream:
                if stream.tell() != at:
                    raise UsageError("this piece does not go on where the file ended", fix="Send the file again.")
                if at == 0 and self._uploaded(place) + total > _MOST_UPLOADED:
                    raise UsageError("too much is staged", fix="Commit or discard it first.")
                stream.write(body)
        if at + len(body) == total:
            self.add(who, dataset, branch, package, [StagedChange("upload", written_key(key), file=name, size=total)])
        return name

    def _uploaded(self, place: str) -> int:
        with os.scandir(place) as files:
            return sum(each.stat(follow_symlinks=False).st_size for each in files)

    def remove(self, who: str, dataset: str, number: int) -> None:
        """Take one change back."""
        with self._held(who, dataset) as place:
            known = _read(place)
            if known is not None and 0 <= number < len(known.steps):
                kept = known.steps[:number] + known.steps[number + 1 :]
                if kept:
                    _write(place, msgspec.structs.replace(known, steps=kept))
                else:
                    _forget(place)

    def discard(self, who: str, dataset: str) -> None:
        """Take all changes back."""
        with self._held(who, dataset) as place:
            _forget(place)

    def commit(
        self,
        who: str,
        dataset: str,
        target: Handle,
        base: Package,
        *,
        message: str,
        author: str,
        conflicts: Literal["ours", "theirs"] | None = None,
    ) -> Package:
        """Make a version of what is staged. MergeConflictError names what others changed too; all is kept then.

        UsageError, NotFoundError, ConflictError: a step cannot be taken.
        """
        with self._held(who, dataset) as place:
            known = _read(place)
            if known is None:
                raise UsageError("nothing is staged", fix="Change something first.")
            with base.to_builder() as builder:
                for step in known.steps:
                    _take(builder, step, place)
                made = builder.push(
                    target, message=message, author=author or None, conflicts=conflicts, allow_missing_readme=True
                )
            _forget(place)
            return made


def _check(step: StagedChange) -> None:
    if not split_path(read_key(step.key)):
        raise UsageError("no key is given", fix="Name a file or directory of the version.")
    if step.kind == "move" and not split_path(read_key(step.other)):
        raise UsageError("no new key is given", fix="Say where it is to be.")
    if step.metadata is not None:
        canonical_json(step.metadata)


def _check_there(known: Sequence[StagedChange], fresh: Sequence[StagedChange]) -> None:
    """UsageError: something is to be changed that is to be deleted or moved away by then. Pure."""
    gone: set[str] = set()
    for number, step in enumerate((*known, *fresh)):
        names = step.key.split("/")
        above = next((key for end in range(len(names)) if (key := "/".join(names[: end + 1])) in gone), None)
        if number >= len(known) and step.kind != "upload" and above is not None:
            raise UsageError(
                f"{read_key(above)!r} is to be deleted or moved away",
                why="a change of what is not there any more would be lost",
                fix="Take that back first, under Changes.",
            )
        if step.kind in ("delete", "move"):
            gone.add(step.key)
        if step.kind in ("upload", "move"):
            gone.discard(step.other or step.key)


def _take(builder: PackageBuilder, step: StagedChange, folder: str) -> None:
    key = read_key(step.key)
    if step.kind == "delete":
        builder.delete(key)
    elif step.kind == "move":
        builder.move(key, read_key(step.other))
    elif step.kind == "metadata":
        builder.set_meta(key, step.metadata or None)
    else:
        builder.set(key, os.path.join(folder, step.file))


def _read(place: str) -> StagedChanges | None:
    try:
        with open(os.path.join(place, "steps"), "rb") as file:
            return msgspec.msgpack.decode(file.read(), type=StagedChanges)
    except FileNotFoundError:
        return None


def _write(place: str, staged: StagedChanges) -> None:
    os.makedirs(place, mode=0o700, exist_ok=True)
    aside = os.path.join(place, "steps.new")
    with open(aside, "wb") as file:
        file.write(msgspec.msgpack.encode(staged))
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, os.path.join(place, "steps"))


def _forget(place: str) -> None:
    if os.path.isdir(place):
        shutil.rmtree(place)
