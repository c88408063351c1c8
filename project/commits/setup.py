"""Which files of a repository declare datasets, and all that git is told for it: to begin with, and to end it.

track       a file's name in git's configuration, hooks, ignored paths, the refspec that brings notes along
untrack     the same taken back; after the last file nothing is left but versions, if any were made
trust       a clone: its notes fetched, its hooks in place, its code may run
doctor      what of this is not as it should be
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from penstock.errors import NotFoundError, PenstockError, UsageError
from penstock.project.declared.declared_source import DeclaredSource, read_source
from penstock.project.git import GitError, ask_git, git_line, git_succeeds
from penstock.project.hooks.dispatcher import install_part, installed_parts, remove_part
from penstock.project.project_trust import forget_trust, read_trust, trust_project
from penstock.project.records.data_record import FileValue
from penstock.project.state_folder import STATE_FOLDER

from .declared_repository import SETTINGS, TRACKED, DeclaredRepository
from .folders import Folders
from .git_hooks import DATASETS_PART, datasets_part
from .ignore_lines import add_ignored, remove_ignored
from .mounted_folders import can_mount, leave_mounts
from .sqlite_database import DATABASE
from .ties import NOTES, REMOTES, fetch_notes, follow_notes, join_notes, read_tie, tied_commits
from .work_tree import WorkTree

__all__ = ["SetupFinding", "examine", "read_file", "track", "trust", "untrack", "write_setting"]

_CLUSTER = re.compile(r"dask://[A-Za-z0-9.\[\]:_-]{1,200}:[0-9]{1,5}")
_EMPTY_BLOB = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""What git has of a file of which it only knows that it is to be added."""


@dataclass(frozen=True, slots=True)
class SetupFinding:
    """Something that was looked at. `fix` says what to do where it is not well."""

    what: str
    is_well: bool
    fix: str = ""


def read_file(repository: DeclaredRepository, path: str) -> DeclaredSource:
    """Read what a file of the work tree declares; nothing of it is run. `path` is from the root."""
    root = repository.root

    def read(name: str) -> bytes | None:
        place = os.path.join(root, name)
        if not os.path.realpath(place).startswith(root + os.sep) or not os.path.isfile(place):
            return None
        with open(place, "rb") as stream:
            return stream.read()

    text = read(path)
    if text is None:
        raise NotFoundError(f"there is no file {path} in {root}", fix="Write it first.")
    return read_source(path, text, read)


def track(repository: DeclaredRepository, path: str) -> DeclaredSource:
    """Have commits of a file, given from the root, make versions of its datasets. Nothing is run or made now."""
    source = read_file(repository, path)
    if not path.endswith(".py"):
        raise UsageError(f"{path} is no Python file", fix="Datasets are declared in Python.")
    if path not in repository.tracked():
        ask_git(repository.root, "config", "--local", "--add", TRACKED, path)
    repository.state.forget_watched()
    if not ask_git(repository.root, "--literal-pathspecs", "ls-files", "--", path):
        ask_git(
            repository.root, "--literal-pathspecs", "add", "--intent-to-add", "--", path
        )  # git commit FILE knows it
    _follow_git(repository)
    folder = os.path.dirname(path)
    names = [each.name for it in source.declarations for each in it.columns if each.type.is_file]
    add_ignored(repository.project, [os.path.join(folder, name) for name in names])
    add_ignored(repository.project, [os.path.join(folder, DATABASE)])
    return source


def _follow_git(repository: DeclaredRepository) -> None:
    """Trust the repository, which this user works in, and have git call us."""
    trust_project(repository.project)
    install_part(repository.project, datasets_part())
    follow_notes(repository.root)


def untrack(repository: DeclaredRepository, path: str) -> str:
    """Have git do no more for a file. Its folders and database go; returns where versions are kept, if there are any.

    What was changed in the folders is kept aside, as in a checkout.
    """
    if path not in repository.tracked():
        raise NotFoundError(f"{path} is not tracked", fix=f"Tracked are: {', '.join(repository.tracked()) or 'none'}")
    _hide(repository, path)
    ask_git(repository.root, "config", "--local", "--fixed-value", "--unset-all", TRACKED, path)
    listed = ask_git(repository.root, "--literal-pathspecs", "ls-files", "-s", "--", path)
    if _EMPTY_BLOB in listed and git_succeeds(repository.root, "diff", "--cached", "--quiet", "--", path):
        ask_git(repository.root, "--literal-pathspecs", "rm", "-q", "--cached", "--", path)  # it was never committed
    if repository.tracked():
        return ""
    root = repository.root
    remove_part(repository.project, DATASETS_PART)
    remove_ignored(repository.project)
    for remote in ask_git(root, "remote").decode().split():
        spec = f"+{NOTES}:{REMOTES}{remote}"
        with suppress(GitError):
            ask_git(root, "config", "--local", "--fixed-value", "--unset-all", f"remote.{remote}.fetch", spec)
    for name in SETTINGS:
        with suppress(GitError):
            ask_git(root, "config", "--local", "--unset-all", f"penstock.{name}")
    has_versions = any(True for _ in tied_commits(root))
    repository.close()
    shutil.rmtree(repository.state.folder, ignore_errors=True)
    if has_versions:
        return repository.project.shared
    forget_trust(repository.project)
    if not installed_parts(repository.project) and not os.path.lexists(os.path.join(root, "penstock.toml")):
        shutil.rmtree(os.path.join(root, STATE_FOLDER), ignore_errors=True)
    return ""


