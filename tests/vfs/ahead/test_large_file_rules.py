"""Decisions of the readahead, as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.manifest.entry import BLOCK_SIZE
from penstock.vfs.ahead.large_file_rules import MAX_WINDOW, Readahead

PIECE = 128 << 10


def sequential(readahead: Readahead, start: int, stop: int, step: int = PIECE) -> list[range]:
    asked = [readahead.observe(at, min(at + step, stop)) for at in range(start, stop, step)]
    return [blocks for blocks in asked if blocks]


def test_the_first_read_is_no_evidence() -> None:
    assert not Readahead(100).observe(0, PIECE)
    assert not Readahead(100).observe(50 * BLOCK_SIZE, 51 * BLOCK_SIZE)


def test_the_window_doubles_with_every_block() -> None:
    asked = sequential(Readahead(100), 0, 12 * BLOCK_SIZE)
    assert asked == [range(1, 2), range(2, 4), range(4, 7), range(7, 12), range(12, 21), range(21, 38), range(38, 71)]


def test_a_long_run_is_fetched_in_pieces_of_half_a_window() -> None:
    readahead = Readahead(1000)
    sequential(readahead, 0, 20 * BLOCK_SIZE)
    later = sequential(readahead, 20 * BLOCK_SIZE, 120 * BLOCK_SIZE)
    assert {len(blocks) for blocks in later} == {MAX_WINDOW // 2}


def test_a_jump_ends_the_run() -> None:
    readahead = Readahead(1000)
    sequential(readahead, 0, 10 * BLOCK_SIZE)
    assert not readahead.observe(500 * BLOCK_SIZE, 500 * BLOCK_SIZE + PIECE)
    assert readahead.observe(500 * BLOCK_SIZE + PIECE, 500 * BLOCK_SIZE + 2 * PIECE) == range(501, 502)


def test_reads_that_swap_places_still_are_a_run() -> None:
    readahead = Readahead(100)
    asked: list[int] = []
    for at in range(0, 8 * BLOCK_SIZE, 2 * PIECE):
        asked += readahead.observe(at + PIECE, at + 2 * PIECE)
        asked += readahead.observe(at, at + PIECE)
    assert asked == list(range(1, asked[-1] + 1))
    assert asked[-1] >= 8


def test_nothing_is_asked_for_beyond_the_end() -> None:
    assert sequential(Readahead(1), 0, BLOCK_SIZE // 2, 4096) == []
    flat = [block for blocks in sequential(Readahead(10), 0, 10 * BLOCK_SIZE - 5) for block in blocks]
    assert flat == list(range(1, 10))


@given(st.lists(st.tuples(st.integers(0, 40 * BLOCK_SIZE - 1), st.integers(1, 2 * BLOCK_SIZE)), max_size=60))
def test_what_is_asked_for_is_bounded_and_inside(reads: list[tuple[int, int]]) -> None:
    readahead = Readahead(40)
    for start, size in reads:
        end = min(start + size, 40 * BLOCK_SIZE)
        asked = readahead.observe(start, end)
        assert len(asked) <= MAX_WINDOW
        if asked:
            assert (end - 1) // BLOCK_SIZE - 2 <= asked.start
            assert asked.stop <= 40
