"""Leases: objects in the bucket that say who relies on what it holds, so that `gc` deletes nothing from under them.

Three kinds of holders. *Writers* (push, commit, and what moves refs) look for objects that are there already and
build on them: while one is at work nothing is deleted. *Readers* (mounts, overlays) hold versions by hash, so that
these count as used. *gc* holds one for the seconds in which it deletes, and a writer that begins then waits.

    writer                          gc, each round
    1. put its lease                1. put its lease
    2. list leases of gc: wait      2. list leases of writers: withdraw, and wait
    3. look, upload                 3. read the refs once more, delete
    4. still in time? move the ref  4. remove its lease
    5. remove its lease

Each writes before it looks, so at least one of two sees the other: docs/design/006-gc.md has the proof.

**Invariant:** a lease ends by the store's clock, `seconds` after the object was last written. Its holder counts from
before it wrote it, on a clock that goes on while the machine sleeps: it never believes in a lease that has ended.

Blocking, thread-safe.
"""

from __future__ import annotations

import enum
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError, PenstockError, UsageError
from penstock.manifest.records import MAX_RECORD
from penstock.repo.bucket import object_keys
from penstock.store.base import Store

__all__ = ["HeldLease", "Lease", "LeaseKind", "held_version", "leases", "now", "reader_lease"]

_log = logging.getLogger(__name__)

_WRITERS = 600.0
_READERS = 86400.0
"""Seconds for which a lease stands. Nobody waits for a reader, so one that died may hold its versions for a day; and
a bucket that keeps versions gets a few a day of each mount, instead of one every few minutes."""
_LONGEST_PAUSE = 600.0
"""Seconds until a renewal that failed is tried again."""
_LOOK = 60.0
"""Seconds after which one looks whether a lease is to be renewed: waiting does not see that the machine slept."""
_POLL = 0.2
_LARGEST = 1 << 20
"""Bytes of a lease."""
_DRIFT = 2.0
"""Seconds by which a store may date an object too early: they cut times to whole seconds."""


class LeaseKind(enum.StrEnum):
    """What a holder does."""

    PUSH = "push"
    COMMIT = "commit"
    HISTORY = "history"
    MOUNT = "mount"
    OVERLAY = "overlay"
    GC = "gc"

    @property
    def writes(self) -> bool:
        """Whether the holder may build on any object that it finds."""
        return self in (LeaseKind.PUSH, LeaseKind.COMMIT, LeaseKind.HISTORY)

    @property
    def seconds(self) -> float:
        """For how long a lease stands that is not renewed."""
        return _READERS if self in (LeaseKind.MOUNT, LeaseKind.OVERLAY) else _WRITERS


class _Record(msgspec.Struct, frozen=True):
    penstock: int
    dataset: str
    seconds: float
    host: str
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as others find it. `modified` and `seconds` are of the store's clock; `holds` are hashes of versions."""

    key: str
    kind: LeaseKind
    dataset: str
    holds: tuple[bytes, ...]
    host: str
    modified: float | None
    seconds: float

    def ended(self, at: float) -> bool:
        """Whether it stands no more at a time of the store's clock; it never ends when that does not say since when."""
        return self.modified is not None and at > self.modified + self.seconds + _DRIFT


def now() -> float:
    """Return seconds on a clock of this machine that nobody sets and that goes on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def leases(store: Store, kind: LeaseKind | None = None) -> list[HeldLease]:
    """Return the leases of a bucket, ended ones too. IntegrityError names an object that is none."""
    prefix = object_keys.lease_key(kind, "") if kind is not None else object_keys.LEASES
    found = []
    for info in store.list(prefix):
        if info.key.endswith("/"):
            continue  # the marker that a console makes for a folder
        try:
            is_of = LeaseKind(info.key[len(object_keys.LEASES) :].partition("/")[0])
            record = msgspec.json.decode(store.get(info.key, limit=MAX_RECORD), type=_Record)
        except NotFoundError:
            continue  # given back since it was listed
        except (ValueError, msgspec.DecodeError) as error:
            raise IntegrityError(
                f"{info.key!r} in {store.url} is no lease",
                why=str(error),
                fix="Upgrade Penstock; if this is the newest, remove the object.",
            ) from error
        if problem := _problem(record, is_of):
            raise IntegrityError(
                f"{info.key!r} in {store.url} is no lease",
                why=problem,
                fix="Upgrade Penstock; if this is the newest, remove the object.",
            )
        holds = tuple(map(bytes.fromhex, record.holds))
        found.append(HeldLease(info.key, is_of, record.dataset, holds, record.host, info.modified, record.seconds))
    return found


def reader_lease(body: bytes, dataset: str | None) -> HeldLease:
    """Return the lease of a mount that somebody sends, to be put for them. UsageError: it is none, or holds too much.

    `dataset` is the one that they may read; None: any.
    """
    try:
        record = msgspec.json.decode(body, type=_Record) if len(body) <= _MOST_SENT else None
    except msgspec.DecodeError:
        record = None
    if record is None or _problem(record, LeaseKind.MOUNT):
        raise UsageError("this is no lease", fix="Upgrade Penstock.")
    if dataset is not None and record.dataset != dataset:
        raise AccessError("this lease is of another dataset")
    if not 0 < record.seconds <= LeaseKind.MOUNT.seconds or len(record.holds) > _MOST_HELD:
        raise UsageError("this lease holds too much", why=f"{_MOST_HELD} versions for a day are the most")
    holds = tuple(map(bytes.fromhex, record.holds))
    return HeldLease("", LeaseKind.MOUNT, record.dataset, holds, record.host, None, record.seconds)


_MOST_SENT = 1 << 16
_MOST_HELD = 256
"""Of a lease that somebody else has us put: bytes, and versions."""
_LONGEST_WRITER = 3600.0
_LONGEST_READER = 366 * 86400.0
"""Seconds of a lease beyond which it is none: a writer's stands for minutes, one of an overlay for days."""
_HASH = re.compile("[0-9a-f]{64}")


