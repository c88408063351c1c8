"""Folders of a dataset that are mounts: there at once, whatever the size, and what is read is fetched.

    .penstock/mounts/<commit>/      a read-only mount of a version, from the local bucket on top of the remotes
    <field> -> .penstock/mounts/<commit>/<field>
    dataset.sqlite -> …             where the file declares one dataset: what is attached to the version

From one commit to another the links change, the new version is mounted, and the old one goes when its last reader does.
**Invariant:** nothing is removed but links of ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from penstock.errors import AccessError, PenstockError
from penstock.project.local_bucket import local_address
from penstock.project.project_trust import read_trust
from penstock.project.records.versions import Version
from penstock.repo.settings.handle import Handle, parse_handle

from .declared_repository import DeclaredRepository
from .folders import is_mount_link
from .sqlite_database import DATABASE
from .ties import TiedFile

__all__ = ["MountedFolders", "can_mount", "leave_mounts"]


def can_mount() -> bool:
    """Whether this machine and this user can mount."""
    from penstock.mountpoint.mount_options import MountOptions
    from penstock.mountpoint.preflight import check_fuse

    try:
        check_fuse(MountOptions())
    except PenstockError:
        return False
    return os.access("/dev/fuse", os.R_OK | os.W_OK)


class MountedFolders:
    """The folders in one directory that show versions in mounts."""

    def __init__(self, repository: DeclaredRepository, directory: str) -> None:
        self._repository = repository
        self._directory = directory

    def bring(self, tied: TiedFile | None, versions: Mapping[str, Version]) -> None:
        """Have links lead to mounts of versions; links that lead elsewhere, and are ours, go. Errors as of `mount`.

        AccessError: the directory cannot be written, or something else is in the way.
        """
        wanted: dict[str, str] = {}
        for name, version in versions.items():
            assert tied is not None
            place = self._mounted(version, tied.datasets[name].remote)
            for each in version.schema.fields:
                if each.is_file:
                    wanted[each.name] = os.path.join(place, each.name)
            if len(versions) == 1 and version.attached(DATABASE.encode()) is not None:
                wanted[DATABASE] = os.path.join(place, DATABASE)
        try:
            self._link(wanted)
        except OSError as error:
            raise AccessError(
                f"{error.filename or self._directory} cannot be changed",
                why=error.strerror or str(error),
                fix="Move it away, or give yourself access, then: git datasets checkout",
            ) from error

    def _link(self, wanted: Mapping[str, str]) -> None:
        with os.scandir(self._directory) as found:
            old = [each.path for each in found if is_mount_link(each.path)]
        for path in old:
            if os.path.basename(path) not in wanted:
                os.unlink(path)
        for name, target in wanted.items():
            path = os.path.join(self._directory, name)
            relative = os.path.relpath(target, self._directory)
            if is_mount_link(path):
                if os.readlink(path) == relative:
                    continue
                os.unlink(path)
            elif name == DATABASE and os.path.lexists(path):  # ours, as whoever calls has seen to
                os.unlink(path)
            os.symlink(relative, path)

    def _mounted(self, version: Version, remote: str | None) -> str:
        """Mount a version, if it is not, and return where."""
        from penstock.api.mounts.mounts import mount, unmount

        project = self._repository.project
        place = os.path.join(project.state, "mounts", version.commit.hex()[:20])
        if os.path.ismount(place):
            return place
        os.makedirs(place, exist_ok=True)
        # One whose daemon is gone is no directory to anybody, and is taken away first.
        with suppress(PenstockError):
            unmount(place, lazy=True)
        bucket = local_address(project).replace(":", "%3A").replace("file%3A", "file:", 1)
        handle = Handle(bucket, version.dataset, version.commit.hex())
        beneath = (remote,) if remote is not None and read_trust(project).runs else ()
        settings = replace(self._repository.settings, beneath={parse_handle(str(handle)).bucket: beneath})
        mount(handle, place, settings=settings)
        return place


def leave_mounts(repository: DeclaredRepository, files: Mapping[str, TiedFile]) -> None:
    """Unmount versions that are none of these; what is still read stays until its reader is done."""
    folder = os.path.join(repository.project.state, "mounts")
    used = {each.commit[:20] for file in files.values() for each in file.datasets.values()}
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    from penstock.api.mounts.mounts import unmount

    for name in names:
        if name not in used:
            place = os.path.join(folder, name)
            with suppress(PenstockError):
                unmount(place, lazy=True)
            with suppress(OSError):
                os.rmdir(place)
