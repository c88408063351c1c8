"""How often and how long: the decisions alone, with a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from penstock.store.retry import SLOWEST_LINE, Deadline, RetryPolicy

seconds = st.floats(0.001, 1000, allow_nan=False)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@given(seconds, seconds, seconds, st.integers(1, 20), st.data())
def test_a_call_ends_in_time(deadline: float, connect: float, read: float, attempts: int, data: st.DataObject) -> None:
    """However long each attempt takes within its timeouts, the last one ends before the deadline."""
    slowest = min(connect, deadline / 4) + min(read, deadline / 2)
    policy = RetryPolicy(deadline, attempts, slowest)
    clock = Clock()
    call = policy.start(clock=clock)
    failures = 0
    while True:
        clock.now += data.draw(st.floats(0, slowest))
        failures += 1
        pause = policy.pause(failures, call, draw=lambda: data.draw(st.floats(0, 1)))
        if pause is None:
            break
        clock.now += pause
    assert failures <= attempts
    assert call.remaining() >= -1e-6


def test_pauses_double_up_to_a_bound() -> None:
    policy = RetryPolicy(1e6, 100, 1.0)
    call = policy.start()
    pauses = [policy.pause(failures, call, draw=lambda: 1.0) for failures in range(1, 9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert policy.pause(5, call, draw=lambda: 0.25) == 0.4
    assert policy.pause(100, call) is None


def test_what_moves_is_given_time() -> None:
    clock = Clock()
    call = RetryPolicy(10.0, 3, 1.0).start(clock=clock)
    call.progress(SLOWEST_LINE * 5)
    assert call.remaining() == 15
    call.progress(SLOWEST_LINE * 5)
    call.progress(100)  # the next attempt begins at the beginning
    assert call.remaining() == 15
    call.progress(SLOWEST_LINE * 7)
    assert call.remaining() == 17
    clock.now += 18
    assert call.remaining() == -1


def test_no_attempt_starts_that_could_end_too_late() -> None:
    clock = Clock()
    policy = RetryPolicy(10.0, 100, 6.0)
    call = Deadline(clock.now + 10, clock=clock)
    assert policy.pause(1, call) is not None
    clock.now += 4.0
    assert policy.pause(1, call) is None