def _problem(record: _Record, kind: LeaseKind) -> str:
    """Say what a lease that somebody else wrote cannot say; an empty string when there is nothing."""
    if record.penstock != 1:
        return f"it has format {record.penstock}, and this Penstock reads format 1"
    most = _LONGEST_READER if kind in (LeaseKind.MOUNT, LeaseKind.OVERLAY) else _LONGEST_WRITER
    # Others wait for it: by a bucket's word alone, nobody waits for ever.
    if not record.seconds <= most:
        return f"it stands for {record.seconds:g} seconds, where {most:g} are the most"
    if not all(_HASH.fullmatch(held) for held in record.holds):
        return "what it holds is not named by 64 hex digits"
    return ""


class Lease:
    """One lease, held from `take` (or entering the context) to `close`; a thread renews it.

    `holds` are top hashes or commit ids, 32 bytes each, of the dataset. AccessError: the bucket may not be written.
    """

    def __init__(
        self,
        store: Store,
        dataset: str,
        kind: LeaseKind,
        holds: Iterable[bytes] = (),
        *,
        seconds: float | None = None,
    ) -> None:
        self.key = object_keys.lease_key(kind, secrets.token_hex(16))
        self._store = store
        self._dataset = dataset
        self._kind = kind
        self._holds = tuple(digest.hex() for digest in holds)
        self._seconds = kind.seconds if seconds is None else seconds
        self._lock = threading.Lock()  # one write at a time; guards what follows
        self._until = 0.0
        self._due = 0.0
        self._lost = False
        self._closed = threading.Event()

    def take(self) -> Self:
        """Write the lease. A writer returns when no gc is deleting anything, which takes it some seconds at most."""
        with self._lock:
            self._write()
        try:
            if self._kind.writes:
                self._wait_for_gc()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._renew, name="penstock-lease", daemon=True).start()
        return self

    def hold(self, holds: Iterable[bytes]) -> None:
        """Hold other versions from now on. Raises what the store raises."""
        with self._lock:
            self._holds = tuple(digest.hex() for digest in holds)
            self._write()

    def check(self) -> None:
        """Raise ConflictError unless the lease stood all the time, and stands long enough to move a ref now."""
        with self._lock:
            if self._lost or now() > self._until - self._seconds / 4:
                self._lost = True
                raise ConflictError(
                    "this took longer than its lease",
                    why="the store could not be reached, or the machine slept, so gc may have deleted what this found",
                    fix="Run the command again: what was uploaded and is still there is not uploaded a second time.",
                )

    def close(self, *, keep: bool = False) -> None:
        """Give the lease back; with `keep`, renew it no more and let it stand until it ends."""
        self._closed.set()
        with self._lock:
            if keep:
                return
            try:
                self._store.delete([self.key])
            except PenstockError as error:
                _log.info("lease %s stays until it ends: %s", self.key, error)

    def _write(self) -> None:
        begun = now()
        record = _Record(1, self._dataset, self._seconds, socket.gethostname(), self._holds)
        self._store.put(self.key, msgspec.json.encode(record))
        # It has to be there before the old one ended: else nobody knows what happened in between.
        self._lost = self._lost or 0 < self._until < now()
        self._until = begun + self._seconds - _DRIFT
        self._due = begun + self._seconds / 2

    def _renew(self) -> None:
        while not self._closed.wait(min(max(self._seconds / 20, _POLL), _LOOK)):
            if not self.keep_up():
                return

    def keep_up(self) -> bool:
        """Write the lease again if half of its time is over; False: it was given back, or lost."""
        with self._lock:
            if self._closed.is_set() or (self._lost and self._kind.writes):
                return False
            if now() >= self._due:
                try:
                    self._write()
                except PenstockError as error:
                    _log.warning("lease %s could not be renewed: %s", self.key, error)
                    self._due = now() + min(self._seconds / 20, _LONGEST_PAUSE)
        return True

    def _wait_for_gc(self) -> None:
        at, since = 0.0, 0.0
        while sweeping := leases(self._store, LeaseKind.GC):
            if not at:
                own = self._store.head(self.key)
                at, since = ((own.modified or 0.0) if own is not None else 0.0), now()
                _log.info("waiting for gc on %s", sweeping[0].host)
            if all(found.ended(at + now() - since) for found in sweeping):
                return
            time.sleep(_POLL)
            self.check()

    def __enter__(self) -> Self:
        return self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def held_version(
    store: Store, dataset: str, kind: LeaseKind, holds: Iterable[bytes], *, seconds: float | None = None
) -> Lease | None:
    """Hold versions for a mount, if the bucket may be written; None, and a line in the log, when not.

    A version that a branch or tag leads to needs no lease: without one, only others are in gc's reach.
    """
    lease = Lease(store, dataset, kind, holds, seconds=seconds)
    with suppress(PenstockError):
        return lease.take()
    _log.info("no lease in %s: gc will not know of this %s", store.url, kind)
    return None
