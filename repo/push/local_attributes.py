"""What a push keeps of a local file beyond kind, bytes and time: permission bits and attributes of users, when asked.

By default nothing, so that a directory has the same hash whatever machine it was copied to.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.manifest.entry import DocumentRef, Kind, Metadata
from penstock.manifest.file_attributes import RESERVED, described, has_room, kept_mode, with_attribute, with_mode
from penstock.manifest.metadata import canonical_json, parse_metadata

from .local_path import file_error, open_path

__all__ = ["NOTHING", "KeptAttributes", "kept_metadata"]

_USER, _META, _PENSTOCK = "user.", "user.meta.", "user.penstock."
_LONGEST = 4095
_NONE = (errno.ENOTSUP, errno.ENODATA)


@dataclass(frozen=True, slots=True)
class KeptAttributes:
    """What is kept: `modes`, permission bits; `xattrs`, attributes of users.

    Of those, what a mount shows as metadata becomes metadata again, and what it says of itself is left out.
    """

    modes: bool = False
    xattrs: bool = False

    def metadata(self, path: bytes, kind: Kind, facts: os.stat_result) -> bytes:
        """Return the metadata of a file or directory, as it is listed. AccessError, ConflictError as other reading.

        UsageError: there is too much of it.
        """
        if kind is Kind.SYMLINK or not (self.modes or self.xattrs):
            return b""
        metadata = b""
        try:
            if self.xattrs:
                metadata = _attributes(path)
            if self.modes and (mode := kept_mode(kind, stat.S_IMODE(facts.st_mode))) is not None:
                if not has_room(metadata):
                    raise UsageError("metadata with no room for a mode")
                changed = with_mode(metadata, mode)
                assert isinstance(changed, bytes)  # a document has come from a version
                metadata = changed
        except UsageError as error:
            raise UsageError(
                f"the attributes of {os.fsdecode(path)!r} cannot be kept", why=f"{error.what}: {error.why}".strip(": ")
            ) from error
        return metadata


NOTHING = KeptAttributes()


def kept_metadata(before: Metadata, found: Metadata, path: bytes) -> Metadata:
    """Return what a path has of metadata, when `found` was kept of the local file and a version has `before`.

    What users said of it stays; modes and attributes are those of the file. UsageError: there is no room for both.
    """
    if isinstance(before, DocumentRef) or isinstance(found, DocumentRef):
        if not found:
            return before
        raise UsageError(
            f"the attributes of {os.fsdecode(path)!r} cannot be kept",
            why="the branch has much metadata of it, beside which there is no room",
            fix="Push without --modes and --xattrs, or with --drop-metadata.",
        )
    if not found and RESERVED.encode() not in before:
        return before
    return canonical_json(described(before) | parse_metadata(found))


def _attributes(path: bytes) -> bytes:
    with ExitStack() as stack:
        place: bytes | int = path
        try:
            if len(path) > _LONGEST:
                place = open_path(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                stack.callback(os.close, place)
            found = {name: _value(place, name) for name in _names(place)}
        except OSError as error:
            raise file_error(path, error) from error
    metadata = b""
    members = {}
    for name, value in found.items():
        if value is None or name.startswith(_PENSTOCK):
            continue
        if not name.startswith(_META):
            metadata = with_attribute(metadata, os.fsencode(name), value)
        elif not name.startswith(_META + RESERVED) and name != _META:
            members[name.removeprefix(_META)] = value.decode("utf-8", "replace")
    return canonical_json(parse_metadata(metadata) | members)


def _names(place: bytes | int) -> list[str]:
    try:
        names = os.listxattr(place) if isinstance(place, int) else os.listxattr(place, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise
    return sorted(name for name in names if name.startswith(_USER))


def _value(place: bytes | int, name: str) -> bytes | None:
    """Return a value; None: it went away."""
    try:
        return os.getxattr(place, name) if isinstance(place, int) else os.getxattr(place, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
