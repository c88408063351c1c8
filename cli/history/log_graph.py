r"""The lines of `log --graph`: which version came from which, drawn beside what is said of each. Pure.

Every column is a version that is still to come. A merge opens columns (``|\``), and where two lead to one version the
right one ends (``|/``). Versions come newest first; a child that is told after its parent, since a clock was wrong,
begins a column of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["LogGraph"]


class LogGraph:
    """Draws one history. `begin` is called for each version in turn, then `beside` for each more line about it."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._after: list[str] = []

    def begin(self, version: str, parents: Sequence[str]) -> tuple[list[str], str]:
        """Return the lines before a version, and what stands before its first line."""
        before, self._after = self._after, []
        columns = self._columns
        if version not in columns:
            columns.append(version)
        at = columns.index(version)
        while columns.count(version) > 1:
            before += self._join(at, len(columns) - 1 - columns[::-1].index(version))
        star = " ".join("*" if column == at else "|" for column in range(len(columns)))
        if not parents:
            columns.pop(at)
            if at < len(columns):
                self._after = [_row(range(at), ends=range(at + 1, len(columns) + 1))]
            return before, star
        columns[at] = parents[0]
        for place, parent in enumerate(parents[1:], at + 1):
            self._after.append(_row(range(place), begins=range(place, len(columns) + 1)))
            columns.insert(place, parent)
        return before, star

    def beside(self) -> str:
        """Return what stands before a further line about the version."""
        if self._after:
            return self._after.pop(0)
        return " ".join("|" for _ in self._columns) or " "

    def _join(self, at: int, other: int) -> list[str]:
        """Lead the column `other` into `at`, one place a line."""
        count = len(self._columns)
        self._columns.pop(other)
        lines = [_row(range(other), ends=range(other, count))]
        lines += [_row(range(count - 1), ends=(step,)) for step in range(other - 1, at, -1)]
        return lines


def _row(straight: Iterable[int], *, begins: Iterable[int] = (), ends: Iterable[int] = ()) -> str:
    """Return a line between versions: columns that go on, those that move one to the right, and one to the left."""
    cells = {2 * column: "|" for column in straight}
    cells |= {2 * column - 1: "\\" for column in begins}
    cells |= {2 * column - 1: "/" for column in ends}
    return "".join(cells.get(place, " ") for place in range(max(cells, default=-1) + 1))
