from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.cache.layout import FIXED_BYTES, LARGEST_BLOCK, SEGMENT_OVERHEAD, SMALLEST_BOUND, SpaceBudget


@given(st.integers(SMALLEST_BOUND, 1 << 45))
def test_parts_stay_within_the_bound_and_leave_room_to_evict(max_bytes: int) -> None:
    budget = SpaceBudget.of(max_bytes)
    parts = budget.segments_bytes + budget.index_bytes + budget.location_bytes + FIXED_BYTES
    assert parts <= max_bytes
    assert budget.admits([budget.segment_bytes] * 4)
    assert budget.segment_bytes > LARGEST_BLOCK
    assert budget.segment_bytes % 4096 == 0
    assert budget.segment_bytes < 1 << 32, "an offset is 32 bits"


def test_admission_counts_what_a_segment_costs() -> None:
    budget = SpaceBudget.of(SMALLEST_BOUND)
    count = budget.segments_bytes // (budget.segment_bytes + SEGMENT_OVERHEAD)
    assert budget.admits([budget.segment_bytes] * count)
    assert not budget.admits([budget.segment_bytes] * (count + 1))


def test_a_bound_too_small_is_divided_like_the_smallest() -> None:
    assert SpaceBudget.of(SMALLEST_BOUND - 1) == SpaceBudget.of(SMALLEST_BOUND)
