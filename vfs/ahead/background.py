"""Fetches that no reader waits for: so many requests at a time, and what fails ends itself, not the mount.

On the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple, Unpack

import trio

from penstock.errors import PenstockError
from penstock.repo.fetch.regions import Region

__all__ = ["BackgroundFetches", "run_guarded"]

_log = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")


class BackgroundFetches:
    """Has regions put into the cache by `bring`, of which `requests` are under way at once."""

    def __init__(self, bring: Callable[[Region], Awaitable[None]], requests: int) -> None:
        self._bring = bring
        self._requests = trio.CapacityLimiter(requests)

    async def send(self, region: Region, nursery: trio.Nursery) -> None:
        """Have a region fetched in the background, as soon as there is a place for a request."""
        ticket = object()
        await self._requests.acquire_on_behalf_of(ticket)
        nursery.start_soon(self._fetch, region, ticket)

    async def _fetch(self, region: Region, ticket: object) -> None:
        try:
            await self._bring(region)
        finally:
            self._requests.release_on_behalf_of(ticket)


async def run_guarded(task: Callable[[Unpack[Arguments]], Awaitable[None]], *args: *Arguments) -> None:
    """Run what nobody waits for; a fault in it is logged, and means no more than that a reader fetches for itself."""
    try:
        await task(*args)
    except Exception as error:  # noqa: BLE001  # the reason is above
        kind = logging.INFO if isinstance(error, PenstockError) else logging.ERROR
        _log.log(kind, "fetching ahead has failed", exc_info=kind == logging.ERROR)
