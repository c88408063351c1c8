"""Notes of which overlay belongs to which mountpoint: so that changes are found again when nothing is mounted there.

One small JSON file a mountpoint, beside the overlays in the user's state folder, written at each writable mount. A
note is a hint: what it says of a directory is looked up there. Light: needs no tables.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec
from blake3 import blake3

from penstock.errors import AccessError
from penstock.repo.settings.user_folders import make_user_folder, user_folder
from penstock.wire import NoMessageError, decode_message, encode_message

__all__ = ["OverlayNote", "note_overlay", "overlay_at", "overlay_directory", "overlay_notes"]

_MOST = 1 << 16


class OverlayNote(msgspec.Struct, frozen=True):
    """Where a mount has, or had, its changes; `mountpoint` is None of a directory that no note is about."""

    mountpoint: str | None
    overlay: str


def overlay_directory(mountpoint: str) -> str:
    """Return where the overlay of mounts at a directory lies, unless they say otherwise."""
    return os.path.join(user_folder("state"), "overlays", _name(mountpoint))


def note_overlay(mountpoint: str, overlay: str) -> None:
    """Note what a mount keeps its changes in. A note that cannot be written is none: the mount matters more."""
    with suppress(OSError, AccessError):
        path = os.path.join(make_user_folder("state", "overlays"), f"{_name(mountpoint)}.json")
        draft = f"{path}.{os.getpid()}.new"
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as stream:
            stream.write(encode_message(OverlayNote(mountpoint, os.path.abspath(overlay))))
        os.rename(draft, path)


def overlay_notes() -> list[OverlayNote]:
    """Return all notes, and the overlays of this user that there are none about."""
    folder = os.path.join(user_folder("state"), "overlays")
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = [note for name in names if name.endswith(".json") and (note := _read(os.path.join(folder, name)))]
    noted = {note.overlay for note in found}
    others = [os.path.join(folder, name) for name in names if not name.endswith((".json", ".new"))]
    return found + [OverlayNote(None, each) for each in others if each not in noted]


def overlay_at(directory: str) -> str | None:
    """Return the overlay that a directory is, or that mounts at it have left; None: there is none.

    `directory` is absolute, without symlinks.
    """
    for path in (directory, overlay_directory(directory)):
        if _is_overlay(path):
            return path
    note = _read(f"{overlay_directory(directory)}.json")
    return note.overlay if note is not None and note.mountpoint == directory and _is_overlay(note.overlay) else None


def _is_overlay(path: str) -> bool:
    return os.path.exists(os.path.join(path, "index", "data.mdb"))


def _name(mountpoint: str) -> str:
    name = mountpoint.strip("/").replace("/", "-")[-100:] or "root"
    return f"{name}-{blake3(os.fsencode(mountpoint)).hexdigest()[:12]}"


def _read(path: str) -> OverlayNote | None:
    try:
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        ) as stream:
            note: OverlayNote = decode_message(stream.read(_MOST), OverlayNote)
            return note
    except (OSError, NoMessageError):
        return None
