"""A tracked directory beside what is known of it: what may have changed, without reading any file.

The directory is walked in tree order, each name looked at with lstat(2), beside the rows of the index, which come in
the same order: memory is the listings of the directories on the way. What ignore files leave out is left out, unless
it is known already; those of the folders above it, up to the project's top, count as well. Symbolic links are not
followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from penstock.errors import UsageError
from penstock.manifest.entry import MAX_DEPTH, Kind
from penstock.repo.push.directory_walk import Skipped
from penstock.repo.push.ignore_rules import IgnoreRules
from penstock.repo.push.local_path import file_error, list_directory

from .tracked_index import LINKED, FileFacts, Row, names_of

__all__ = ["Suspect", "kind_of", "survey", "survey_file"]

Names = tuple[bytes, ...]
_STAGING = re.compile(rb"\.penstock-download-[0-9a-f]{16}")
_SPECIAL = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "named pipe",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_FOLDER = int(Kind.DIRECTORY)


class Suspect(NamedTuple):
    """A path that is not as it is known: `known` None, it was not there; `status` None, it is gone."""

    names: Names
    path: bytes
    kind: Kind | None
    status: os.stat_result | None
    known: FileFacts | None


def kind_of(status: os.stat_result) -> Kind | None:
    """Return what entry a name would become; None: no version holds such a thing."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Kind.EXECUTABLE if mode & stat.S_IXUSR else Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    return Kind.SYMLINK if stat.S_ISLNK(mode) else None


def survey(top: bytes, rows: Iterator[Row], skipped: Callable[[Skipped], None] = lambda _: None) -> Iterator[Suspect]:
    """Yield what of the directory `top` is not as `rows` have it, in tree order.

    A directory that is new, or gone, is a finding, and so is all below it. AccessError and the like: something cannot
    be looked at.
    """
    row = next(rows, None)
    stack: list[tuple[Names, bytes, IgnoreRules, Iterator[object]]] = []
    stack.append(((), b"", IgnoreRules.in_project(top), iter(_listing(top))))
    while stack:
        names, prefix, rules, listing = stack[-1]
        for item in listing:
            name: bytes = item.name  # type: ignore[attr-defined]  # FoundName; spelt so for speed
            key = prefix + name
            while row is not None and row[0] < key:
                yield _gone(top, row)
                row = next(rows, None)
            known = None
            if row is not None and row[0] == key:
                known, row = row, next(rows, None)
            try:
                status = item.stat(follow_symlinks=False)  # type: ignore[attr-defined]
            except FileNotFoundError:
                if known is not None:
                    yield _gone(top, known)
                continue
            except OSError as error:
                raise file_error(item.path, error) from error  # type: ignore[attr-defined]
            kind = kind_of(status)
            if known is None and (
                (not names and _STAGING.fullmatch(name)) or rules.ignores(name, directory=kind is Kind.DIRECTORY)
            ):
                continue
            if kind is None:
                skipped(Skipped(item.path, _SPECIAL.get(stat.S_IFMT(status.st_mode), "special file")))  # type: ignore[attr-defined]
                if known is not None:
                    yield _gone(top, known)
                continue
            if kind is Kind.DIRECTORY:
                if known is None or known[1] != _FOLDER:
                    yield Suspect((*names, name), item.path, kind, status, _facts(known))  # type: ignore[attr-defined]
                if len(names) + 1 >= MAX_DEPTH:
                    shown = os.fsdecode(item.path)[:80]  # type: ignore[attr-defined]
                    raise UsageError(f"{shown!r}… is nested too deeply", why=f"the most is {MAX_DEPTH}")
                below = item.path  # type: ignore[attr-defined]
                stack.append(((*names, name), key + b"\0", rules.inside(below, name), iter(_listing(below))))
                break
            if (
                known is None
                or known[5] != status.st_ino
                or (known[4] != status.st_ctime_ns and known[4] != LINKED)
                or known[3] != status.st_mtime_ns
                or known[2] != status.st_size
                or known[1] != kind
            ):
                yield Suspect((*names, name), item.path, kind, status, _facts(known))  # type: ignore[attr-defined]
        else:
            stack.pop()
    while row is not None:
        yield _gone(top, row)
        row = next(rows, None)


def survey_file(
    path: bytes, rows: Iterator[Row], skipped: Callable[[Skipped], None] = lambda _: None
) -> Iterator[Suspect]:
    """Yield what of a tracked file is not as `rows` have it: it is the one entry of its version, under its own name."""
    name = os.path.basename(path)
    known = None
    for row in rows:
        if row[0] == name:
            known = row
        else:
            yield _gone(os.path.dirname(path), row)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        if known is not None:
            yield Suspect((name,), path, None, None, _facts(known))
        return
    except OSError as error:
        raise file_error(path, error) from error
    kind = kind_of(status)
    if kind is None or kind is Kind.DIRECTORY:
        skipped(Skipped(path, _SPECIAL.get(stat.S_IFMT(status.st_mode), "directory")))
        if known is not None:
            yield Suspect((name,), path, None, None, _facts(known))
        return
    ctime = LINKED if known is not None and known[4] == LINKED else status.st_ctime_ns
    facts = (kind, status.st_size, status.st_mtime_ns, ctime, status.st_ino)
    if known is None or known[1:6] != facts:
        yield Suspect((name,), path, kind, status, _facts(known))


def _listing(directory: bytes) -> list[object]:
    try:
        return list(list_directory(directory))
    except OSError as error:
        raise file_error(directory, error) from error


def _gone(top: bytes, row: Row) -> Suspect:
    names = names_of(row[0])
    return Suspect(names, os.path.join(top, *names), None, None, _facts(row))


def _facts(row: Row | None) -> FileFacts | None:
    return FileFacts(*row[1:]) if row is not None else None
