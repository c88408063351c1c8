"""Ignore files: `.penstockignore`, with git's syntax and git's rules, in any directory of what is pushed.

They come with the data, from whoever made it: an ignore file is read up to a bound, through no symlink, and what it
says is held against names in linear time (`globs`).
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from typing import NamedTuple

from penstock.errors import UsageError

from .globs import Glob, GlobError, Matcher, parse_glob
from .local_path import file_error, open_path

__all__ = ["IGNORE_FILE", "MAX_IGNORE_FILE", "MAX_PATTERNS", "IgnoreRules"]

IGNORE_FILE = b".penstockignore"
_PROJECT_FILE = b"penstock.toml"
MAX_IGNORE_FILE = 1 << 20
"""Bytes of an ignore file."""
MAX_PATTERNS = 20_000
"""Patterns that are in force in one directory, those of the directories above it among them."""


class _Standing(NamedTuple):
    """A pattern in one directory, and the places in it that the way from its ignore file down to here leads to."""

    glob: Glob
    places: tuple[int, ...]


class _Test(NamedTuple):
    """What a name in one directory is held against."""

    matches: Matcher
    negated: bool
    directories_only: bool


class IgnoreRules:
    """The rules that hold in one directory, the strongest first: the last of its own ignore file, then its parents'."""

    __slots__ = ("_moving", "_standing", "_tests")

    def __init__(self, standing: tuple[_Standing, ...]) -> None:
        self._standing = standing
        self._moving = any(each.glob.anchored for each in standing)
        self._tests = tuple(
            _Test(matches, glob.negated, glob.directories_only)
            for glob, places in standing
            if (matches := glob.last(places)) is not None
        )

    @classmethod
    def at_top(cls, directory: bytes) -> IgnoreRules:
        """Return the rules in the directory that a walk begins in, with no regard to what lies above it."""
        return cls(()).with_own(directory)

    @classmethod
    def in_project(cls, directory: bytes) -> IgnoreRules:
        """Return the rules in a directory of a project, with those of the folders above it up to the project's top."""
        above = [directory]
        while not os.path.lexists(os.path.join(above[-1], _PROJECT_FILE)):
            parent = os.path.dirname(above[-1])
            if parent == above[-1]:
                return cls.at_top(directory)
            above.append(parent)
        rules = cls.at_top(above.pop())
        while above:
            below = above.pop()
            rules = rules.inside(below, os.path.basename(below))
        return rules

    def inside(self, directory: bytes, name: bytes) -> IgnoreRules:
        """Return the rules in a directory of this one, which has that path and that name."""
        rules = self
        if self._moving:
            moved = (
                _Standing(glob, glob.step(places, name) if glob.anchored else places) for glob, places in self._standing
            )
            rules = IgnoreRules(tuple(each for each in moved if each.places))
        return rules.with_own(directory)

    def ignores(self, name: bytes, *, directory: bool) -> bool:
        """Whether what has this name in the directory is to be left out. The strongest rule that fits decides."""
        for matches, negated, directories_only in self._tests:
            if (directory or not directories_only) and matches(name):
                return not negated
        return False

    def with_own(self, directory: bytes) -> IgnoreRules:
        """Add the rules of a directory's ignore file, if it has one."""
        path = os.path.join(directory, IGNORE_FILE)
        body = _read(path)
        if not body:
            return self
        own = []
        for number, line in enumerate(body.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
            try:
                glob = parse_glob(line.removesuffix(b"\r"))
            except GlobError as error:
                raise UsageError(
                    f"bad pattern in {os.fsdecode(path)!r}",
                    why=f"line {number}: {error}",
                    fix="Correct the pattern.",
                ) from error
            if glob is not None:
                own.append(_Standing(glob, glob.start))
        if len(own) + len(self._standing) > MAX_PATTERNS:
            raise UsageError(
                f"too many patterns with those of {os.fsdecode(path)!r}",
                why=f"{len(own) + len(self._standing)} are in force there; the most is {MAX_PATTERNS}",
                fix="Name directories rather than each file.",
            )
        return IgnoreRules((*reversed(own), *self._standing))


def _read(path: bytes) -> bytes:
    """Return an ignore file's bytes; none when there is none, or when a directory, a pipe or the like has its name."""
    try:
        # O_NONBLOCK: to open a pipe would wait for somebody who writes to it.
        descriptor = open_path(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            return b""
        if error.errno == errno.ELOOP:
            raise UsageError(
                f"{os.fsdecode(path)!r} is a symlink",
                why="rules are read from files of the directory itself alone: a link may lead anywhere",
                fix="Put a copy of the rules there.",
            ) from error
        raise file_error(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        body = bytearray()
        while len(body) <= MAX_IGNORE_FILE and (more := os.read(descriptor, MAX_IGNORE_FILE + 1 - len(body))):
            body += more
    except OSError as error:
        raise file_error(path, error) from error
    finally:
        os.close(descriptor)
    if len(body) > MAX_IGNORE_FILE:
        raise UsageError(
            f"{os.fsdecode(path)!r} is too large",
            why=f"an ignore file has at most {MAX_IGNORE_FILE} bytes",
            fix="Name directories rather than each file.",
        )
    return bytes(body)
