"""How much is listed at once: a version of a few kilobytes may hold more entries than anybody can read.

Somebody at a terminal is asked first. In a script the listing begins all the same, since most read a part of it and
close the pipe, and ends behind `MOST_LISTED` lines with an error: it is never taken for the whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import click

from penstock.errors import PenstockError

__all__ = ["MOST_LISTED", "agreed", "at_most"]

MOST_LISTED = 10_000_000
"""Lines that are written without asking: about a minute's worth, and a gigabyte."""

_T = TypeVar("_T")


def agreed(what: str, count: int, *, ask: bool) -> bool:
    """Return whether a listing of so many lines is to begin; `ask` is False where nobody could answer."""
    if count <= MOST_LISTED or not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return click.confirm(f"{what} has {count:,} entries. List them all?", err=True)


def at_most(lines: Iterable[_T], *, every: bool, fix: str, most: int | None = None) -> Iterator[_T]:
    """Yield lines; with `every` all of them, else `most` (by default MOST_LISTED), and PenstockError behind those."""
    most = MOST_LISTED if most is None else most
    for count, line in enumerate(lines):
        if count == most and not every:
            raise PenstockError(f"there are more than {most:,} lines", why="only so many were listed", fix=fix)
        yield line
