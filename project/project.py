"""A project: a git repository (or a plain directory) with a ``penstock.toml`` at its top.

    root                  the top of this work tree: pointers are relative to it
    state                 ``.penstock/`` there: what holds for this work tree alone (index, files kept aside)
    shared                ``.penstock/`` of the main work tree (of a bare repository: ``penstock/.penstock/`` in it):
                          the local bucket, which all work trees share
    git, common           the work tree's git directory, and that of the repository; None in a plain directory

Where the bucket lies is decided so that nothing in ``.git`` grows with the data, and `git worktree remove` takes no
data along. `git clean -x` leaves ``.penstock/`` alone: it holds what git takes for a repository of its own.

Found without running git: a command that has nothing to do is done before git would have started.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from penstock.errors import NotFoundError, UsageError
from penstock.project.git import ask_git, git_answer
from penstock.project.project_file import PROJECT_FILE, ProjectFile, edit_project_file, read_bounded, read_project_file
from penstock.project.state_folder import STATE_FOLDER, exclude_state, open_state

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = ["Project", "find_project", "init_project", "work_tree_of"]

_LINE = 4096


@dataclass(frozen=True)
class Project:
    """One work tree of a project. A value: nothing is open."""

    root: str
    git: str | None
    common: str | None

    @property
    def has_file(self) -> bool:
        """Whether there is a ``penstock.toml``: datasets as code need none."""
        return os.path.lexists(os.path.join(self.root, PROJECT_FILE))

    @cached_property
    def file(self) -> ProjectFile:
        """What ``penstock.toml`` says."""
        return read_project_file(self.root)

    @cached_property
    def state(self) -> str:
        """The folder of this work tree's state, made if it is not there."""
        is_new = not os.path.lexists(os.path.join(self.root, STATE_FOLDER))
        path = open_state(self.root)
        if is_new and self.common is not None:
            exclude_state(self.common)
        return path

    @cached_property
    def shared(self) -> str:
        """The folder of what all work trees share, made if it is not there."""
        if self.common is None or self.git == self.common:
            return self.state
        above = os.path.dirname(self.common)
        if os.path.basename(self.common) == ".git":
            return open_state(above)
        place = os.path.join(self.common, "penstock")
        os.makedirs(place, mode=0o700, exist_ok=True)
        return open_state(place)

    def path_of(self, path: str) -> str:
        """Return a path, given as of the working directory, relative to the root. UsageError: it lies outside."""
        folder, name = os.path.split(path.rstrip("/") or "/")
        if name in ("", ".", ".."):
            inside = os.path.relpath(os.path.realpath(path), self.root)
        else:  # what is named may be a symlink: it is meant itself
            inside = os.path.relpath(os.path.join(os.path.realpath(folder or "."), name), self.root)
        if inside == ".." or inside.startswith("../"):
            raise UsageError(
                f"{path!r} lies outside of the project",
                why=f"the project is {self.root}",
                fix="Name a path in it, or go to the project that has it.",
            )
        return inside

    def branch(self) -> str | None:
        """Return the branch of this work tree; None: it stands at no branch, or this is no git repository."""
        if self.git is None:
            return None
        head = read_bounded(os.path.join(self.git, "HEAD"), _LINE) or b""
        return os.fsdecode(head[16:]).strip() if head.startswith(b"ref: refs/heads/") else None

    def commit(self) -> str | None:
        """Return the id of the commit that HEAD names; None: there is none."""
        return git_answer(self.root, "rev-parse", "--verify", "-q", "HEAD") if self.git is not None else None


def work_tree_of(directory: str) -> tuple[str, str, str] | None:
    """Return the top of the git work tree that holds a directory, its git directory and the repository's."""
    at = os.path.realpath(directory)
    while True:
        place = os.path.join(at, ".git")
        if os.path.isdir(place):
            return at, place, place
        if os.path.isfile(place):
            line = read_bounded(place, _LINE) or b""
            if not line.startswith(b"gitdir: "):
                return None
            git = os.path.realpath(os.path.join(at, os.fsdecode(line[8:].rstrip(b"\n"))))
            common = read_bounded(os.path.join(git, "commondir"), _LINE)
            if common is None:
                return at, git, git
            return at, git, os.path.realpath(os.path.join(git, os.fsdecode(common.rstrip(b"\n"))))
        above = os.path.dirname(at)
        if above == at:
            return None
        at = above


def find_project(directory: str = ".") -> Project:
    """Return the project that holds a directory. NotFoundError: there is none."""
    found = work_tree_of(directory)
    if found is not None and os.path.lexists(os.path.join(found[0], PROJECT_FILE)):
        return Project(*found)
    at = os.path.realpath(directory)
    while found is None:
        if os.path.lexists(os.path.join(at, PROJECT_FILE)):
            return Project(at, None, None)
        above = os.path.dirname(at)
        if above == at:
            break
        at = above
    where = f"the git repository {found[0]}" if found is not None else repr(os.path.realpath(directory))
    raise NotFoundError(
        f"{where} is not a project",
        why=f"there is no {PROJECT_FILE} at its top",
        fix="penstock init makes it one; without a project penstock download DATASET DIR copies a version, and "
        "penstock mount DATASET DIR shows it",
    )


def init_project(directory: str = ".", *, dataset: str | None = None) -> tuple[Project, bool]:
    """Make the git repository that holds a directory a project; whether it was none before.

    A directory that is in no repository becomes one of its own, without what git gives: branches and hooks.
    """
    found = work_tree_of(directory)
    project = Project(*found) if found is not None else Project(os.path.realpath(directory), None, None)
    is_new = not os.path.lexists(os.path.join(project.root, PROJECT_FILE))
    if is_new:
        name = dataset or _dataset_name(os.path.basename(project.root))

        def begin(document: TOMLDocument) -> None:
            document["format"] = 1
            document["dataset"] = name

        edit_project_file(project.root, begin)
    assert project.file.dataset
    assert project.state
    assert project.shared
    return project, is_new


def _dataset_name(folder: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("._-")[:128]
    return plain or "project"


def is_tracked_by_git(project: Project, path: str) -> bool:
    """Whether git itself tracks a path of the project, or something below it."""
    if project.git is None:
        return False
    return bool(ask_git(project.root, "ls-files", "-z", "--", f":(literal){path}"))
