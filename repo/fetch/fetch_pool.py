"""Processes that fetch for this one, sharing the block cache with it. Blocking and thread-safe.

**Invariant:** every region asked for ends in an answer or an error: one whose process died goes to another, twice at
the most, and then back to who asked (`fetch` returns None), who can fetch without a process; one that has no answer
within its deadline ends its process. After such a return nobody is sent to a process for a while (`_Rest`).
**Invariant:** the bytes of all regions in flight are within the budget, which what entries point to elsewhere has for
itself, place by place: a place that does not answer takes nothing from others. A region that is late may be asked for
a second time (`hedge_policy`); both count until they end, also the one that nobody waits for any more.

Lock order: `FetchChild.lock` is never held while that of the pool is taken. Reading an answer holds neither.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import NamedTuple

from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import External
from penstock.repo.settings.bucket_setup import BucketSetup

from .byte_budget import ByteBudget
from .externals import place_of
from .fetch_child import ChildDiedError, FetchChild
from .hedge_policy import HedgePolicy, better
from .memory import shares
from .regions import Region
from .request_counts import RequestCounts

__all__ = ["FetchPool"]

_log = logging.getLogger(__name__)

_TRIES = 3
_START = 30.0
"""Seconds that a process may take to start, on a machine that is busy with other things."""
_SLACK = 5.0
"""Seconds that a store elsewhere, which keeps its own deadline, may overrun it by."""
_SLOWEST = 128 << 10
"""Bytes a second: what a store may take for a body before the call is given up; as in the stores' own deadlines."""


_FIRST_REST, _LONGEST_REST = 10.0, 320.0
"""Seconds for which no process is asked once several died over one region; doubled each time until one answers."""


class _Rest:
    """Whether processes are worth asking. Pure: the time is told."""

    def __init__(self) -> None:
        self._until = 0.0
        self._next = _FIRST_REST

    def over(self, now: float) -> bool:
        """Whether to ask."""
        return now >= self._until

    def begin(self, now: float) -> None:
        """Take note that they die."""
        if now >= self._until:  # else another region has found that out already
            self._until = now + self._next
            self._next = min(2 * self._next, _LONGEST_REST)

    def end(self) -> None:
        """Take note that one has answered."""
        self._next = _FIRST_REST


class _Share(NamedTuple):
    """What the fetches of one place have for themselves."""

    budget: ByteBudget
    hedging: HedgePolicy
    seconds: float
    """After which a fetch is given up; bytes that move give it more time."""
    is_file: bool = False
    """What is late is not asked for again then: it would come from the same disk."""
    is_outside: bool = False
    """What is late does not end the process then: it may wait for as long as the kernel likes, as others need not."""


