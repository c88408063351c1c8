"""Merge what two branches of git have in one lock, stage by stage. Pure.

What one side changed is taken from it. Of a stage that both have run, neither says what the merged inputs make: ours
stays, which is stale beside them, and the next `repro` runs it, or takes what either side has run already.
"""

from __future__ import annotations

from collections.abc import Mapping

from .lock_file import LockedStage

__all__ = ["merge_locks"]

Locked = Mapping[str, LockedStage]


def merge_locks(base: Locked, ours: Locked, theirs: Locked) -> tuple[dict[str, LockedStage], list[str]]:
    """Return the merged stages, and the names of those that both sides have run in ways of their own.

    A stage that one side has removed and the other one run stays: what it was run with is true as before.
    """
    merged: dict[str, LockedStage] = {}
    both: list[str] = []
    for name in sorted({*ours, *theirs}):
        before, mine, other = base.get(name), ours.get(name), theirs.get(name)
        chosen = other if mine == before else mine
        if mine is not None and other is not None and before not in (mine, other) and mine != other:
            both.append(name)
        if chosen is None and before not in (mine, other):
            chosen = mine or other
        if chosen is not None:
            merged[name] = chosen
    return merged, both
