"""Whether what is changed in a writable mount can be committed.

Tried when it is mounted, so that nobody works for a day and hears of it then, and again while it could not. A mount
without leave to commit is mounted all the same: leave may be given later, or who has it commits the overlay. On the
event loop.
"""

from __future__ import annotations

import trio

from penstock.repo.read.snapshot import Snapshot
from penstock.repo.refs.write_access import refusal
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.vfs.source.workers import Workers

__all__ = ["LandingCheck"]

_PATIENCE = 5.0
"""Seconds for which a mount waits for the answer."""
_AGAIN = 60.0
"""Seconds until who could not commit is asked for again."""


class LandingCheck:
    """Asks for one mount. `refused` says why a commit would be; None: it would not, as far as is known."""

    def __init__(self, snapshot: Snapshot, settings: Settings, workers: Workers, refused: str | None) -> None:
        """Begin with what an earlier process of the mount has found."""
        self._snapshot = snapshot
        self._settings = settings
        self._workers = workers
        self.refused = refused

    async def begin(self) -> None:
        """Ask while the mount waits; not a store that could not be reached just now."""
        if self._snapshot.offline:
            self.refused = f"it is not known: {self._snapshot.bucket_url} cannot be reached"
        else:
            await self.look()

    async def look(self) -> None:
        """Ask the bucket."""
        repository, bucket = self._snapshot.repository, parse_handle(self._snapshot.handle).bucket
        with trio.move_on_after(_PATIENCE) as waiting:
            ref = self._snapshot.version.ref
            error = await self._workers.run(refusal, repository, ref, self._settings, bucket)
            self.refused = str(error) if error is not None else None
        if waiting.cancelled_caught:
            self.refused = f"it is not known: {repository.store.url} has not answered for {_PATIENCE:g} s"

    async def watch(self) -> None:
        """Ask again, now and then, as long as it is refused."""
        while True:
            await trio.sleep(_AGAIN)
            if self.refused is not None:
                await self.look()
