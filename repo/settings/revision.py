"""Revisions: a ref, and steps back from it, as git writes them. Pure.

    main            a branch, tag, commit id or top hash
    main~2, v1^     the version before, by first parents; ^2 the second parent of a merge
    main#4          where the branch stood after its move with that number, as `penstock log --reflog` counts
    main@{1}        where the branch stood before its last move
    main@{yesterday}, main@{2.hours.ago}, main@{2026-11-30}, main@{2026-11-30T14:05}    where it stood then

Times are local ones unless they name their zone. Without a branch, ``@{yesterday}`` is of the default one. Steps are
taken from left to right; ``#`` and ``@`` come first, for only branches have moves.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from penstock.errors import UsageError

__all__ = ["MoveNumber", "MovesBack", "Parent", "Step", "SteppedRef", "parse_revision"]

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_WHOLE = re.compile(rf"({_NAME})?(#[0-9]{{1,15}}|@\{{[^{{}}/]{{1,40}}\}})?((?:~[0-9]{{0,6}}|\^[0-9]{{0,2}})*)")
_STEP = re.compile(r"([~^])([0-9]*)")
_AGO = re.compile(r"([0-9]{1,6})[ .](second|minute|hour|day|week|month|year)s?[ .]ago")
_UNITS = {
    "second": dt.timedelta(seconds=1),
    "minute": dt.timedelta(minutes=1),
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "week": dt.timedelta(weeks=1),
    "month": dt.timedelta(days=30),
    "year": dt.timedelta(days=365),
}


@dataclass(frozen=True, slots=True)
class MoveNumber:
    """Where a branch stood after its move with this number."""

    number: int


@dataclass(frozen=True, slots=True)
class MovesBack:
    """Where a branch stood before its last `count` moves."""

    count: int


@dataclass(frozen=True, slots=True)
class Parent:
    """The parent with this number, from 1, of a version."""

    number: int


Step = MoveNumber | MovesBack | dt.datetime | Parent
"""One step; a time, with its zone, is where a branch stood then."""


@dataclass(frozen=True, slots=True)
class SteppedRef:
    """A ref's name, empty for the default branch, and the steps from it."""

    name: str
    steps: tuple[Step, ...]


def parse_revision(text: str, *, now: dt.datetime | None = None) -> SteppedRef | None:
    """Return what a revision says; None: it is written like none. UsageError: it names a time, which is none.

    `now`, with its zone, is what ``yesterday`` and ``ago`` count from.
    """
    match = _WHOLE.fullmatch(text)
    if match is None or not text:
        return None
    name, moved, parents = match.groups(default="")
    if ".." in name or (not name and not moved.startswith("@")):
        return None
    steps: list[Step] = []
    if moved.startswith("#"):
        steps.append(MoveNumber(int(moved[1:])))
    elif moved:
        inner = moved[2:-1]
        is_count = inner.isdecimal() and len(inner) < 8  # 20261130 is a day
        steps.append(MovesBack(int(inner)) if is_count else _time(inner, now or dt.datetime.now(dt.UTC).astimezone()))
    for sign, digits in _STEP.findall(parents):
        if sign == "~":
            steps += [Parent(1)] * int(digits or 1)
        elif digits != "0":
            steps.append(Parent(int(digits or 1)))
    return SteppedRef(name, tuple(steps))


def _time(text: str, now: dt.datetime) -> dt.datetime:
    if text == "now":
        return now
    if text == "yesterday":
        return now - dt.timedelta(days=1)
    try:
        if match := _AGO.fullmatch(text):
            return now - int(match.group(1)) * _UNITS[match.group(2)]
        found = dt.datetime.fromisoformat(text)
        return found if found.tzinfo is not None else found.astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time",
            why="it stands between the braces of @{...}",
            fix="Write @{yesterday}, @{2.hours.ago}, @{2026-11-30} or @{2026-11-30T14:05}",
        ) from error
