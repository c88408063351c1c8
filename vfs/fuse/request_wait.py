"""How the process that serves waits for the kernel's next request.

pyfuse3 waits for each request behind a lock and in trio's epoll: a round of the event loop, and a sleep that costs more
than most answers. Here a task that has answered at once may wait again without a round, and looks for the next request
itself for some microseconds before it sleeps. How long, the requests before decide, as KVM does for an idle processor
(Linux, Documentation/virt/kvm/halt-polling.rst): where they follow each other quickly it pays, where they do not it
stops. pyfuse3 lets the event loop that it uses be replaced; `pyfuse3.asyncio` does so in the same way.

A request that is given up before it was read, because its reader was killed, is not there any more when pyfuse3 reads:
blocking, and with all of Python standing still until the next request. So what was readable is looked at again at the
last moment, and an alarm interrupts the read(2) that found nothing all the same.

It runs in the main thread. docs/design/009-waiting.md has the figures.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Awaitable, Callable, Generator
from time import monotonic
from types import FrameType, SimpleNamespace, TracebackType
from typing import Any

import pyfuse3
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task

__all__ = ["Looking", "Turn", "wait_by_looking"]

_FIRST_LOOK = 20e-6
_LONGEST_LOOK = 100e-6
_SOON = 300e-6
"""Seconds within which the next request comes when requests follow each other, with the time it takes to wake up."""
_ROUND = 1e-3
"""Seconds after which the event loop has a round, however many requests are there."""
_ALARM = 0.2
"""Seconds after which a read(2) is interrupted."""


class _Done:
    """What is done when it is awaited: no coroutine has to be made for it."""

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]  # await asks for no more than an iterator


_DONE = _Done()


class Turn:
    """A lock that whoever lets go of it may take again before those who wait have run; the last to wait comes first.

    So a task that need not wait for anything answers request after request, and the memory that requests are read into
    is that of few tasks.
    """

    def __init__(self, arrive: Callable[[], None]) -> None:
        """`arrive` is called when a task comes: it has just answered."""
        self._arrive = arrive
        self._taken = False
        self._waiting: list[Task] = []

    def __aenter__(self) -> Awaitable[None]:
        self._arrive()
        if self._taken:
            return self._wait()
        self._taken = True
        return _DONE

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        self._taken = False
        if self._waiting:
            trio.lowlevel.reschedule(self._waiting.pop())
        return _DONE

    async def _wait(self) -> None:
        task = trio.lowlevel.current_task()

        def give_up(_: RaiseCancelT) -> Abort:
            self._waiting.remove(task)
            return Abort.SUCCEEDED

        while self._taken:
            self._waiting.append(task)
            await trio.lowlevel.wait_task_rescheduled(give_up)
        self._taken = True


class Looking:
    """Waits until a descriptor can be read, by looking first. `longest`: seconds of that at most; 0 is never."""

    def __init__(self, longest: float = _LONGEST_LOOK) -> None:
        self._longest = longest
        self._look = 0.0
        self._poll = select.poll()
        self._registered: int | None = None
        self._round = 0.0
        self._alarm = 0.0
        self._asleep = False

    def wait_readable(self, descriptor: int) -> Awaitable[None]:
        """Return when there is something to read. trio.ClosedResourceError, trio.Cancelled: there will not be."""
        if descriptor != self._registered:
            self._poll.register(descriptor, select.POLLIN)
            self._registered = descriptor
        now = monotonic()
        if now >= self._round:
            return self._after_a_round(descriptor)
        poll = self._poll.poll
        end = now + self._look
        while not poll(0):
            if monotonic() >= end:
                return self._sleep(descriptor, now)
        if now >= self._alarm:
            self._watch(now)
        return _DONE

    async def _after_a_round(self, descriptor: int) -> None:
        await trio.lowlevel.checkpoint()
        self._round = monotonic() + _ROUND
        await self.wait_readable(descriptor)

    async def _sleep(self, descriptor: int, begun: float) -> None:
        self._asleep = True
        try:
            await trio.lowlevel.wait_readable(descriptor)
            while not self._poll.poll(0):
                await trio.lowlevel.wait_readable(descriptor)
        finally:
            self._asleep = False
        now = monotonic()
        if now - begun < _SOON:
            self._look = min(self._longest, max(_FIRST_LOOK, self._look * 2))
        else:
            self._look = self._look / 2 if self._look > _FIRST_LOOK else 0.0
        self._round = now + _ROUND
        if now >= self._alarm:
            self._watch(now)

    def _watch(self, now: float) -> None:
        """Have the alarm go off before long, and again and again until it is heard in a sleep."""
        signal.setitimer(signal.ITIMER_REAL, _ALARM, _ALARM)
        self._alarm = now + _ALARM / 2

    def heard(self, _number: int, _frame: FrameType | None) -> None:
        """Take note of the alarm: whatever it has interrupted, Python goes on.

        Only a sleep ends it: a process that was stopped after its last look hears it before the read(2) that it is for.
        """
        if self._asleep:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._alarm = 0.0


def wait_by_looking(arrive: Callable[[], None]) -> None:
    """Have pyfuse3 wait so, in this process. `arrive` is called whenever a request has been answered.

    The process has to end by `os._exit`: an alarm that goes off while Python ends would kill it.
    """
    looking = Looking(_LONGEST_LOOK if len(os.sched_getaffinity(0)) > 1 else 0)
    signal.signal(signal.SIGALRM, looking.heard)
    pyfuse3.trio = SimpleNamespace(  # type: ignore[attr-defined]  # its stubs leave it out
        Lock=lambda: Turn(arrive),
        open_nursery=trio.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
        lowlevel=SimpleNamespace(
            current_task=trio.lowlevel.current_task,
            current_trio_token=trio.lowlevel.current_trio_token,
            notify_closing=trio.lowlevel.notify_closing,
            wait_readable=looking.wait_readable,
        ),
    )
