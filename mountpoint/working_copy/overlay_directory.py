"""Which overlay a writable mount has, and what it goes on with: a version, or what was left uncommitted.

By default an overlay lies in the user's state folder, named after the mountpoint, so that mounting there again finds
it. One without changes begins anew with the version that the handle names now; one with changes goes on with them,
over the version that they were made to.
"""

from __future__ import annotations

import errno
import os

from penstock.errors import AccessError, ConflictError, NotFoundError
from penstock.mountpoint.overlay_notes import overlay_at
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.meta import Origin
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.refs.repository import DEFAULT_BRANCH, dataset_of
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.user_folders import check_owner, has_home, user_folder
from penstock.store.durable import make_private

__all__ = ["adopt", "open_overlay", "overlay_of", "pin_of", "resumed"]


def overlay_of(directory: str) -> str:
    """Return the overlay that a mountpoint has, or had, or that a directory is. NotFoundError: there is none."""
    found = overlay_at(os.path.realpath(directory))
    if found is not None:
        return found
    raise NotFoundError(
        f"nothing is mounted at {directory}",
        why="and no writable mount has left changes there",
        fix="penstock mounts lists what is mounted; name the directory of --overlay-dir, if that was given.",
    )


def open_overlay(directory: str, *, trusted: bool = False) -> Overlay:
    """Open an overlay, made if need be. AccessError: the directory cannot be used; else as `Overlay`."""
    if directory.startswith(os.path.join(user_folder("state"), "")):
        if not has_home():
            raise AccessError(
                "there is no place to keep changes in",
                why="this user has no home directory, and temporary files may be gone after the machine's next start",
                fix="Name a directory for them: --overlay-dir DIR",
            )
        check_owner(directory)
    try:
        make_private(directory)
        return Overlay(directory, trusted=trusted)
    except OSError as error:
        raise AccessError(
            f"the overlay in {directory} cannot be opened",
            why=error.strerror or str(error),
            fix="Allow more address space: ulimit -v"
            if error.errno == errno.ENOMEM
            else "Name another directory: --overlay-dir DIR",
        ) from error


def pin_of(origin: Origin) -> Pin:
    """Return what opens the version that an overlay is over, whatever its handle names by now."""
    return Pin(origin.version, origin.manifest, None, origin.lower, origin.metadata)


def resumed(overlay: Overlay, handle_text: str, settings: Settings) -> Pin | None:
    """Return what an overlay with changes goes on with; None when it has none, and begins anew.

    ConflictError: the changes were made to something else than what is to be mounted.
    """
    origin = overlay.origin
    if origin is None or not overlay.is_dirty():
        return None
    handle = parse_handle(handle_text)
    wanted = (settings.locate_bucket(handle.bucket)[0], dataset_of(handle), handle.ref or DEFAULT_BRANCH, handle.subdir)
    if wanted != (origin.url, origin.dataset, origin.ref, origin.subdir):
        raise ConflictError(
            f"the overlay in {overlay.directory} holds changes of something else",
            why=f"they were made to {origin.handle}, and were not committed",
            fix=f"penstock commit {overlay.directory} or penstock discard {overlay.directory}, "
            "or mount with another --overlay-dir.",
        )
    return pin_of(origin)


def adopt(overlay: Overlay, snapshot: Snapshot) -> None:
    """Have an overlay without changes begin anew over a version."""
    handle = parse_handle(snapshot.handle)
    overlay.begin(
        Origin(
            snapshot.handle,
            snapshot.bucket_url,
            snapshot.dataset,
            snapshot.version.ref,
            handle.subdir,
            snapshot.root,
            snapshot.commit_id,
            snapshot.manifest,
            snapshot.root_metadata,
        )
    )
