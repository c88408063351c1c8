"""Where a path lies: in which mount, or unmounted changes; and which version that is. Light to import.

For people at a terminal, who name what they stand in by where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, parse_handle
from penstock.mountpoint.innermost_place import MountPlace, innermost_place

if TYPE_CHECKING:
    from penstock.api.settings import Settings

__all__ = ["MountPlace", "MountedVersion", "innermost_place", "mounted_version"]


@dataclass(frozen=True, slots=True)
class MountedVersion:
    """The version that a mount, or unmounted changes, stands at.

    `handle` is what it was mounted as, `version` the same with the hash that it stands at, and both have the path that
    was asked about.
    """

    directory: str
    handle: Handle
    version: Handle

    def at(self, revision: str) -> Handle:
        """Return another version of the dataset, whole; ``@{...}`` is of the branch that is mounted."""
        if revision.startswith("@") and self.handle.ref is not None:
            branch = self.handle.ref
            revision = f"{branch}{revision}" if branch.replace("-", "").replace("_", "").isalnum() else revision
        return replace(self.handle, ref=revision, subdir="")


def mounted_version(place: MountPlace, settings: Settings) -> MountedVersion:
    """Return the version at a place. PenstockError: its mount does not answer, or its changes cannot be opened."""
    from penstock.api.mounts.workspace import Workspace

    status = Workspace(place.directory, settings).status()
    handle = parse_handle(status.handle)
    if handle.bucket not in settings.remotes and "://" not in handle.bucket and status.bucket.startswith("file://"):
        handle = replace(handle, bucket=status.bucket, ref=handle.ref or "main")  # its name is not known any more
    handle = replace(handle, subdir="/".join(filter(None, (handle.subdir, place.path))))
    return MountedVersion(place.directory, handle, replace(handle, ref=status.commit or status.top_hash))
