"""Locks of two branches, merged by stages."""

from __future__ import annotations

from penstock.project.stages.definition.lock_file import LockedStage
from penstock.project.stages.definition.lock_merge import merge_locks


def ran(number: int) -> LockedStage:
    return LockedStage(f"{number:064}", "0" * 64)


def test_what_one_side_changed_is_taken_from_it():
    base = {"a": ran(1), "b": ran(2), "gone": ran(3)}
    ours = {"a": ran(10), "b": ran(2), "gone": ran(3), "mine": ran(4)}
    theirs = {"a": ran(1), "b": ran(20), "other": ran(5)}
    merged, both = merge_locks(base, ours, theirs)
    assert merged == {"a": ran(10), "b": ran(20), "mine": ran(4), "other": ran(5)}
    assert both == []


def test_of_what_both_have_run_ours_stays_and_is_named():
    merged, both = merge_locks({"a": ran(1)}, {"a": ran(2)}, {"a": ran(3)})
    assert (merged, both) == ({"a": ran(2)}, ["a"])
    assert merge_locks({}, {"a": ran(2)}, {"a": ran(2)}) == ({"a": ran(2)}, [])


def test_what_one_side_removed_and_the_other_has_run_stays():
    assert merge_locks({"a": ran(1)}, {}, {"a": ran(2)}) == ({"a": ran(2)}, [])
    assert merge_locks({"a": ran(1)}, {"a": ran(2)}, {}) == ({"a": ran(2)}, [])
    assert merge_locks({"a": ran(1)}, {"a": ran(1)}, {}) == ({}, [])
