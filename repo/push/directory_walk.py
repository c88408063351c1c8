"""A local directory as a stream of what would become entries: in tree order, one directory held at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import MAX_DEPTH, Kind, Metadata, check_name

from .ignore_rules import IGNORE_FILE, IgnoreRules
from .local_attributes import NOTHING, KeptAttributes
from .local_path import FoundName, file_error, list_directory

__all__ = ["EnterDirectory", "LeaveDirectory", "LocalFile", "Skipped", "Step", "refuse_inside", "walk_directory"]


class EnterDirectory(NamedTuple):
    """What follows lies in this directory, until the `LeaveDirectory` that belongs to it."""

    names: tuple[bytes, ...]
    mtime_ns: int
    metadata: bytes = b""


class LeaveDirectory(NamedTuple):
    """The directory entered last is complete."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file or symlink: where it is, what `lstat` said of it when it was listed, and its entry's metadata."""

    names: tuple[bytes, ...]
    path: bytes
    kind: Kind
    size: int
    mtime_ns: int | None
    metadata: Metadata = b""


class Skipped(NamedTuple):
    """Something that no version can hold, and what it is."""

    path: bytes
    what: str


Step = EnterDirectory | LeaveDirectory | LocalFile

_SPECIAL = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "named pipe",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def walk_directory(
    top: str,
    skipped: Callable[[Skipped], None],
    kept: KeptAttributes = NOTHING,
    without: frozenset[bytes] = frozenset(),
    chosen: Callable[[tuple[bytes, ...]], bool] = lambda _: True,
) -> Iterator[Step]:
    """Yield the content of a directory in tree order. Sockets, pipes and devices are named to `skipped`.

    What is called as one of `without` is left out, wherever it lies; so is, unless it is a directory, what is not
    `chosen` by its path: it is not even looked at.

    The rules of ignore files hold. Symlinks are never followed, but for `top` itself. NotFoundError, UsageError:
    `top` is not there, or no directory, which is seen at once; AccessError: something in it may not be read.
    """
    root = os.fsencode(top)
    if not os.path.isdir(root):
        if not os.path.lexists(root):
            raise NotFoundError(f"no directory {top!r}", fix="Name the directory to read.")
        raise UsageError(f"{top!r} is not a directory", fix="Name a directory; a single file is put into one first.")
    return _walk(root, skipped, kept, without, chosen)


def _walk(
    root: bytes,
    skipped: Callable[[Skipped], None],
    kept: KeptAttributes,
    without: frozenset[bytes],
    chosen: Callable[[tuple[bytes, ...]], bool],
) -> Iterator[Step]:
    stack: list[tuple[tuple[bytes, ...], IgnoreRules, Iterator[FoundName]]] = []
    stack.append(((), IgnoreRules.at_top(root), _list(root)))
    while stack:
        names, rules, listing = stack[-1]
        for item in listing:
            if item.name in without:
                continue
            path = (*names, check_name(item.name))
            try:
                if not chosen(path) and not item.is_dir(follow_symlinks=False):
                    continue
                facts = item.stat(follow_symlinks=False)
            except OSError as error:
                raise file_error(item.path, error) from error
            form = stat.S_IFMT(facts.st_mode)
            if rules.ignores(item.name, directory=form == stat.S_IFDIR):
                continue
            if form == stat.S_IFDIR:
                if len(path) >= MAX_DEPTH:
                    raise UsageError(
                        f"{os.fsdecode(item.path)[:80]!r}… is nested too deeply", why=f"the most is {MAX_DEPTH}"
                    )
                metadata = kept.metadata(item.path, Kind.DIRECTORY, facts)
                yield EnterDirectory(path, facts.st_mtime_ns, metadata)
                stack.append((path, rules.inside(item.path, item.name), _list(item.path)))
                break
            if form == stat.S_IFREG:
                kind = Kind.EXECUTABLE if facts.st_mode & stat.S_IXUSR else Kind.FILE
                metadata = kept.metadata(item.path, kind, facts)
                yield LocalFile(path, item.path, kind, facts.st_size, facts.st_mtime_ns, metadata)
            elif form == stat.S_IFLNK:
                yield LocalFile(path, item.path, Kind.SYMLINK, facts.st_size, facts.st_mtime_ns)
            else:
                skipped(Skipped(item.path, _SPECIAL.get(form, "special file")))
        else:
            stack.pop()
            if stack:
                yield LeaveDirectory()


def refuse_inside(top: str, place: str) -> None:
    """Raise UsageError when `place` lies in the directory `top`, or is it, and no ignore file leaves it out."""
    root, inner = os.path.realpath(os.fsencode(top)), os.path.realpath(os.fsencode(place))
    if inner != root and not inner.startswith(root.rstrip(b"/") + b"/"):
        return
    rules = IgnoreRules.at_top(root)
    *above, last = [name for name in inner[len(root) :].split(b"/") if name] or [b""]
    path = root
    for name in above:
        if rules.ignores(name, directory=True):
            return
        path = os.path.join(path, name)
        rules = rules.inside(path, name)
    if last and rules.ignores(last, directory=True):
        return
    raise UsageError(
        f"the bucket {place!r} lies inside of {top!r}",
        why="a version would hold the bucket that it is written to",
        fix=f"Name the bucket in {IGNORE_FILE.decode()}, or keep it elsewhere.",
    )


def _list(directory: bytes) -> Iterator[FoundName]:
    try:
        return iter(list_directory(directory))
    except OSError as error:
        raise file_error(directory, error) from error