class FetchPool:
    """Some processes, started when they are first needed and anew when one dies."""

    def __init__(
        self, setup: BucketSetup, counters: RequestCounts, *, processes: int = 2, budget: int | None = None
    ) -> None:
        self._setup = setup.encode()
        self._deadline = setup.options.deadline
        self._counters = counters
        self._processes: list[FetchChild | None] = [None] * processes
        self._lock = threading.Lock()
        self._limit = budget if budget is not None else shares().fetching
        self._remotes = setup.settings.options_by_address()
        self._outside_deadline = max(self._deadline, *(each.deadline for each in self._remotes.values()), 0.0)
        self._own = _Share(ByteBudget(self._limit, self._deadline), HedgePolicy(), 2 * self._deadline)
        self._outside: dict[str, _Share] = {}
        self._rest = _Rest()
        self._closed = False
        self.restarts = 0

    def start(self) -> None:
        """Start one process now: it takes most of a second until it can fetch."""
        with suppress(ChildDiedError):  # whoever fetches sees to that
            self._choose()

    def fetch(self, region: Region) -> list[bool] | None:
        """Have a region's blocks put into the cache; which of them it has taken. Raises as `RegionReader.read`.

        None: processes die that are asked, and whoever asks must do without them. Not for what is pinned by identity:
        the cache is told by hash what was brought, and nobody knows one.
        """
        assert not region.is_identity
        if not self._rest.over(time.monotonic()):
            return None
        length = region.length
        share = self._share_of(region)
        with share.budget.hold(length):
            return self._fetch(region, share, share.seconds + (0.0 if share.is_file else length / _SLOWEST))

    @property
    def budget(self) -> ByteBudget:
        """What holds all of the bucket's own bytes that are on their way."""
        return self._own.budget

    def budget_of(self, region: Region) -> ByteBudget:
        """Return what holds a region's bytes; whoever fetches it here for want of a process that can holds it, too."""
        return self._share_of(region).budget

    def _share_of(self, region: Region) -> _Share:
        if not isinstance(region.object, External):
            return self._own
        place, is_file = place_of(region.object.uri, self._remotes)
        with self._lock:
            share = self._outside.get(place)
            if share is None:
                seconds = self._deadline if is_file else self._outside_deadline
                budget = ByteBudget(self._limit, seconds)
                share = _Share(budget, HedgePolicy(), seconds + (0.0 if is_file else _SLACK), is_file, is_outside=True)
                self._outside[place] = share
        return share

    def _fetch(self, region: Region, share: _Share, timeout: float) -> list[bool] | None:
        for _ in range(_TRIES):
            try:
                process = self._choose()
            except ChildDiedError:
                continue
            try:
                kept = self._ask(process, region, share, timeout)
            except ChildDiedError:
                if not self._closed:
                    _log.warning("fetch process %d has died; asking another", process.pid)
            except TimeoutError as error:
                if not share.is_outside:
                    process.kill()
                raise StoreUnreachableError(
                    "a fetch did not end", why=f"its process has not answered within {timeout:.0f} s"
                ) from error
            else:
                share.budget.answered()
                self._rest.end()
                return kept
        _log.warning("%d fetch processes died over one fetch: fetching without them for a while", _TRIES)
        self._rest.begin(time.monotonic())
        return None

    def _ask(self, process: FetchChild, region: Region, share: _Share, timeout: float) -> list[bool]:
        """Ask a process for a region, and once more when the answer is late.

        TimeoutError when it takes so many seconds, not counting those of the process's start.
        """
        share.hedging.asked()
        first = process.ask(region)
        wait((process.ready, first), _START, FIRST_COMPLETED)
        begun = time.monotonic()
        end = begun + timeout
        wait((first,), min(share.hedging.delay(region.length), end - begun))
        taken = first
        if not first.done() and not share.is_file:
            taken = self._ask_again(process, first, region, share, end)
        kept = taken.result(end - time.monotonic())
        share.hedging.answered(region.length, time.monotonic() - begun)
        return kept

    def _ask_again(
        self, process: FetchChild, first: Future[list[bool]], region: Region, share: _Share, end: float
    ) -> Future[list[bool]]:
        """Ask for a region that `process` is late with, if that is permitted; return what to wait for."""
        length = region.length
        if not share.budget.take(length):
            return first
        if not share.hedging.allow():
            share.budget.give(length)
            return first
        try:
            other = self._choose(other_than=process)
            second = other.ask(region)
        except (ChildDiedError, StoreUnreachableError):
            share.budget.give(length)
            return first
        self._counters.add(hedges=1)
        taken = better(first, second, end - time.monotonic())
        late, loser = (other, second) if taken is first else (process, first)
        # Nobody waits for the loser: its own deadline ends it, or else this ends its process.
        timer = threading.Timer(max(0.0, end - time.monotonic()), late.kill)
        timer.daemon = True
        timer.start()

        def ended(_: Future[list[bool]]) -> None:
            timer.cancel()
            share.budget.give(length)

        loser.add_done_callback(ended)
        return taken

    def _choose(self, other_than: FetchChild | None = None) -> FetchChild:
        """Return the process with the least to do, started if need be; with `other_than` another that runs, if any."""
        with self._lock:
            if self._closed:
                raise StoreUnreachableError("a fetch was given up", why="the mount is ending")
            if other_than is not None:
                others = [p for p in self._processes if p is not None and p.alive and p is not other_than]
                return min(others, key=lambda p: p.load, default=other_than)
            at = min(range(len(self._processes)), key=lambda at: p.load if (p := self._processes[at]) else 0)
            process = self._processes[at]
            if process is None or not process.alive:
                if process is not None:
                    self.restarts += 1
                try:
                    process = self._processes[at] = FetchChild(self._setup, self._counters)
                except OSError as error:  # no memory, or no more processes
                    _log.warning("a fetch process cannot be started: %s", error)
                    raise ChildDiedError from error
            return process

    @property
    def cache_mode(self) -> str:
        """How the processes last found the cache's disk: ``ok`` or ``degraded: why``."""
        modes = [process.cache_mode for process in self._processes if process is not None and process.alive]
        return max(modes, key=lambda mode: mode != "ok", default="ok")

    def pids(self) -> list[int]:
        """Return the ids of the processes that are alive."""
        return [process.pid for process in self._processes if process is not None and process.alive]

    def close(self, timeout: float = 2.0) -> None:
        """End the processes; what is still asked of them ends in an error."""
        with self._lock:
            self._closed = True
            processes = [process for process in self._processes if process is not None]
        for process in processes:
            process.dismiss()
        end = time.monotonic() + timeout
        for process in processes:
            process.end(max(0.0, end - time.monotonic()))
