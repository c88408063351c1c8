"""Files of a repository as git has them: what is staged, or what a commit holds. Never what lies in the work tree."""

from __future__ import annotations

import os
from functools import cached_property

from penstock.project.git import GitError, ask_git, git_succeeds

__all__ = ["GitTexts", "ancestor_of", "blobs_at", "full_commit", "parents_of"]


class GitTexts:
    """The files that are staged (`commit` None), or those of a commit. `read` gives one's text by its path."""

    def __init__(self, root: str, commit: str | None = None) -> None:
        self._root = root
        self._commit = commit

    @cached_property
    def blobs(self) -> dict[str, str]:
        """The ids of Python files, by path from the root."""
        if self._commit is None:
            lines = ask_git(self._root, "ls-files", "-s", "-z", "--", "*.py").split(b"\0")
        else:
            lines = ask_git(self._root, "ls-tree", "-r", "-z", "--full-tree", self._commit).split(b"\0")
        found: dict[str, str] = {}
        for line in lines:
            facts, _, path = line.partition(b"\t")
            each = facts.split(b" ")
            if path.endswith(b".py") and each[0] != b"120000":
                found[os.fsdecode(path)] = (each[1] if self._commit is None else each[2]).decode()
        return found

    def read(self, path: str) -> bytes | None:
        """Return a file's text; None: there is none."""
        blob = self.blobs.get(path)
        return ask_git(self._root, "cat-file", "blob", blob) if blob is not None else None


def blobs_at(root: str, commit: str, paths: list[str]) -> dict[str, str]:
    """Return the ids of files in a commit, of those that are there."""
    if not paths:
        return {}
    found = {}
    for line in ask_git(root, "--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", *paths).split(b"\0"):
        facts, _, path = line.partition(b"\t")
        if path:
            found[os.fsdecode(path)] = facts.split(b" ")[2].decode()
    return found


def full_commit(root: str, name: str) -> str | None:
    """Return the id of the commit that a name stands for; None: there is none."""
    try:
        return ask_git(root, "rev-parse", "--verify", "-q", f"{name}^{{commit}}").decode().strip()
    except GitError:
        return None


def parents_of(root: str, commit: str) -> list[str]:
    """Return the ids of a commit's parents."""
    return ask_git(root, "rev-list", "--parents", "-n", "1", commit, "--").decode().split()[1:]


def ancestor_of(root: str, one: str, other: str) -> str | None:
    """Return the best commit that both come from; None: there is none."""
    if not git_succeeds(root, "merge-base", one, other):
        return None
    return ask_git(root, "merge-base", one, other).decode().split()[0]
