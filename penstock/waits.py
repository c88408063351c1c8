"""What this process waits for that is not its own work, a store's answer or a mount's: told to people at a terminal.

Whoever may have to wait says so for as long as it lasts; `longest_wait` is what has lasted longest. Costs about a
microsecond, and there are few of them: one a request, not one a block. Thread-safe: each wait is an entry of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Wait", "longest_wait", "waiting_for"]


class Wait(NamedTuple):
    """Since when, in seconds of `time.monotonic`, and for what, as people say it: ``s3.example to list lab``."""

    since: float
    what: str


_waits: dict[int, Wait] = {}


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Say what is waited for while the block lasts."""
    wait = Wait(time.monotonic(), what)
    _waits[id(wait)] = wait
    try:
        yield
    finally:
        _waits.pop(id(wait), None)


def longest_wait() -> Wait | None:
    """Return what has been waited for longest; None: nothing."""
    return min(list(_waits.values()), default=None)
