"""Calls that do not come back: who waits is answered in time, and other places are not held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from penstock.errors import StoreUnreachableError
from penstock.repo.fetch import lanes
from penstock.repo.fetch.lanes import Lane, Lanes


@pytest.fixture
def stuck() -> Iterator[Callable[[], None]]:
    """Return a call that hangs until the test is over, or `free` is set."""
    free = threading.Event()

    def hang() -> None:
        free.wait(60)

    hang.free = free  # type: ignore[attr-defined]
    yield hang
    free.set()


def fail() -> NoReturn:
    raise TimeoutError("the call's own")


def test_what_a_call_returns_or_raises_is_passed_on() -> None:
    lane = Lane("the disk")
    assert lane.call(5, lambda: 7) == 7
    with pytest.raises(TimeoutError, match="the call's own"):
        lane.call(5, fail)
    assert lane.call(5, lambda: 8) == 8


def test_every_caller_is_answered_in_time_however_many_hang(stuck: Callable[[], None]) -> None:
    lane = Lane("the disk", most=2)
    begin = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(lane.call, 0.3, stuck) for _ in range(20)]
        for answer in answers:
            assert isinstance(answer.exception(10), StoreUnreachableError)
    assert time.monotonic() - begin < 3


def test_other_places_go_on(stuck: Callable[[], None]) -> None:
    both = Lanes()
    for _ in range(100):
        both.lane("dead").start(30, stuck)
    assert both.lane("alive").call(1, lambda: "read") == "read"


def test_who_comes_later_does_not_wait_again(stuck: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_PROBE", 1000.0)
    lane = Lane("the disk")
    for _ in range(2):  # the second one looks whether it is back
        with pytest.raises(StoreUnreachableError):
            lane.call(0.1, stuck)
    begin = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="the disk does not answer"):
        lane.call(30, stuck)
    assert time.monotonic() - begin < 1


def test_it_goes_on_when_the_place_is_back(stuck: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane("the disk", most=1)
    with pytest.raises(StoreUnreachableError):
        lane.call(0.1, stuck)
    begun: list[int] = []
    with pytest.raises(StoreUnreachableError):
        lane.call(0.1, lambda: begun.append(1))
    stuck.free.set()  # type: ignore[attr-defined]
    monkeypatch.setattr(lanes, "_PROBE", 0.0)
    assert lane.call(5, lambda: 7) == 7
    assert begun == []  # nobody waited for it any more


def test_a_start_that_is_due_too_late_is_not_begun(stuck: Callable[[], None]) -> None:
    lane = Lane("the disk", most=1)
    lane.start(30, stuck)
    begun: list[int] = []
    late = lane.start(0.01, lambda: begun.append(1))
    time.sleep(0.05)
    stuck.free.set()  # type: ignore[attr-defined]
    assert isinstance(late.exception(5), StoreUnreachableError)
    assert begun == []
