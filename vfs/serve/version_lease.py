"""A mount's lease: so that `gc` deletes nothing that the mount shows, whatever becomes of its branch.

It is taken once files can be read, in a thread, and is best effort: a bucket that may only be read has no gc of ours to
fear, and a store that does not answer must not hold up a mount. It runs on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from penstock.errors import PenstockError
from penstock.repo.bucket.leases import Lease, LeaseKind, held_version
from penstock.repo.read.snapshot import Snapshot
from penstock.vfs.source.workers import Workers

__all__ = ["VersionLease"]

_log = logging.getLogger(__name__)

_LOOK = 30.0
"""Seconds until a version that the mount moved to is held as well: a branch has just led to it."""
_AGAIN = 300.0
"""Seconds until a lease that could not be taken is tried for again."""
_LAST = 2.0
"""Seconds for giving the lease back; it ends by itself."""
_LEFT = 7 * 86400.0
"""Seconds for which an overlay that was left with changes holds its version."""


class VersionLease:
    """Holds the versions of one mount. `is_dirty`: whether it leaves changes behind, which need them still."""

    def __init__(self, snapshot: Snapshot, workers: Workers, is_dirty: Callable[[], bool]) -> None:
        self._snapshot = snapshot
        self._workers = workers
        self._is_dirty = is_dirty
        self._held = [snapshot.top_hash]
        self._lease: Lease | None = None
        self._changed = False

    async def begin(self) -> None:
        """Take the lease, now or when the store lets us, and keep it up to date."""
        repository = self._snapshot.repository
        while True:
            changed, self._changed = self._changed, False
            if self._lease is None:
                self._lease = await self._workers.run(
                    held_version, repository.store, repository.dataset, LeaseKind.MOUNT, tuple(self._held)
                )
            elif changed:
                try:
                    await self._workers.run(self._lease.hold, tuple(self._held))
                except PenstockError as error:  # its next renewal holds it
                    _log.warning("the lease does not name the newest version yet: %s", error)
            await trio.sleep(_LOOK if self._lease is not None else _AGAIN)

    def move(self, top_hash: bytes) -> None:
        """Hold another version as well: the mount still reads what it has shown before."""
        if top_hash not in self._held:
            self._held.append(top_hash)
            self._changed = True

    async def end(self) -> None:
        """Give the lease back, or leave a long one for changes that are left."""
        lease = self._lease
        if lease is None:
            return
        with trio.move_on_after(_LAST, shield=True):
            if self._is_dirty():
                await self._workers.run(self._leave)
            await self._workers.run(lease.close)

    def _leave(self) -> None:
        repository = self._snapshot.repository
        lease = held_version(repository.store, repository.dataset, LeaseKind.OVERLAY, tuple(self._held), seconds=_LEFT)
        if lease is not None:
            lease.close(keep=True)
