"""What a path of this machine lies in: the innermost mount, or directory whose changes were left unmounted.

Light, for it is asked before a command is chosen, and touches no mount that may not answer: only what lies above a
mountpoint is looked up, the rest of a path is read as it is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .kernel_mounts import enclosing
from .overlay_notes import overlay_at

__all__ = ["MountPlace", "innermost_place", "real_path"]


@dataclass(frozen=True, slots=True)
class MountPlace:
    """A mountpoint, and the path in it that was asked about, empty for itself. `mounted`: False of changes left."""

    directory: str
    path: str
    mounted: bool


def real_path(path: str) -> str:
    """Return a path absolute, and without symlinks but for its last component: what is named is meant itself."""
    whole = os.path.abspath(os.path.expanduser(path)) if path.strip(".") else os.path.realpath(path)
    return os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))


def innermost_place(path: str = ".") -> MountPlace | None:
    """Return what holds a path; None: no mount of Penstock's, and no directory where one has left changes."""
    real = real_path(path)
    mount = enclosing(real)
    if mount is None:
        real = os.path.realpath(real)  # a link to one
        mount = enclosing(real)
    if mount is not None:
        return MountPlace(mount.mountpoint, _within(mount.mountpoint, real), True)
    at = real
    while (overlay := overlay_at(at)) is None or not _is_own(overlay):
        if at == "/":
            return None
        at = os.path.dirname(at)
    return MountPlace(at, _within(at, real), False)


def _is_own(overlay: str) -> bool:
    """Whether changes are this user's: nobody else's are opened for a command that did not name them."""
    try:
        return os.stat(overlay).st_uid == os.geteuid()
    except OSError:
        return False


def _within(top: str, path: str) -> str:
    return "" if path == top else path[len(top.rstrip("/")) + 1 :]
