"""Samples and splits: the same for the same seed, in shares, with groups together, in flat memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.query import selection
from penstock.repo.query.query_record import Record
from penstock.repo.query.selection import plan_sample, plan_split

LABELS = ["cat"] * 70 + ["dog"] * 25 + ["eel"] * 5
RECORDS = [Record(f"d/{n:04}", 1, "", {"label": label, "who": {"id": n // 4}}) for n, label in enumerate(LABELS * 10)]
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def sample(records: list[Record], count: int, seed: int = 0, stratify: tuple[str, ...] | None = None) -> list[Record]:
    chosen = plan_sample(records, count, seed=seed, stratify=stratify)
    return [record for record, is_chosen in zip(records, chosen, strict=True) if is_chosen]


def labels(records: list[Record]) -> Counter[str]:
    return Counter(record.metadata["label"] for record in records)


def test_a_sample_is_the_same_in_whatever_order_entries_come() -> None:
    chosen = sample(RECORDS, 50, seed=7)
    assert len(chosen) == len({record.path for record in chosen}) == 50
    assert chosen == sample(RECORDS[::-1], 50, seed=7)[::-1]
    assert chosen != sample(RECORDS, 50, seed=8)
    fewer = sample(RECORDS, 20, seed=7)
    assert {record.path for record in fewer} < {record.path for record in chosen}
    assert sample(RECORDS, 5000) == RECORDS
    assert sample(RECORDS, 0) == sample([], 5) == []


def test_strata_of_a_sample_have_their_shares() -> None:
    assert labels(sample(RECORDS, 100, stratify=("label",))) == {"cat": 70, "dog": 25, "eel": 5}
    assert labels(sample(RECORDS, 7, stratify=("label",))).total() == 7
    some = [*RECORDS, *(Record(f"e/{n}", 1, "", {}) for n in range(1000))]
    assert sum(not record.metadata for record in sample(some, 100, stratify=("label",))) == 50


def test_a_split_has_its_shares_in_each_stratum() -> None:
    plan = plan_split(RECORDS, SHARES, stratify=("label",))
    assert plan.names == ("train", "val", "test")
    assert plan.counts == (800, 100, 100)
    assert plan.strata == {b'"cat"': (560, 70, 70), b'"dog"': (200, 25, 25), b'"eel"': (40, 5, 5)}
    assert Counter(plan.parts) == {0: 800, 1: 100, 2: 100}
    assert plan_split(RECORDS, SHARES, stratify=("label",)) == plan
    assert plan_split(RECORDS, SHARES, stratify=("label",), seed=1).parts != plan.parts
    backwards = plan_split(RECORDS[::-1], SHARES, stratify=("label",))
    assert backwards.parts == plan.parts[::-1]


def test_groups_stay_together() -> None:
    plan = plan_split(RECORDS, SHARES, stratify=("label",), group=("who", "id"))
    parts = defaultdict(set)
    for record, part in zip(RECORDS, plan.parts, strict=True):
        parts[record.metadata["who"]["id"]].add(part)
    assert all(len(found) == 1 for found in parts.values())
    assert all(abs(count - wanted) <= 12 for count, wanted in zip(plan.counts, (800, 100, 100), strict=True))


_rows = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 6)), max_size=80)


@given(_rows, st.integers(0, 3), st.booleans(), st.lists(st.floats(0.01, 5), min_size=1, max_size=4))
def test_every_entry_goes_to_one_part_and_strata_are_met(
    rows: list[tuple[str, int | None]], seed: int, grouped: bool, shares: list[float]
) -> None:
    records = [
        Record(f"{at:03}", 1, "", {"label": label, **({} if who is None else {"who": who})})
        for at, (label, who) in enumerate(rows)
    ]
    named = {str(at): share for at, share in enumerate(shares)}
    group = ("who",) if grouped else None
    plan = plan_split(records, named, seed=seed, stratify=("label",), group=group)
    assert len(plan.parts) == len(records) == sum(plan.counts)
    if grouped:
        together = defaultdict(set)
        for record, part in zip(records, plan.parts, strict=True):
            together[record.metadata.get("who", record.path)].add(part)
        assert all(len(found) == 1 for found in together.values())
    else:
        for counts in plan.strata.values():
            for share, count in zip(shares, counts, strict=True):
                assert abs(count - sum(counts) * share / sum(shares)) < len(shares)


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan")}, {"a": float("inf")}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="shares above 0"):
        plan_split(RECORDS, shares)


def test_too_many_strata_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_STRATA", 2)
    with pytest.raises(UsageError, match="fewer values"):
        sample(RECORDS, 5, stratify=("label",))
    with pytest.raises(UsageError, match="fewer values"):
        plan_split(RECORDS, SHARES, stratify=("label",))
    with pytest.raises(UsageError):
        sample(RECORDS, -1)


PROGRAM = """
from penstock.repo.query.query_record import Record
from penstock.repo.query.selection import plan_sample, plan_split
def records(count):
    return (Record(f"d{n % 100}/{n:07}", n, "", {"label": n % 7, "who": n // 3}) for n in range(count))
plan = plan_split(records(100_000), {"a": .8, "b": .2}, stratify=("label",), group=("who",))
assert len(plan.parts) == 100_000
assert sum(plan_sample(records(100_000), 50_000, stratify=("label",))) == 50_000
print(next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_a_hundred_thousand_entries_take_a_tenth_of_what_a_million_may() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100, done.stdout