def _hide(repository: DeclaredRepository, path: str) -> None:
    applied = repository.state.applied
    tied = applied.files.get(path)
    directory = os.path.join(repository.root, os.path.dirname(path))
    if tied is not None:
        opened = repository.opened()
        aside = os.path.join(repository.project.state, "kept")
        Folders(directory, opened.files, opened.kept, aside).bring(repository.versions(tied), {})
        leave_mounts(repository, {})
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, DATABASE))


def trust(repository: DeclaredRepository) -> list[str]:
    """Trust a clone: its code may run, its notes are fetched, its files tracked. Returns the files."""
    root = repository.root
    _follow_git(repository)
    for remote in ask_git(root, "remote").decode().split():
        fetch_notes(root, remote)
    join_notes(root)
    head = repository.head()
    for file in sorted(repository.tied_files(head)):
        if file not in repository.tracked():
            ask_git(root, "config", "--local", "--add", TRACKED, file)
    if head is not None:
        if not _is_set(repository, "folders") and _is_elsewhere(repository, head) and can_mount():
            write_setting(repository, "folders", "mount")
        WorkTree(repository).show(head)
    return repository.tracked()


def _is_set(repository: DeclaredRepository, name: str) -> bool:
    return git_succeeds(repository.root, "config", "--local", "--get", f"penstock.{name}")


def _is_elsewhere(repository: DeclaredRepository, commit: str) -> bool:
    """Whether files of a commit's datasets are not on this machine, as far as the first of each field tells."""
    kept = repository.opened().kept
    for file in repository.tied_files(commit).values():
        for version in repository.versions(file).values():
            for each in version.schema.fields:
                first = next(version.files(each.name), None) if each.is_file else None
                if first is not None and not kept.has_file(FileValue(first.hash.hex(), first.size, "")):
                    return True
    return False


def examine(repository: DeclaredRepository) -> Iterator[SetupFinding]:
    """Look at all that datasets of a repository rest on."""
    files = repository.tracked()
    yield SetupFinding(f"tracked: {', '.join(files) or 'nothing'}", bool(files), "git datasets track index.py")
    hooks = installed_parts(repository.project).get(DATASETS_PART, set())
    wanted = set(datasets_part().scripts)
    missing = ", ".join(sorted(wanted - hooks))
    yield SetupFinding(
        f"hooks: {f'not run: {missing}' if missing else 'all in place'}", not missing, "git datasets trust"
    )
    runs = read_trust(repository.project).runs
    yield SetupFinding(f"trust: code of this repository {'may' if runs else 'may not'} run", runs, "git datasets trust")
    version = git_line(repository.root, "--version")
    yield SetupFinding(version, True)
    head = repository.head()
    if head is None:
        return
    untied = repository.missing(head)
    yield SetupFinding(
        f"commit {head[:12]}: {'no versions of ' + ', '.join(untied) if untied else 'has its versions'}",
        not untied,
        "git datasets run",
    )
    try:
        changed = WorkTree(repository).changed()
    except PenstockError as error:
        yield SetupFinding(f"folders: {error}", False, "git datasets checkout")
    else:
        yield SetupFinding(
            f"folders: {f'{len(changed)} paths are changed here' if changed else 'as their versions say'}",
            not changed,
            "git datasets checkout puts them back, and keeps what was changed aside",
        )
    damaged = [commit for commit in tied_commits(repository.root) if not _reads(repository.root, commit)]
    yield SetupFinding(
        f"notes of commits: {f'{len(damaged)} cannot be read' if damaged else 'all can be read'}", not damaged
    )


def _reads(root: str, commit: str) -> bool:
    try:
        return read_tie(root, commit) is not None
    except PenstockError:
        return False


def write_setting(repository: DeclaredRepository, name: str, value: str) -> None:
    """Set a setting of the repository. UsageError: it has no such value."""
    choices = {"errors": ("refuse", "keep"), "folders": ("links", "mount"), "executor": ("processes",)}[name]
    if value not in choices and not (name == "executor" and _CLUSTER.fullmatch(value)):
        more = ", or dask://HOST:PORT" if name == "executor" else ""
        raise UsageError(f"{name} cannot be {value!r}", fix=f"It is {' or '.join(choices)}{more}.")
    ask_git(repository.root, "config", "--local", f"penstock.{name}", value)
