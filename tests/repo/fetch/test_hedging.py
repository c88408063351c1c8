"""When a request is late, and how many may be sent again; which of two answers is taken."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

import pytest

from penstock.repo.fetch.hedge_policy import BURST, SHARE, HedgePolicy, better
from penstock.repo.fetch.hedged_call import HedgedCalls
from penstock.repo.fetch.request_counts import RequestCounts

MIB = 1 << 20


def taught(seconds: list[float], length: int = MIB) -> HedgePolicy:
    hedging = HedgePolicy()
    for each in seconds:
        hedging.answered(length, each)
    return hedging


def test_nothing_is_late_within_a_fifth_of_a_second() -> None:
    assert taught([0.001] * 100).delay(MIB) == 0.2


def test_late_is_twice_what_slow_answers_take() -> None:
    assert taught([0.2] * 90 + [0.5] * 10).delay(MIB) == 1.0


def test_a_few_stalls_do_not_teach_patience() -> None:
    draw = random.Random(1)
    seconds = [0.03] * 124 + [20.0] * 4
    draw.shuffle(seconds)
    assert taught(seconds).delay(MIB) == 0.2


def test_what_was_long_ago_is_forgotten() -> None:
    assert taught([3.0] * 500 + [0.3] * 128).delay(MIB) == pytest.approx(0.6)


def test_a_few_answers_teach_nothing_yet() -> None:
    assert taught([9.0] * 7).delay(MIB) == taught([]).delay(MIB) == 1.0
    assert taught([9.0] * 8).delay(MIB) == 18.0


def test_lengths_are_told_apart() -> None:
    hedging = taught([4.0] * 50, length=64 * MIB)
    for length in (0, 1, 64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB):
        assert hedging.delay(length) == 1.0
    assert hedging.delay(50 * MIB) == 8.0


@pytest.mark.parametrize("asked", [0, 10, 1000])
def test_however_slow_it_is_few_are_asked_again(asked: int) -> None:
    hedging = HedgePolicy()
    granted = sum(hedging.allow() for _ in range(100))
    for _ in range(asked):
        hedging.asked()
        granted += sum(hedging.allow() for _ in range(100))
    assert BURST + SHARE * asked - 1 <= granted <= BURST + SHARE * asked


def test_nothing_is_saved_up_while_all_is_well() -> None:
    hedging = HedgePolicy()
    for _ in range(10_000):
        hedging.asked()
    assert sum(hedging.allow() for _ in range(100)) == BURST


def ended(result: int | Exception) -> Future[int]:
    future: Future[int] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def test_the_second_is_taken_only_for_what_the_first_has_not() -> None:
    pending: Future[int] = Future()
    good, other, bad = ended(1), ended(2), ended(OSError())
    assert better(pending, good, 5) is good
    assert better(bad, good, 5) is good
    assert better(good, other, 5) is good
    assert better(bad, pending, 5) is bad  # its failure is final
    assert better(bad, ended(OSError()), 5) is bad
    assert better(pending, bad, 5) is pending  # and may still be good
    assert better(pending, Future(), 0.01) is pending


class Slow:
    """A call of which some wait for `go`, counted from 0; each returns its number."""

    def __init__(self, *waits: int, fails: int = -1) -> None:
        self.go = threading.Event()
        self.ended = threading.Event()
        self.calls = 0
        self._waits, self._fails = waits, fails
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            number = self.calls
            self.calls += 1
        if number in self._waits:
            assert self.go.wait(60)
            self.ended.set()
        if number == self._fails:
            raise OSError(number)
        return number


def test_a_late_call_is_made_again() -> None:
    counters = RequestCounts()
    racing = HedgedCalls(counters)
    call = Slow(0)
    assert racing.call(1, call) == 1
    call.go.set()
    assert call.ended.wait(20)  # the loser goes on and is not heard
    assert (call.calls, counters.snapshot()["hedges"]) == (2, 1)


def test_a_call_that_fails_is_not_made_again() -> None:
    call = Slow(fails=0)
    with pytest.raises(OSError, match="0"):
        HedgedCalls(RequestCounts()).call(1, call)
    assert call.calls == 1


def test_when_the_second_fails_the_first_is_waited_for() -> None:
    racing = HedgedCalls(RequestCounts())
    call = Slow(0, fails=1)
    found: Future[int] = Future()
    thread = threading.Thread(target=lambda: found.set_result(racing.call(1, call)))
    thread.start()
    end = time.monotonic() + 20
    while call.calls < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not wait_for([found], 0.1).done
    call.go.set()
    assert found.result(20) == 0
    thread.join()


def test_calls_that_are_all_slow_are_hardly_repeated() -> None:
    counters = RequestCounts()
    racing = HedgedCalls(counters)
    for _ in range(8):
        racing.call(1, lambda: None)  # now late is a fifth of a second
    calls = 24
    made = []

    def slow() -> None:
        made.append(None)
        time.sleep(0.4)  # what the call does

    threads = [threading.Thread(target=racing.call, args=(1, slow)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= counters.snapshot()["hedges"] <= BURST + SHARE * (8 + calls)
    assert calls < len(made) <= calls + BURST + SHARE * (8 + calls)
