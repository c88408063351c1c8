"""Processes that fetch for this one, sharing the block cache with it. Blocking and thread-safe.

**Invariant:** every region asked for ends in an answer or an error: one whose process died goes to another, twice at
the most, and then back to who asked (`fetch` returns None), who can fetch without a process; one that has no answer
within its deadline ends its process. After such a return nobody is sent to a process for a while (`_Rest`).
**Invariant:** the bytes of all regions in flight are within the budget, which what entries point to elsewhere has for
itself, place by place: a place that does not answer takes nothing from others. A region that is late may be asked for
a second time (`hedge_policy`); both count until they end, also the one that nobody waits for any more.

Lock order: `_Process.lock` is never held while `Fetchers.lock` is taken. Reading an answer holds neither.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import NamedTuple

import msgspec

from penstock import errors
from penstock.errors import PenstockError, StoreUnreachableError
from penstock.manifest.entry import External
from penstock.repo.settings.bucket_setup import BucketSetup

from .byte_budget import ByteBudget
from .externals import place_of
from .fetch_messages import READY, FetchAnswer, FetchFailure, FetchRequest, read_message, write_message
from .hedge_policy import HedgePolicy, better
from .memory import shares
from .regions import Region
from .request_counts import RequestCounts

__all__ = ["FetchPool"]

_log = logging.getLogger(__name__)

_TRIES = 3
_START = 30.0
"""Seconds that a process may take to start, on a machine that is busy with other things."""
_KILLED = 0.5
"""Seconds that a process may take to die when it is killed, unless the kernel holds it in a read."""
_SLACK = 5.0
"""Seconds that a store elsewhere, which keeps its own deadline, may overrun it by."""
_SLOWEST = 128 << 10
"""Bytes a second: what a store may take for a body before the call is given up; as in the stores' own deadlines."""


_FIRST_REST, _LONGEST_REST = 10.0, 320.0
"""Seconds for which no process is asked once several died over one region; doubled each time until one answers."""


class _DiedError(Exception):
    """The process that was asked is no more, or could not be started."""


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


class _Process:
    """One process, and what it was asked."""

    def __init__(self, setup: bytes, counters: RequestCounts) -> None:
        self.lock = threading.Lock()
        self._counters = counters
        self._waiting: dict[int, Future[list[bool]]] = {}
        self._number = READY
        self._alive = True
        self.ready: Future[list[bool]] = Future()
        """Ends when the process can fetch, which takes most of a second, or when it never will."""
        self.cache_mode = "ok"
        self._child = subprocess.Popen(
            # -P: the working directory may be a dataset with a file called lmdb.py in it.
            [sys.executable, "-P", "-m", "penstock.repo.session.fetch_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests, self._answers = self._child.stdin, self._child.stdout
        with suppress(OSError):  # it died at once: `_listen` sees that
            write_message(self._requests, setup)
        threading.Thread(target=self._listen, name="penstock-answers", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def load(self) -> int:
        return len(self._waiting)

    def ask(self, region: Region) -> Future[list[bool]]:
        """Have a region fetched. Its future ends in `_DiedError` when the process does."""
        future: Future[list[bool]] = Future()
        with self.lock:
            if not self._alive:
                raise _DiedError
            self._number += 1
            number = self._number
            self._waiting[number] = future
            try:
                write_message(self._requests, msgspec.msgpack.encode(FetchRequest(number, region)))
            except OSError as error:
                del self._waiting[number]
                raise _DiedError from error
        return future

    def _listen(self) -> None:
        decoder = msgspec.msgpack.Decoder(FetchAnswer)
        while (message := read_message(self._answers)) is not None:
            answer = decoder.decode(message)
            self.cache_mode = answer.mode
            if answer.number == READY:
                with self.lock:
                    if not self.ready.done():
                        self.ready.set_result(answer.kept)
                continue
            self._counters.add(**answer.counts)
            with self.lock:
                future = self._waiting.pop(answer.number, None)
            if future is None:
                continue
            if answer.failure is not None:
                future.set_exception(_error_of(answer.failure))
            else:
                future.set_result(answer.kept)
        self._give_up()
        self._answers.close()
        self._child.wait()

    def _give_up(self) -> None:
        """Have nobody wait for answers any more."""
        with self.lock:
            self._alive = False
            waiting, self._waiting = self._waiting, {}
            with suppress(OSError):  # what is still buffered has nobody to go to
                self._requests.close()
            if not self.ready.done():
                self.ready.set_result([])
        for future in waiting.values():
            future.set_exception(_DiedError())

    def kill(self) -> None:
        self._child.kill()
        # Now, and not when it is gone: a thread that the kernel holds in a read keeps the process and its pipes.
        self._give_up()

    def dismiss(self) -> None:
        """Let it end."""
        with self.lock, suppress(OSError):
            self._requests.close()

    def end(self, timeout: float) -> None:
        """See that it has ended, after so many seconds by force."""
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            with suppress(subprocess.TimeoutExpired):  # it goes when the kernel lets it
                self._child.wait(_KILLED)


def _error_of(failure: FetchFailure) -> PenstockError:
    kind = getattr(errors, failure.kind, PenstockError)
    error: PenstockError = kind(failure.what, why=failure.why, fix=failure.fix)
    return error


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
        self._processes: list[_Process | None] = [None] * processes
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
        with suppress(_DiedError):  # whoever fetches sees to that
            self._choose()

    def fetch(self, region: Region) -> list[bool] | None:
        """Have a region's blocks put into the cache; which of them it has taken. Raises as `RegionReader.read`.

        None: processes die that are asked, and whoever asks must do without them.
        """
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
            except _DiedError:
                continue
            try:
                kept = self._ask(process, region, share, timeout)
            except _DiedError:
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

    def _ask(self, process: _Process, region: Region, share: _Share, timeout: float) -> list[bool]:
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
        self, process: _Process, first: Future[list[bool]], region: Region, share: _Share, end: float
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
        except (_DiedError, StoreUnreachableError):
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

    def _choose(self, other_than: _Process | None = None) -> _Process:
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
                    process = self._processes[at] = _Process(self._setup, self._counters)
                except OSError as error:  # no memory, or no more processes
                    _log.warning("a fetch process cannot be started: %s", error)
                    raise _DiedError from error
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
