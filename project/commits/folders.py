"""The folders of a dataset's files beside the file that declares it: read-only links into the local bucket.

From one version to another, what differs is changed, in time that goes by how much that is. What is in a folder and is
no link of ours is the user's: it is left alone where it may stay, and kept aside where it has to give way.
**Invariant:** nothing is removed but links of ours, and folders that are empty then.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.entry import TreeEntry
from penstock.project.records.data_record import FileValue
from penstock.project.records.file_store import FileStore
from penstock.project.records.kept_work import KeptWork
from penstock.project.records.versions import Version, folder_changes
from penstock.repo.bucket.object_keys import data_key

__all__ = ["FolderReport", "Folders", "is_mount_link", "linked_object"]

_DATA = "/.penstock/bucket/.penstock/data/"
_MOUNTS = "/.penstock/mounts/"
_OBJECT = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class FolderReport:
    """What was done: links made and removed; where files were kept that had to give way; files that are not here."""

    made: int = 0
    removed: int = 0
    kept: list[str] = field(default_factory=list)
    absent: int = 0


class Folders:
    """The folders in one directory, whose links lead into the bucket of `files`. `aside`: where files are kept."""

    def __init__(self, directory: str, files: FileStore, kept: KeptWork, aside: str) -> None:
        self._directory = directory
        self._files = files
        self._kept = kept
        self._aside = os.path.join(aside, time.strftime("%Y%m%dT%H%M%S"))
        self._ways: dict[str, str] = {}
        self.report = FolderReport()

    def bring(self, before: Mapping[str, Version], now: Mapping[str, Version], *, look: bool = False) -> None:
        """Bring all folders from some versions to others; `look`: at what is there, rather than to believe `before`.

        AccessError: the directory cannot be written.
        """
        try:
            for name in {**before, **now}:
                old, new = before.get(name), now.get(name)
                for folder in sorted({*_file_fields(old), *_file_fields(new)}):
                    self._folder(folder, old, new if folder in _file_fields(new) else None, look)
        except OSError as error:
            raise AccessError(
                f"{error.filename or self._directory} cannot be changed",
                why=error.strerror or str(error),
                fix="Make room or give yourself access, then: git datasets checkout",
            ) from error

    def _folder(self, folder: str, old: Version | None, new: Version | None, look: bool) -> None:
        place = os.path.join(self._directory, folder)
        if is_mount_link(place):
            os.unlink(place)
        if os.path.islink(place):  # it leads somewhere else, and is not ours
            self._set_aside(place)
        if new is not None and not os.path.isdir(place):
            if os.path.lexists(place):
                self._set_aside(place)
            os.makedirs(place)
            look = True
        if look:
            self._compare(place, folder, new)
        else:
            for change in folder_changes(old if folder in _file_fields(old) else None, new, folder):
                if change.new is None:
                    self._unlink(os.path.join(place, change.name))
                else:
                    self._link(place, change.name, change.new)
        if new is None:
            self._remove(place)

    def _compare(self, place: str, folder: str, new: Version | None) -> None:
        wanted = set()
        for entry in new.files(folder) if new is not None else ():
            name = entry.name.decode("utf-8", "surrogateescape")
            wanted.add(name)
            self._link(place, name, entry)
        for name in _names(place):
            if name not in wanted and self._is_link(os.path.join(place, name)):
                self._unlink(os.path.join(place, name))

    def _link(self, place: str, name: str, entry: TreeEntry) -> None:
        path = os.path.join(place, name)
        target = self._target(place, name, entry)
        try:
            os.symlink(target, path)
        except FileExistsError:
            if os.path.islink(path) and os.readlink(path) == target:
                return
            if self._is_link(path):
                os.unlink(path)
            else:
                self._set_aside(path)
            os.symlink(target, path)
        self.report.made += 1

    def _target(self, place: str, name: str, entry: TreeEntry) -> str:
        if not entry.is_file or name.count(".") < 2:
            raise IntegrityError(f"the version has {name!r}, which is no file of a record", fix="Look who made it.")
        value = FileValue(entry.hash.hex(), entry.size, name.split(".", 2)[2])
        stored = self._kept.stored(value)
        if stored is None or not self._kept.has_file(value):
            self.report.absent += 1
        if place not in self._ways:
            self._ways[place] = os.path.relpath(self._files.bucket, place)
        return f"{self._ways[place]}/{data_key(stored.object if stored is not None else entry.hash)}"

    def _unlink(self, path: str) -> None:
        if self._is_link(path):
            os.unlink(path)
            self.report.removed += 1
        elif os.path.lexists(path):
            self._set_aside(path)

    def _is_link(self, path: str) -> bool:
        return linked_object(path) is not None

    def _remove(self, place: str) -> None:
        try:
            os.rmdir(place)
        except FileNotFoundError:
            return
        except OSError:
            self._set_aside(place)

    def _set_aside(self, path: str) -> None:
        self.report.kept.append(self.keep(path))

    def keep(self, path: str) -> str:
        """Move something of the user's that is in the way, and return where to. Raises OSError."""
        target = os.path.join(self._aside, os.path.relpath(path, self._directory))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        number = 0
        free = target
        while os.path.lexists(free):
            number += 1
            free = f"{target}.{number}"
        os.rename(path, free)
        return free

    def changed(self, now: Mapping[str, Version]) -> Iterator[str]:
        """Yield what is in the folders and not of their versions, and what is not there: paths of the user's doing."""
        for version in now.values():
            for folder in _file_fields(version):
                place = os.path.join(self._directory, folder)
                if is_mount_link(place):  # which nobody can change
                    if not os.path.isdir(place):
                        yield f"{folder}, whose mount is gone"
                    continue
                missing = set()
                for entry in version.files(folder):
                    name = entry.name.decode("utf-8", "surrogateescape")
                    if not self._is_link(os.path.join(place, name)):
                        missing.add(name)
                there = {name for name in _names(place) if not self._is_link(os.path.join(place, name))}
                yield from (f"{folder}/{name}" for name in sorted(missing | there))


def _file_fields(version: Version | None) -> set[str]:
    return {each.name for each in version.schema.fields if each.is_file} if version is not None else set()


def _names(place: str) -> Iterator[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as found:
        yield from (each.name for each in found)


def linked_object(path: str) -> bytes | None:
    """Return the object of a local bucket that a link of ours leads to; None: it is none of ours."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    name = target.rpartition("/")[2]
    return bytes.fromhex(name) if _DATA in target and _OBJECT.fullmatch(name) else None


def is_mount_link(path: str) -> bool:
    """Whether a path is a link of ours into a mount (`mounted_folders`)."""
    try:
        return _MOUNTS in f"/{os.readlink(path)}"
    except OSError:
        return False
