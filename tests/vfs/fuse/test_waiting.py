"""How the process that serves waits for the next request: how long it looks, and what the alarm ends.

The alarm is the one that pytest-timeout would use, which therefore watches these tests from a thread.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from math import inf
from time import monotonic

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from penstock.vfs.fuse import request_wait
from penstock.vfs.fuse.request_wait import Looking

pytestmark = pytest.mark.timeout(120, method="thread")

PATIENCE = 30
Make = Callable[..., Looking]
Pipe = tuple[int, int]


class Clock:
    """A clock that goes on by a microsecond whenever it is read, or is told to; it calls `call` when it is due."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due = inf
        self.call: Callable[[], object] = int

    def __call__(self) -> float:
        self.now += 1e-6
        if self.now >= self.due:
            self.due = inf
            self.call()
        return self.now


class Rounds:
    """Counts the rounds of the event loop."""

    def __init__(self) -> None:
        self.number = 0

    async def count(self) -> None:
        while True:
            self.number += 1
            await trio.lowlevel.checkpoint()


class Withdrawal(trio.abc.Instrument):
    """Takes what there is to read when the event loop has woken up, and before any task runs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.taken = 0

    def after_io_wait(self, timeout: float) -> None:
        if select.select([self._descriptor], [], [], 0)[0]:
            os.read(self._descriptor, 1)
            self.taken += 1


@pytest.fixture
def make() -> Iterator[Make]:
    """Return what makes a `Looking` that hears the alarm; afterwards all is as before."""
    before = signal.getsignal(signal.SIGALRM)

    def made(*arguments: float) -> Looking:
        looking = Looking(*arguments)
        signal.signal(signal.SIGALRM, looking.heard)
        return looking

    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Return a pipe's ends: the one to read from, and the one to write to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that looking goes by."""
    clock = Clock()
    monkeypatch.setattr(request_wait, "monotonic", clock)
    return clock


async def wait_for(something: Awaitable[None]) -> None:
    await something


async def take(looking: Looking, pipe: Pipe) -> None:
    """Write something, wait until it can be read, and read it."""
    os.write(pipe[1], b"x")
    await looking.wait_readable(pipe[0])
    os.read(pipe[0], 1)


async def looked(looking: Looking, pipe: Pipe, clock: Clock, later: float) -> float:
    """Wait for what comes `later` seconds after falling asleep; return the seconds it was looked for before."""
    begun = clock.now
    sleep = looking.wait_readable(pipe[0])
    took = clock.now - begun
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for, sleep)
            await wait_all_tasks_blocked()
            clock.now += later
            os.write(pipe[1], b"x")
    os.read(pipe[0], 1)
    return took


@pytest.mark.trio
async def test_what_is_there_is_found_at_once(make: Make, pipe: Pipe, clock: Clock) -> None:
    looking, rounds = make(), Rounds()
    os.write(pipe[1], b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.count)
        await looking.wait_readable(pipe[0])
        before = rounds.number
        for _ in range(100):
            await looking.wait_readable(pipe[0])
        assert rounds.number == before
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_what_is_not_there_is_slept_for(make: Make, pipe: Pipe) -> None:
    looking, woken = make(), trio.Event()

    async def sleep() -> None:
        await looking.wait_readable(pipe[0])
        woken.set()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await wait_all_tasks_blocked()
            assert not woken.is_set()
            os.write(pipe[1], b"x")


@pytest.mark.trio
async def test_it_looks_while_requests_are_quick(make: Make, pipe: Pipe, clock: Clock) -> None:
    looking = make(70e-6)
    await take(looking, pipe)
    quick = [await looked(looking, pipe, clock, 100e-6) for _ in range(6)]
    assert quick[0] < 5e-6
    assert quick[1] > 10e-6
    assert quick == sorted(quick)
    assert quick[-2:] == pytest.approx([70e-6, 70e-6], abs=5e-6)
    slow = [await looked(looking, pipe, clock, 10e-3) for _ in range(6)]
    assert slow[0] == pytest.approx(70e-6, abs=5e-6)
    assert slow == sorted(slow, reverse=True)
    assert slow[-1] < 5e-6
    await looked(looking, pipe, clock, 100e-6)
    assert await looked(looking, pipe, clock, 100e-6) > 10e-6


