"""What a work tree shows: folders and databases, brought to the versions of a commit.

**Invariants.** What is noted as shown is shown, or `is_whole` is False and all is looked at the next time: a kill at
any step leaves links that the next run puts right. Nothing of the user's is lost: see `folders`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

from msgspec import structs

from penstock.errors import AccessError, ConflictError, PenstockError
from penstock.project.records.versions import Version

from .commit_versions import CommitVersions
from .declared_repository import DeclaredRepository
from .folders import FolderReport, Folders, is_mount_link
from .git_texts import blobs_at
from .ignore_lines import add_ignored
from .sqlite_database import DATABASE, is_alike, is_ours, update_database
from .ties import TiedFile, TiedVersion
from .work_state import Applied

__all__ = ["WorkTree", "follow"]


class WorkTree:
    """The work tree of a repository."""

    def __init__(self, repository: DeclaredRepository) -> None:
        self._repository = repository
        self._root = repository.root
        self._state = repository.state

    def show(self, commit: str, *, look: bool = False) -> FolderReport:
        """Bring folders and databases to the versions of a commit. `look`: at all that is there.

        ConflictError: a database is held by a program; AccessError: no room, or no right. What was done stays.
        """
        applied = self._state.applied
        tied = self._repository.tied_files(commit)
        here = set(blobs_at(self._root, commit, list(tied)))
        wanted = {file: each for file, each in tied.items() if file in here}
        report = FolderReport()
        look = look or not applied.is_whole
        changed = {
            file
            for file in {*applied.files, *wanted}
            if look or _datasets(applied.files.get(file)) != _datasets(wanted.get(file))
        }
        if changed:
            self._state.applied = structs.replace(applied, is_whole=False)
            databases = dict(applied.databases)
            for file in sorted(changed):
                self._show_file(file, applied, wanted.get(file), look, databases, report)
            applied = Applied(commit, wanted, databases)
            self._ignore(wanted)
            if os.path.isdir(os.path.join(self._repository.project.state, "mounts")):
                from .mounted_folders import leave_mounts

                leave_mounts(self._repository, wanted if self._is_mounted else {})
        self._state.applied = Applied(commit, wanted, applied.databases)
        self._state.watch([path for each in wanted.values() for path in each.sources] + self._repository.tracked())
        for path in report.kept:
            self._repository.say(f"kept aside, for it was changed here: {path}")
        if report.absent:
            self._repository.say(f"{report.absent} files are not here yet: git datasets pull")
        return report

    def _show_file(
        self,
        file: str,
        applied: Applied,
        tied: TiedFile | None,
        look: bool,
        databases: dict[str, tuple[int, int, int]],
        report: FolderReport,
    ) -> None:
        opened = self._repository.opened()
        before = self._versions_if_there(applied.files.get(file))
        now = self._repository.versions(tied)
        directory = os.path.join(self._root, os.path.dirname(file))
        if os.path.realpath(directory) != os.path.normpath(directory):
            raise AccessError(f"{directory} is not used", why="it lies behind a symbolic link", fix="Move the file.")
        folders = Folders(directory, opened.files, opened.kept, os.path.join(self._repository.project.state, "kept"))
        path = os.path.join(directory, DATABASE)
        if self._is_mounted:
            from .mounted_folders import MountedFolders

            if look:  # folders of links, and what the user has in them
                folders.bring(now, {}, look=True)
            self._give_way(path, file, databases, folders, report)
            MountedFolders(self._repository, directory).bring(tied, now)
        else:
            folders.bring(before, now, look=look)
            self._give_way(path, file, databases, folders, report)
        if not is_mount_link(path):
            anew = look or _facts(path) != databases.get(file)
            is_much = anew or any(not is_alike(before.get(name), each) for name, each in now.items())
            with self._ready_database(now) if is_much else nullcontext() as ready:
                update_database(path, before, now, anew=anew, ready=ready)
        databases.pop(file, None)
        if (facts := _facts(path)) is not None:
            databases[file] = facts
        report.made += folders.report.made
        report.removed += folders.report.removed
        report.absent += folders.report.absent
        report.kept += folders.report.kept

    def _ready_database(self, now: Mapping[str, Version]) -> AbstractContextManager[str | None]:
        """Return the database of what a file declares, if that is one dataset and it lies on this machine."""
        if len(now) != 1:
            return nullcontext()
        from .attached_database import attached_database

        return attached_database(next(iter(now.values())), self._repository.opened().files, fetched=False)

    @cached_property
    def _is_mounted(self) -> bool:
        """Whether folders are mounts, and no links to files of this machine."""
        return self._repository.setting("folders") == "mount"

    def _give_way(
        self,
        path: str,
        file: str,
        databases: dict[str, tuple[int, int, int]],
        folders: Folders,
        report: FolderReport,
    ) -> None:
        """Have the place of the database ready: what was changed is kept aside. ConflictError: it is not ours."""
        if is_mount_link(path):
            os.unlink(path)
            return
        if not is_ours(path):
            raise ConflictError(
                f"{path} is there already",
                why="it is no database that was made of a dataset",
                fix="Move it away, then: git datasets checkout",
            )
        facts = _facts(path)
        if facts is not None and file in databases and facts != databases[file]:
            report.kept.append(folders.keep(path))

    def _versions_if_there(self, tied: TiedFile | None) -> dict[str, Version]:
        try:
            return self._repository.versions(tied)
        except PenstockError:  # it was shown once, and is gone since: what is there is looked at
            return {}

    def _ignore(self, files: Mapping[str, TiedFile]) -> None:
        """Have git ignore what lies beside the files; lines stay until nothing is tracked any more."""
        paths = []
        for file, tied in files.items():
            folder = os.path.dirname(file)
            paths.append(os.path.join(folder, DATABASE))
            for version in self._repository.versions(tied).values():
                paths += [os.path.join(folder, each.name) for each in version.schema.fields if each.is_file]
        add_ignored(self._repository.project, paths)

    def changed(self) -> list[str]:
        """Return the paths in folders that are other ones than their versions say."""
        found = []
        opened = self._repository.opened()
        for file, tied in self._state.applied.files.items():
            folder = os.path.dirname(file)
            folders = Folders(os.path.join(self._root, folder), opened.files, opened.kept, "")
            found += [os.path.join(folder, each) for each in folders.changed(self._repository.versions(tied))]
        return found


def _datasets(tied: TiedFile | None) -> dict[str, TiedVersion]:
    return tied.datasets if tied is not None else {}


def _facts(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def follow(repository: DeclaredRepository) -> FolderReport | None:
    """Tie HEAD to its versions, if that can be done without running code, and show them; None: there is no commit."""
    head = repository.head()
    if head is None:
        return None
    CommitVersions(repository).settle(head)
    return WorkTree(repository).show(head)
