"""Which datasets of a list are meant, in which order, and where a page ends. Pure."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from penstock.catalogue.orm.dataset import DatasetInfo, DatasetPage
from penstock.errors import UsageError

__all__ = ["SORTS", "DatasetFilter", "is_like", "parse_time", "read_cursor", "write_cursor"]

SORTS = ("title", "created", "edited", "size")
_MOST = 1000


@dataclass(frozen=True, slots=True)
class DatasetFilter:
    """What has to hold of a dataset; None: anything. ``%`` and ``_`` in what is *like* stand for text and a letter."""

    title_eq: str | None = None
    title_like: str | None = None
    desc_eq: str | None = None
    desc_like: str | None = None
    created_before: dt.datetime | None = None
    created_after: dt.datetime | None = None
    edited_before: dt.datetime | None = None
    edited_after: dt.datetime | None = None

    def fits(self, info: DatasetInfo) -> bool:
        """Whether all of it holds."""
        return (
            (self.title_eq is None or info.title == self.title_eq)
            and (self.desc_eq is None or info.description == self.desc_eq)
            and (self.title_like is None or is_like(self.title_like, info.title))
            and (self.desc_like is None or is_like(self.desc_like, info.description))
            and (self.created_before is None or info.created_at < self.created_before)
            and (self.created_after is None or info.created_at > self.created_after)
            and (self.edited_before is None or info.last_edited_at < self.edited_before)
            and (self.edited_after is None or info.last_edited_at > self.edited_after)
        )

    def page(self, infos: Iterable[DatasetInfo], sort: str, limit: int, cursor: str | None) -> DatasetPage:
        """Return a page of those that fit. `sort` is one of `SORTS`, with a ``-`` before it from the largest on.

        UsageError: there is no such order, or the cursor is of no list.
        """
        name = sort.removeprefix("-")
        if name not in SORTS:
            raise UsageError(f"datasets cannot be sorted by {name!r}", fix=f"By one of {', '.join(SORTS)}.")
        if not 0 < limit <= _MOST:
            raise UsageError(f"a page of {limit}", fix=f"1 to {_MOST}.")
        is_down = sort.startswith("-")
        ordered = sorted(filter(self.fits, infos), key=lambda info: _place(info, name), reverse=is_down)
        if cursor is not None:
            said = read_cursor(cursor, 2)
            ordered = [
                each for each in ordered if (_place(each, name) < said if is_down else _place(each, name) > said)
            ]
        shown = tuple(ordered[:limit])
        more = len(ordered) > limit
        return DatasetPage(shown, write_cursor(_place(shown[-1], name)) if more else None)


def _place(info: DatasetInfo, sort: str) -> tuple[str, str]:
    value = {
        "title": info.title,
        "created": info.created_at.isoformat(timespec="microseconds"),
        "edited": info.last_edited_at.isoformat(timespec="microseconds"),
        "size": f"{info.bytes:020d}",
    }[sort]
    return value, info.dataset_hash


def write_cursor(place: tuple[str, ...]) -> str:
    """Return a place in a list as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def read_cursor(cursor: str, parts: int) -> tuple[str, ...]:
    """Return the place that a cursor says. UsageError: it says none."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        found = msgspec.json.decode(raw, type=tuple[str, ...])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise UsageError("this is no cursor of a list", fix="Give back the one of the page before.") from error
    if len(found) != parts:
        raise UsageError("this is no cursor of this list", fix="Give back the one of the page before.")
    return found


def is_like(pattern: str, text: str) -> bool:
    r"""Whether a text fits a pattern with ``%`` and ``_``; a backslash takes their meaning. Case is not looked at.

    Piece by piece, each at the first place where it fits: no pattern takes longer than its length times the text's.
    """
    pieces: list[list[str]] = [[]]
    letters = iter(pattern)
    for letter in letters:
        if letter == "%":
            pieces.append([])
        elif letter == "\\":
            pieces[-1].append(re.escape(next(letters, "\\")))
        else:
            pieces[-1].append("." if letter == "_" else re.escape(letter))
    first, *rest = (re.compile("".join(piece), re.IGNORECASE | re.DOTALL) for piece in pieces)
    if not rest:
        return first.fullmatch(text) is not None
    begin = first.match(text)
    if begin is None:
        return False
    at = begin.end()
    for piece in rest[:-1]:
        found = piece.search(text, at)
        if found is None:
            return False
        at = found.end()
    end = len(text) - len(pieces[-1])  # each part of a piece stands for one letter
    return end >= at and rest[-1].fullmatch(text, end) is not None


def parse_time(text: str) -> dt.datetime:
    """Return a time from ISO 8601; without a zone it is in UTC. UsageError: it is none."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time", fix="Write it as 2026-11-30 or 2026-11-30T14:05:00Z.") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
