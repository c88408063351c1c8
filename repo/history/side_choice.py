"""Which side wins where two lines of history are in conflict, as a person says it: by paths. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.merge import Choose, Side

__all__ = ["choice"]


def choice(ours: Iterable[str], theirs: Iterable[str]) -> Choose | None:
    """Return what settles conflicts; the longest path that fits decides. None: nothing does. UsageError."""
    sides = {split_path(path): Side.OURS for path in ours}
    for path in theirs:
        names = split_path(path)
        if sides.setdefault(names, Side.THEIRS) is Side.OURS:
            raise UsageError("--ours and --theirs for the same path", why=path, fix="Choose one of them.")
    if not sides:
        return None

    def choose(path: tuple[bytes, ...]) -> Side | None:
        fits = (sides.get(path[:depth]) for depth in range(len(path), -1, -1))
        return next((side for side in fits if side is not None), None)

    return choose
