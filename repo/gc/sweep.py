"""Sweep: the rounds in which `gc` deletes, each alone with the bucket and short.

A round holds a lease of its own, so that no writer begins; it withdraws when a writer is at work. What it deletes was
garbage when the round began, after every ref and lease was looked at under the lease.

**Invariant:** a delete begins only in the first `_LONGEST_START` seconds of a round, and has ended, or has failed for
good, before the round's lease ends, even if the process is killed meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from penstock.errors import IntegrityError, PenstockError
from penstock.progress import Stage
from penstock.repo.bucket.leases import HeldLease, Lease, LeaseKind, leases, now
from penstock.repo.bucket.proof import StoreClock, written_at
from penstock.store.base import Store

__all__ = ["BusyError", "Round", "delete_keys", "sweep_round"]

_log = logging.getLogger(__name__)

_SECONDS = 150.0
"""For which the lease of a round stands: its own time, and the deadline of its last delete."""
_ROUND = 8.0
_LONGEST_START = 60.0
_POLL = 0.2
_BATCH = 250
_AT_ONCE = 4


class BusyError(PenstockError):
    """Somebody is writing to the bucket, and did not end while one waited."""


@dataclass(frozen=True, slots=True)
class Round:
    """A time in which nobody else writes. `held` are the leases that stand."""

    begun: float
    held: tuple[HeldLease, ...]

    @property
    def lasts(self) -> bool:
        """Whether there is time for more: writers that came meanwhile are waiting."""
        return now() - self.begun < _ROUND

    def check(self) -> None:
        """Raise BusyError when the round has gone on for so long that its lease may end before a delete does."""
        if now() - self.begun > _LONGEST_START:
            raise BusyError("a round of deletions took too long", why="the store or this machine is slow")


@contextmanager
def sweep_round(store: Store, clock: StoreClock, patience: float, seconds: float = _SECONDS) -> Iterator[Round]:
    """Be alone with a bucket: wait until no writer holds a lease, up to `patience` seconds; else BusyError.

    Leases that have ended are removed. `seconds`: for how long the bucket is closed to writers should this die.
    IntegrityError: the store's clock has jumped, or the lease of this round is not listed: then others may not be.
    """
    until = now() + patience
    while True:
        begun = now()
        with Lease(store, "", LeaseKind.GC, seconds=seconds) as lease:
            own = store.head(lease.key)
            found = leases(store)
            if own is None or all(each.key != lease.key for each in found):
                raise _hidden(store, lease.key)
            at = written_at(store, own)
            clock.check(at)
            held = tuple(each for each in found if not each.ended(at))
            _remove_ended(store, [each for each in found if each.ended(at)], at)
            writers = [each for each in held if each.kind.writes]
            if not writers:
                yield Round(begun, held)
                return
        if now() >= until:
            one = writers[0]
            raise BusyError(
                f"a {one.kind} to {one.dataset!r} is at work on {one.host}",
                why="what it builds on cannot be told from garbage",
                fix="Run gc again when it has ended; if it was killed, its lease ends in some minutes.",
            )
        _log.info("waiting for a %s to %r on %s", writers[0].kind, writers[0].dataset, writers[0].host)
        time.sleep(_POLL)


def _remove_ended(store: Store, found: Sequence[HeldLease], at: float) -> None:
    """Remove leases that have ended, each only when the object itself says so: a listing may show an older one."""
    for lease in found:
        info = store.head(lease.key)
        if info is not None and replace(lease, modified=info.modified).ended(at):
            store.delete([lease.key])


def _hidden(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"a listing of {store.url} leaves out {key!r}, which was just written",
        why="so leases of those who write may be left out as well",
        fix="Nothing was deleted. Use a server that lists what is there; penstock doctor --write BUCKET tries it.",
    )


def delete_keys(store: Store, keys: Sequence[str], pool: Executor, deleting: Stage) -> None:
    """Delete objects in batches, some at a time; when it returns or raises, all that was begun has ended."""
    batches = [keys[at : at + _BATCH] for at in range(0, len(keys), _BATCH)]
    for at in range(0, len(batches), _AT_ONCE):
        begun = [(pool.submit(store.delete, batch), len(batch)) for batch in batches[at : at + _AT_ONCE]]
        failures = [failure for future, _ in begun if (failure := future.exception()) is not None]
        if failures:
            raise failures[0]
        deleting.advance(sum(count for _, count in begun))
