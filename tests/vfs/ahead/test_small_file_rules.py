"""Decisions on what a miss brings, as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.vfs.ahead.small_file_rules import AMPLIFICATION, EPOCH_FILES, RUN_MOST, SAMPLE_MOST, Evidence


def test_a_sample_brings_a_bounded_multiple_of_what_was_wanted() -> None:
    evidence = Evidence(100_000, fits=True)
    wanted = brought = 0
    for number in range(200):
        assert evidence.open(1000 * number) == 0
        plan = evidence.miss(20_000)
        assert not plan.everything
        assert plan.length >= 20_000
        evidence.brought(plan.length)
        wanted += 20_000
        brought += plan.length
        assert brought <= AMPLIFICATION * wanted


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0, 1)), max_size=80))
def test_what_is_brought_is_never_more_than_allowed(misses: list[tuple[int, float]]) -> None:
    evidence = Evidence(1_000_000, fits=True)
    wanted = brought = 0
    for size, found in misses:
        length = evidence.miss(size).length
        assert size <= length <= max(size, SAMPLE_MOST)
        used = size + int((length - size) * found)  # what is there already is not brought
        evidence.brought(used)
        wanted += size
        brought += used
        assert brought <= AMPLIFICATION * wanted


def test_a_run_is_fetched_for_in_windows_that_double() -> None:
    evidence = Evidence(100_000, fits=True)
    asked = []
    for inode in range(100, 400):
        length = evidence.open(inode)
        if length:
            asked.append((inode, length))
            evidence.ahead(inode + 10)
    assert [inode for inode, _ in asked[:4]] == [103, 113, 123, 133]
    lengths = [length for _, length in asked]
    assert lengths == [min(lengths[0] << number, RUN_MOST) for number in range(len(lengths))]
    assert evidence.open(50_000) == 0  # a jump ends the run
    assert evidence.open(50_001) == evidence.open(50_002) == 0


def test_reading_on_in_one_file_is_no_run() -> None:
    evidence = Evidence(100_000, fits=True)
    assert [evidence.open(7) for _ in range(10)] == [0] * 10


def test_an_epoch_is_known_by_its_misses_and_told_once() -> None:
    evidence = Evidence(1000, fits=True)
    told = [number for number in range(500) if evidence.miss(1).everything]
    assert told == [EPOCH_FILES - 1]


def test_a_sample_of_one_percent_is_no_epoch() -> None:
    evidence = Evidence(100_000, fits=True)
    assert not any(evidence.miss(1).everything for _ in range(1000))


def test_everything_is_not_fetched_where_the_cache_cannot_hold_it() -> None:
    evidence = Evidence(1000, fits=False)
    plans = [evidence.miss(100) for _ in range(900)]
    assert not any(plan.everything for plan in plans)
    assert max(plan.length for plan in plans[:EPOCH_FILES]) > 100
    assert {plan.length for plan in plans[EPOCH_FILES:]} == {100}  # neighbours would only push out what is there
