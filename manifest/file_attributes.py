"""What a file system says of an entry beyond its kind, kept in its metadata: permission bits, attributes of users.

| member of the metadata | is |
|---|---|
| `penstock.mode` | permission bits, set-user-ID, set-group-ID and sticky: text of four octal digits |
| `penstock.times`, of a version | when a commit recorded times and nothing else: so it has a hash of its own |
| `penstock.xattr.NAME` | the extended attribute `user.NAME`: text, or `{"base64": text}` where it is no UTF-8 |

So they are hashed, compared, merged member by member and committed as metadata is, in format 1; why, and which modes
are kept, docs/design/013 says. Members of these names that have another form say nothing. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from typing import Any

import msgspec

from penstock.errors import UsageError

from .entry import INLINE_METADATA, DocumentRef, Kind, Metadata
from .metadata import canonical_json, parse_metadata

__all__ = [
    "DEFAULT_UMASK",
    "MODE_ROOM",
    "RESERVED",
    "TIMES",
    "default_mode",
    "described",
    "has_room",
    "kept_mode",
    "mode_of",
    "own_attributes",
    "shown_mode",
    "with_attribute",
    "with_mode",
    "with_times",
]

RESERVED = "penstock."
"""Members of metadata that begin so are Penstock's."""
_XATTR = "penstock.xattr."
TIMES = "penstock.times"
_MODE = "penstock.mode"
_MODE_BYTES = b'"penstock.mode":"'
_USER = b"user."
_OCTAL = re.compile("[0-7]{4}")
_MOST_NAME = 255
DEFAULT_UMASK = 0o022
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
MODE_ROOM = 32
"""Bytes of metadata that a mode takes at most, and attributes of users leave."""


class _Mode(msgspec.Struct):
    mode: str = msgspec.field(name=_MODE)


_modes = msgspec.json.Decoder(_Mode)


def default_mode(kind: Kind) -> int:
    """Return the bits of what has none of its own, before any mask but 022."""
    return 0o644 if kind is Kind.FILE else 0o777 if kind is Kind.SYMLINK else 0o755


def shown_mode(kind: Kind, metadata: Metadata, umask: int = DEFAULT_UMASK) -> int:
    """Return the bits that an entry is shown with. What a mask takes beyond 022, it takes from those kept, too."""
    if kind is Kind.SYMLINK:
        return 0o777
    kept = mode_of(metadata) if metadata else None
    if kept is not None:
        return kept & ~(umask & ~DEFAULT_UMASK)
    return (default_mode(kind) | _OTHERS_WRITE) & ~umask


def kept_mode(kind: Kind, mode: int) -> int | None:
    """Return the bits that an entry keeps of a mode; None: it needs none, its kind says enough.

    That others may write, and nothing else beyond what the kind says, is what a umask has left, and differs from one
    machine to the next.
    """
    if kind is Kind.SYMLINK or mode & ~_OTHERS_WRITE == default_mode(kind):
        return None
    return mode


def mode_of(metadata: Metadata) -> int | None:
    """Return the bits that metadata has; None: it has none. Quick: it is asked of every entry that is looked at.

    A document has none: it would have to be fetched.
    """
    if isinstance(metadata, DocumentRef) or _MODE_BYTES not in metadata:
        return None
    try:
        text = _modes.decode(metadata).mode
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return int(text, 8) if _OCTAL.fullmatch(text) else None


def has_room(metadata: Metadata) -> bool:
    """Whether metadata can have a mode, and be no document then."""
    return isinstance(metadata, bytes) and len(metadata) <= INLINE_METADATA - MODE_ROOM


def with_mode(metadata: Metadata, mode: int | None) -> Metadata:
    """Return metadata with these bits; None: without. There is room (`has_room`)."""
    if isinstance(metadata, DocumentRef) or (mode is None and _MODE_BYTES not in metadata):
        return metadata
    if mode == mode_of(metadata):
        return metadata
    found = parse_metadata(metadata)
    if mode is not None:
        found[_MODE] = f"{mode:04o}"
    elif mode_of(metadata) is not None:
        del found[_MODE]
    return canonical_json(found)


def with_times(metadata: bytes, when: str) -> bytes:
    """Return metadata of a version that differs from the one before in times alone, which are not hashed."""
    return canonical_json(parse_metadata(metadata) | {TIMES: when})


def described(metadata: bytes) -> dict[str, Any]:
    """Return the members that are not Penstock's."""
    return {key: value for key, value in parse_metadata(metadata).items() if not key.startswith(RESERVED)}


def own_attributes(metadata: bytes) -> dict[bytes, bytes]:
    """Return the extended attributes of users that metadata has, by their whole names."""
    if _XATTR.encode() not in metadata:
        return {}
    found: dict[bytes, bytes] = {}
    for key, value in parse_metadata(metadata).items():
        name = _USER + key.removeprefix(_XATTR).encode()
        if not key.startswith(_XATTR) or not len(_USER) < len(name) <= _MOST_NAME or b"\0" in name:
            continue
        if (data := _value(value)) is not None:
            found[name] = data
    return found


def with_attribute(metadata: bytes, name: bytes, value: bytes | None) -> bytes:
    """Return metadata with an attribute of users, `name` being the whole; None: without.

    UsageError: there is no room, or no text can be its name.
    """
    found = parse_metadata(metadata)
    try:
        key = _XATTR + name.removeprefix(_USER).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the attribute {name!r} cannot be kept", why="its name is no UTF-8") from error
    if value is None:
        found.pop(key, None)
        return canonical_json(found)
    try:
        found[key] = value.decode()
    except UnicodeDecodeError:
        found[key] = {"base64": base64.b64encode(value).decode()}
    changed = canonical_json(found)
    if not has_room(changed):
        raise UsageError(f"metadata of {len(changed)} bytes", why=f"with attributes the most is {INLINE_METADATA}")
    return changed


def _value(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and isinstance(text := value.get("base64"), str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
    return None