@pytest.mark.trio
async def test_what_comes_while_it_looks_is_found_without_sleep(make: Make, pipe: Pipe, clock: Clock) -> None:
    looking, rounds = make(), Rounds()
    await take(looking, pipe)
    for _ in range(6):
        await looked(looking, pipe, clock, 100e-6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.count)
        await trio.lowlevel.checkpoint()
        before = rounds.number
        begun = clock.now
        clock.call, clock.due = partial(os.write, pipe[1], b"x"), begun + 50e-6
        with trio.fail_after(PATIENCE):
            await looking.wait_readable(pipe[0])
        assert clock.now - begun == pytest.approx(50e-6, abs=5e-6)
        assert rounds.number == before
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_it_never_looks_when_told_so(make: Make, pipe: Pipe, clock: Clock) -> None:
    looking = make(0)
    await take(looking, pipe)
    assert max([await looked(looking, pipe, clock, 100e-6) for _ in range(6)]) < 5e-6


@pytest.mark.trio
async def test_the_event_loop_has_its_rounds_however_much_there_is(make: Make, pipe: Pipe, clock: Clock) -> None:
    looking, rounds = make(), Rounds()
    os.write(pipe[1], b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.count)
        end = clock.now + 50e-3
        while clock.now < end:
            await looking.wait_readable(pipe[0])
        nursery.cancel_scope.cancel()
    assert 25 <= rounds.number <= 60


@pytest.mark.trio
async def test_it_is_cancelled_however_much_there_is(make: Make, pipe: Pipe) -> None:
    looking = make()
    os.write(pipe[1], b"x")
    end = monotonic() + PATIENCE
    with trio.move_on_after(0.02) as scope:
        while monotonic() < end:
            await looking.wait_readable(pipe[0])
    assert scope.cancelled_caught


@pytest.mark.trio
async def test_a_request_that_is_given_up_is_not_taken_for_one(make: Make, pipe: Pipe) -> None:
    looking, woken, withdrawal = make(), trio.Event(), Withdrawal(pipe[0])

    async def sleep() -> None:
        await looking.wait_readable(pipe[0])
        woken.set()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(withdrawal)
            for _ in range(3):
                os.write(pipe[1], b"x")
                await wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(withdrawal)
            assert withdrawal.taken == 3
            assert not woken.is_set()
            os.write(pipe[1], b"x")


@pytest.mark.trio
async def test_a_sleep_ends_with_what_is_slept_for(make: Make) -> None:
    looking = make()
    reading, writing = os.pipe()

    async def sleep() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await looking.wait_readable(reading)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await wait_all_tasks_blocked()
            trio.lowlevel.notify_closing(reading)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for, looking.wait_readable(reading))
            await wait_all_tasks_blocked()
            os.close(writing)
        os.close(reading)
        await looking.wait_readable(reading)  # reading says what is wrong


@pytest.mark.trio
async def test_a_process_that_sleeps_is_not_woken_by_the_alarm_for_ever(make: Make, pipe: Pipe) -> None:
    looking = make()
    with trio.fail_after(PATIENCE):
        for _ in range(2):
            await take(looking, pipe)
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for, looking.wait_readable(pipe[0]))
                while signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
                    await trio.sleep(0.02)
                assert len(nursery.child_tasks) == 1
                os.write(pipe[1], b"x")
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            os.read(pipe[0], 1)


_STANDING = """
import ctypes, errno, os, signal, sys, time
import trio
from penstock.vfs.fuse.request_wait import Looking

libc = ctypes.PyDLL(None, use_errno=True)  # it lets no other thread run meanwhile, like pyfuse3
reading, writing = os.pipe()
looking = Looking()
alarms = 0

def heard(number, frame):
    global alarms
    alarms += 1
    looking.heard(number, frame)

signal.signal(signal.SIGALRM, heard)

async def stand(late):
    os.write(writing, b"x")
    await looking.wait_readable(reading)
    os.read(reading, 1)
    before = alarms
    while late and alarms == before:
        time.sleep(0.01)
    begun = time.monotonic()
    found = libc.read(reading, ctypes.create_string_buffer(1), 1)
    assert (found, ctypes.get_errno()) == (-1, errno.EINTR)
    print(time.monotonic() - begun, flush=True)

async def main():
    for _ in range(4):
        await stand(sys.argv[1] == "late")

trio.run(main)
os._exit(0)  # as `server` ends: the alarm is still set, and Python takes down what hears it before it ends itself
"""


@pytest.mark.parametrize("when", ["in-time", "late"])
def test_a_read_that_finds_nothing_is_interrupted(when: str) -> None:
    """Late is a process that was stopped for a while between its last look and the read: it has heard the alarm."""
    command = [sys.executable, "-c", _STANDING, when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    took = [float(line) for line in done.stdout.splitlines()]
    assert len(took) == 4
    assert min(took) < 1
