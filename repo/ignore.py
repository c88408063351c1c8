"""Ignore files: `.penstockignore`, with git's syntax and git's rules, in any directory of what is pushed."""

from __future__ import annotations

import os

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from penstock.errors import UsageError

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
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except (FileNotFoundError, IsADirectoryError):
            return self
        try:
            return IgnoreRules(GitIgnoreSpec.from_lines(lines), depth, self)
        except (GitIgnorePatternError, ValueError) as error:
            raise UsageError(
                f"bad pattern in {os.fsdecode(path)}", why=str(error), fix="Correct the pattern."
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
