"""Both sides of a path that was changed here, and by others meanwhile: how large, and how they differ.

Text is compared line by line, CSV row by row, and of images the size in pixels is told; all within bounds.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections import Counter
from dataclasses import dataclass
from itertools import islice

from penstock.api.packages.package import Package
from penstock.errors import PenstockError
from penstock.overlay.outcomes import PathConflict

__all__ = ["ConflictingPath", "Pixels", "RowChanges", "compare_sides", "pixels_of"]

_MOST = 4 << 20
"""Bytes of a side that are looked at: larger ones are told by their size."""
_LINES = 60
_CONTEXT = 2


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Rows of a table, without regard to their order, that only one side has."""

    here: int
    there: int


@dataclass(frozen=True, slots=True)
class Pixels:
    """The size of an image."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ConflictingPath:
    """What was done `here` and `there`: added, modified, deleted, changed below. Sizes are None where no file is.

    `lines`: a unified diff from there to here, of text, cut off after 60 lines. `rows`: of CSV. `pixels_here` and
    `pixels_there`: of images. None where it is something else, or too large to be looked at.
    """

    path: str
    here: str
    there: str
    size_here: int | None = None
    size_there: int | None = None
    lines: tuple[str, ...] | None = None
    rows: RowChanges | None = None
    pixels_here: Pixels | None = None
    pixels_there: Pixels | None = None


def compare_sides(
    conflict: PathConflict, directory: str | None, subdir: str, package: Package, branch: str
) -> ConflictingPath:
    """Look at both sides of a path: in the mount of `subdir` at a directory (None: unmounted), and in a version."""
    path, here, there = conflict
    inside = path.removeprefix(f"{subdir}/") if subdir else path
    is_mounted = directory is not None and bool(path) and (not subdir or inside != path)
    mine_size, mine = _local(os.path.join(directory or "", inside)) if is_mounted else (None, None)
    theirs_size, theirs = _remote(package, path) if path else (None, None)
    found = ConflictingPath(path, here, there, mine_size, theirs_size)
    if mine is None or theirs is None:
        return found
    rows = lines = None
    if b"\0" not in mine and b"\0" not in theirs:
        if path.lower().endswith((".csv", ".tsv")):
            rows = _row_changes(mine, theirs, "\t" if path.lower().endswith(".tsv") else ",")
        before, after = (body.decode("utf-8", "surrogateescape").splitlines() for body in (theirs, mine))
        drawn = difflib.unified_diff(before, after, branch, "here", lineterm="", n=_CONTEXT)
        lines = tuple(islice(drawn, _LINES))
    return ConflictingPath(path, here, there, mine_size, theirs_size, lines, rows, pixels_of(mine), pixels_of(theirs))


def _local(path: str) -> tuple[int | None, bytes | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None, None
    with open(descriptor, "rb") as stream:
        size = os.fstat(descriptor).st_size
        try:
            return size, stream.read(_MOST) if size <= _MOST else None
        except OSError:
            return size, None


def _remote(package: Package, path: str) -> tuple[int | None, bytes | None]:
    try:
        entry = package.entry(path)
        if entry.is_directory() or entry.kind == "symlink":
            return None, None
        return entry.size, bytes(package.read(path)) if entry.size <= _MOST else None
    except PenstockError:  # it is not there, or not to be read: then the deeds alone are told
        return None, None


def _row_changes(mine: bytes, theirs: bytes, delimiter: str) -> RowChanges | None:
    tables = []
    for body in (mine, theirs):
        text = io.StringIO(body.decode("utf-8", "surrogateescape"), newline="")
        try:
            tables.append(Counter(tuple(row) for row in csv.reader(text, delimiter=delimiter)))
        except csv.Error:
            return None
    return RowChanges((tables[0] - tables[1]).total(), (tables[1] - tables[0]).total())


def pixels_of(body: bytes) -> Pixels | None:
    """Return the size that a PNG, GIF, BMP or JPEG says it has; None: it is none, or broken."""
    if body.startswith(b"\x89PNG\r\n\x1a\n") and len(body) >= 24:
        return Pixels(int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big"))
    if body[:6] in (b"GIF87a", b"GIF89a") and len(body) >= 10:
        return Pixels(int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little"))
    if body[:2] == b"BM" and len(body) >= 26:
        width, height = (int.from_bytes(body[at : at + 4], "little", signed=True) for at in (18, 22))
        return Pixels(width, abs(height))
    return _jpeg_pixels(body) if body.startswith(b"\xff\xd8") else None


def _jpeg_pixels(body: bytes) -> Pixels | None:
    at = 2
    while at + 9 <= len(body) and body[at] == 0xFF:
        marker = body[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame
            return Pixels(int.from_bytes(body[at + 7 : at + 9], "big"), int.from_bytes(body[at + 5 : at + 7], "big"))
        at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return None
