"""Ignore files: `.penstockignore`, with git's syntax and git's rules, in any directory of what is pushed."""

from __future__ import annotations

import codecs
import errno
import os
import stat

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from penstock.errors import UsageError

from .local_paths import file_error, open_path

__all__ = ["IGNORE_FILE", "IgnoreRules"]

IGNORE_FILE = b".penstockignore"


class IgnoreRules:
    """The rules that hold in one directory: those of its own ignore file before those of its parents."""

    __slots__ = ("depth", "parent", "spec")

    def __init__(self, spec: GitIgnoreSpec | None, depth: int, parent: IgnoreRules | None) -> None:
        self.spec = spec
        self.depth = depth
        self.parent = parent

    @classmethod
    def none(cls) -> IgnoreRules:
        """Return rules that ignore nothing."""
        return cls(None, 0, None)

    def within(self, directory: bytes, depth: int) -> IgnoreRules:
        """Return the rules inside a directory `depth` levels below the top, reading its ignore file if it has one."""
        path = os.path.join(directory, IGNORE_FILE)
        try:
            lines = _read_lines(path)
        except FileNotFoundError:
            return self
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket, or a symlink, which git does not follow either
                return self
            raise file_error(path, error) from error
        if lines is None:
            return self
        try:
            return IgnoreRules(GitIgnoreSpec.from_lines(lines), depth, self)
        except (GitIgnorePatternError, ValueError) as error:
            raise UsageError(
                f"bad pattern in {os.fsdecode(path)!r}", why=str(error), fix="Correct the pattern."
            ) from error

    def ignores(self, names: tuple[bytes, ...], *, directory: bool) -> bool:
        """Whether the entry at this path below the top is to be left out. The deepest rule that fits decides."""
        rules: IgnoreRules | None = self
        while rules is not None:
            if rules.spec is not None:
                path = b"/".join(names[rules.depth :]).decode("utf-8", "surrogateescape")
                found = rules.spec.check_file(path + "/" if directory else path).include
                if found is not None:
                    return found
            rules = rules.parent
        return False


def _read_lines(path: bytes) -> list[str] | None:
    """Return the lines of an ignore file as git cuts them; None when it is a directory, a pipe or the like."""
    # O_NONBLOCK: to open a pipe would wait for somebody who writes to it.
    descriptor = open_path(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            body = file.read().removeprefix(codecs.BOM_UTF8)
    finally:
        os.close(descriptor)
    return [line.removesuffix("\r") for line in body.decode("utf-8", "surrogateescape").split("\n")]
