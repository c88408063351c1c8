"""How long a call may take and how often it is tried: pure decisions, with the clock handed in.

botocore's own retries are off, because they know no deadline. A call starts attempts only
while one that goes as badly as its timeouts allow would still end in time, so `deadline` holds for the whole call.

**Invariant:** a call ends within `deadline` seconds, plus eight for each MiB that has moved.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SLOWEST_LINE", "Deadline", "RetryPolicy"]

# A slow line is not a dead store: 64 MiB over 2 Mbit/s take four minutes, and the deadline is for small calls.
SLOWEST_LINE = 128 * 1024  # bytes per second
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


@dataclass(slots=True)
class Deadline:
    """The end of one call, in seconds of `clock`; it moves with the bytes. Belongs to the thread of the call."""

    end: float
    moved: int = 0
    clock: Callable[[], float] = time.monotonic

    def progress(self, size: int) -> None:
        """Allow for `size` bytes that have moved, if that is more than in any attempt so far."""
        if size > self.moved:
            self.end += (size - self.moved) / SLOWEST_LINE
            self.moved = size

    def remaining(self) -> float:
        """Return the seconds that are left; negative when it has passed."""
        return self.end - self.clock()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`slowest_attempt` is the seconds after which one attempt without any answer is given up."""

    deadline: float
    max_attempts: int
    slowest_attempt: float

    def start(self, *, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Return the deadline of a call that starts now."""
        return Deadline(clock() + self.deadline, clock=clock)

    def pause(self, failures: int, deadline: Deadline, *, draw: Callable[[], float] = random.random) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Full jitter: between nothing and a bound that doubles, so that a thousand clients which failed together do
        not come back together.
        """
        if failures >= self.max_attempts:
            return None
        pause = draw() * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
        return pause if deadline.remaining() - pause > self.slowest_attempt else None
