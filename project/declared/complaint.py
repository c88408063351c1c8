"""Errors about a declaration: each names the file and the line, so that an editor can go there."""

from __future__ import annotations

from penstock.errors import UsageError

__all__ = ["DeclarationError"]


class DeclarationError(UsageError):
    """A file does not say what a dataset is. `file` and `line` are where; nothing has been changed or run."""

    def __init__(self, file: str, line: int, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(f"{file}:{line}: {what}", why=why, fix=fix)
        self.file = file
        self.line = line
