"""Which entries of a version are meant: all, those at and below some paths, those that patterns fit. Pure.

Patterns are those of ignore files: without a slash one fits a name at any depth, and what fits a directory takes all
that is in it. With both, an entry has to be below one of the paths and fit one of the patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import UsageError
from penstock.manifest.entry import split_path
from penstock.repo.push.globs import Glob, GlobError, parse_glob

__all__ = ["EVERYTHING", "REQUESTS", "Choice", "Standing", "choose"]

REQUESTS = 16
"""Requests on their way at once, unless told otherwise."""


class Standing(NamedTuple):
    """Where a directory stands: whether all in it fits a pattern, and else where in each pattern its path is."""

    fits: bool
    places: tuple[tuple[int, ...], ...]


class Choice(NamedTuple):
    """No paths and no patterns mean everything."""

    paths: tuple[tuple[bytes, ...], ...]
    globs: tuple[Glob, ...]

    @property
    def start(self) -> Standing:
        """Where the root stands."""
        return Standing(not self.globs, tuple(glob.start for glob in self.globs))

    def step(self, at: Standing, names: tuple[bytes, ...], *, directory: bool) -> tuple[bool, Standing | None]:
        """Return whether the entry at a path is meant, and where it stands; None: nothing below it can be meant.

        `at` is where the directory stands that holds it.
        """
        within = not self.paths or any(names[: len(path)] == path for path in self.paths)
        if not within and not any(path[: len(names)] == names for path in self.paths):
            return False, None
        fits = at.fits or any(
            matches(names[-1])
            for glob, places in zip(self.globs, at.places, strict=True)
            if (directory or not glob.directories_only) and (matches := glob.last(places)) is not None
        )
        if not directory:
            return within and fits, None
        places = tuple(
            glob.step(places, names[-1]) if glob.anchored else places
            for glob, places in zip(self.globs, at.places, strict=True)
        )
        return within and fits, Standing(fits, places) if fits or any(places) else None


EVERYTHING = Choice((), ())


def choose(paths: Sequence[str], patterns: Sequence[str]) -> Choice:
    """Return what some paths and patterns mean. UsageError: one of them cannot be."""
    names = tuple(split_path(path) for path in paths)
    return Choice(() if () in names else names, tuple(map(_glob, patterns)))


def _glob(pattern: str) -> Glob:
    try:
        glob = parse_glob(pattern.encode("utf-8", "surrogateescape"))
    except GlobError as error:
        raise UsageError(f"bad pattern {pattern[:100]!r}", why=str(error), fix="Write one such as '*.jpg'.") from error
    if glob is None or glob.negated:
        raise UsageError(
            f"bad pattern {pattern[:100]!r}", why="it names nothing to take", fix="Write one such as '*.jpg'."
        )
    return glob
