"""A policy as people write it, and which versions it keeps. Pure: no clock, no I/O.

    keep last 30 daily, 12 monthly, tags for ever

    [last] N [versions]                              the newest N versions of each branch
    [last] N hourly|daily|weekly|monthly|yearly      the newest version of each of the last N of these that have one
    everything for N hours|days|weeks|months|years   all that is younger
    everything for ever                              all
    tags for ever                                    what has a tag: so it is in any case, and one may say it

Clauses are joined by commas, and a version stays that any of them keeps. Days and hours are those of UTC; a month is
31 days where a length is meant. Where a branch stands is kept whatever the policy says.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from penstock.errors import UsageError

__all__ = ["Clause", "Policy", "kept_versions", "parse_policy"]

N = TypeVar("N")

_LONGEST = 1000
_PERIODS: dict[str, Callable[[dt.datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}
_LENGTHS = {
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "week": dt.timedelta(days=7),
    "month": dt.timedelta(days=31),
    "year": dt.timedelta(days=366),
}
_COUNT = re.compile(r"(?:last )?([0-9]{1,6})(?: (versions?|hourly|daily|weekly|monthly|yearly))?")
_SPAN = re.compile(r"(?:everything|all) for ([0-9]{1,6}) (hour|day|week|month|year)s?")
_EVER = re.compile(r"(everything|all|tags) (?:for ever|forever)")


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause: the last `count` of a `period`, or of single versions where that is empty; or all of a `span`."""

    period: str
    count: int
    span: dt.timedelta | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept. `everything`: all of it."""

    text: str
    clauses: tuple[Clause, ...]
    everything: bool = False


def parse_policy(text: str) -> Policy:
    """Read a policy. UsageError names the clause that is none."""
    if len(text) > _LONGEST:
        raise UsageError("this is no policy", why=f"it has more than {_LONGEST} characters")
    plain = " ".join(text.lower().split())
    clauses, everything, tags = [], False, False
    for part in plain.removeprefix("keep ").replace(" and ", ", ").split(","):
        clause = part.strip()
        if match := _COUNT.fullmatch(clause):
            if int(match[1]) < 1:
                raise _wrong(clause, "to keep none of it is to say nothing of it")
            period = match[2] or ""
            clauses.append(Clause("" if period.startswith("version") else period, int(match[1])))
        elif match := _SPAN.fullmatch(clause):
            clauses.append(Clause("", 0, int(match[1]) * _LENGTHS[match[2]]))
        elif match := _EVER.fullmatch(clause):
            tags, everything = tags or match[1] == "tags", everything or match[1] != "tags"
        else:
            raise _wrong(clause, "it is no clause of a policy")
    if not clauses and not everything:
        raise _wrong(text, "it says nothing of versions without a tag" if tags else "it is empty")
    return Policy(" ".join(text.split()), tuple(clauses), everything)


def _wrong(clause: str, why: str) -> UsageError:
    return UsageError(
        f"cannot read {clause[:80]!r} as a policy",
        why=why,
        fix="Write for example: keep last 30 daily, 12 monthly, everything for 7 days, tags for ever",
    )


def kept_versions(policy: Policy, versions: Iterable[tuple[N, dt.datetime]], now: dt.datetime) -> dict[N, str]:
    """Return which versions of a branch a policy keeps, each with the clause that does. Times are in UTC."""
    newest_first = sorted(versions, key=lambda version: version[1], reverse=True)
    if policy.everything:
        return dict.fromkeys((version for version, _ in newest_first), "everything for ever")
    kept: dict[N, str] = {}
    for clause in policy.clauses:
        if clause.span is not None:
            found = [version for version, at in newest_first if now - at <= clause.span]
            why = "young enough"
        elif not clause.period:
            found = [version for version, _ in newest_first[: clause.count]]
            why = f"one of the last {clause.count}"
        else:
            firsts: dict[tuple[int, ...], N] = {}
            for version, at in newest_first:
                firsts.setdefault(_PERIODS[clause.period](at), version)
            found = list(firsts.values())[: clause.count]
            why = clause.period
        for version in found:
            kept.setdefault(version, why)
    return kept
