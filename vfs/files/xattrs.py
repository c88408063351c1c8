"""Extended attributes: what a file says of itself beyond stat(2). Names and values; no kernel, no event loop.

| name | on | value |
|---|---|---|
| user.penstock.top_hash | files, directories | top hash, 64 hex digits |
| user.penstock.commit | the same, unless the version was named by its top hash | commit id, 64 hex digits |
| user.penstock.hash | files, directories | hash of the content, 64 hex digits; of a directory, its tree's |
| user.penstock.cached | files | ``3/8``: blocks in the cache, blocks in all |
| user.penstock.physical | files | JSON: where the bytes lie |
| user.penstock.handle | the root | the handle as it was given |
| user.penstock.bytes_fetched | the root | bytes fetched from the store by this mount |
| user.meta.KEY | files and directories with metadata | text as it is, any other JSON value as JSON |
| user.meta | the same | all of the metadata, as a JSON object; only when asked for by name, in a writable mount |
| any other in user. | files and directories | what somebody set: kept in the metadata (`manifest.file_attributes`) |

Those in user.penstock. are not listed, and setting them does nothing: programs that copy files copy what is listed, and
what is said of where a file lies is neither true nor anybody's business elsewhere.

Symlinks have none: Linux keeps attributes of users to files and directories (xattr(7)). It bounds names (255
bytes), values and lists (64 KiB each); a metadata key that cannot be such a name is left out, and a value that is
larger is E2BIG.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.errors import UsageError
from penstock.manifest.entry import Kind, TreeEntry
from penstock.manifest.file_attributes import RESERVED, own_attributes, with_attribute
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.vfs.source.source import Source

from .errnos import Refusal

__all__ = ["META", "PREFIX", "extended_attributes", "is_fixed", "listed", "with_extended_attribute", "within_bounds"]

PREFIX = b"user."
_FIXED = b"user.penstock."
META = b"user.meta"
_META = META + b"."
_MOST_NAME = 255
_MOST_VALUE = 64 << 10
_MOST_LIST = 64 << 10


def extended_attributes(
    source: Source, entry: TreeEntry, metadata: bytes, *, is_root: bool
) -> dict[bytes, Callable[[], bytes]]:
    """Return an entry's attributes: by name, what makes the value. Values may block on the cache or the store.

    `metadata` is the entry's, as JSON; empty where none of it was asked for.
    """
    if entry.kind is Kind.SYMLINK:
        return {}
    found: dict[bytes, Callable[[], bytes]] = {
        b"user.penstock.top_hash": lambda: source.top_hash.hex().encode(),
    }
    if entry.hash:  # what was changed has none until it is committed
        found[b"user.penstock.hash"] = entry.shown_hash.encode
    commit = source.commit_id
    if commit is not None:
        found[b"user.penstock.commit"] = commit.hex().encode
    if entry.is_file and entry.hash:
        found[b"user.penstock.cached"] = lambda: b"%d/%d" % source.is_cached(entry)
        found[b"user.penstock.physical"] = lambda: _physical(source, entry)
    if is_root:
        found[b"user.penstock.handle"] = lambda: source.handle.encode("utf-8", "surrogateescape")
        found[b"user.penstock.bytes_fetched"] = lambda: str(source.counters()["bytes_fetched"]).encode()
    for name, value in (_metadata(metadata) | own_attributes(metadata)).items():
        found.setdefault(name, lambda value=value: within_bounds(value))  # type: ignore[misc]  # binds the loop's value
    return found


def listed(names: Iterable[bytes]) -> list[bytes]:
    """Return those attributes that are listed, as many as Linux takes."""
    room, found = _MOST_LIST, []
    for name in names:
        room -= len(name) + 1 if not is_fixed(name) else 0
        if room < 0:
            break
        if not is_fixed(name):
            found.append(name)
    return found


def is_fixed(name: bytes) -> bool:
    """Whether an attribute is what the version says, and cannot be set."""
    return name.startswith(_FIXED)


def _physical(source: Source, entry: TreeEntry) -> bytes:
    """Return the places as a JSON list."""
    places = [{"uri": uri, "offset": offset, "length": length} for uri, offset, length in source.physical(entry)]
    return within_bounds(json.dumps(places, separators=(",", ":")).encode())


def within_bounds(value: bytes) -> bytes:
    """Return the value of an attribute; when it is too large for Linux, say so by E2BIG."""
    if len(value) > _MOST_VALUE:
        raise Refusal(errno.E2BIG)
    return value


def _metadata(metadata: bytes) -> dict[bytes, bytes]:
    if not metadata:
        return {}
    found = {}
    for key, value in msgspec.json.decode(metadata, type=dict[str, msgspec.Raw]).items():
        name = _META + key.encode()
        if not key.startswith(RESERVED) and len(name) <= _MOST_NAME and b"\0" not in name:
            raw = bytes(value)
            found[name] = msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
    return found


def with_extended_attribute(metadata: bytes, name: bytes, value: bytes | None, flags: int) -> bytes:
    """Return metadata with an attribute set or, for no value, removed.

    ENOTSUP: not one of users'; ENODATA: the one to remove, or (XATTR_REPLACE) to replace, is not there; EEXIST:
    (XATTR_CREATE) it is; EPERM, EINVAL: not what metadata can hold; ENOSPC: too much of it.
    """
    if not name.startswith(PREFIX) or name == PREFIX:
        raise Refusal(errno.ENOTSUP)
    if name == META or name.startswith(_META):
        return _with_metadata(metadata, name, value, flags)
    _check(name in own_attributes(metadata), value, flags)
    try:
        return with_attribute(metadata, name, value)
    except UsageError as error:
        raise Refusal(errno.ENOSPC if _is_text(name) else errno.EINVAL) from error


def _check(is_there: bool, value: bytes | None, flags: int) -> None:
    if not is_there and (value is None or flags & os.XATTR_REPLACE):
        raise Refusal(errno.ENODATA)
    if is_there and value is not None and flags & os.XATTR_CREATE:
        raise Refusal(errno.EEXIST)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _with_metadata(metadata: bytes, name: bytes, value: bytes | None, flags: int) -> bytes:
    """Return metadata with one key set or removed; or all of it, for META. Values of keys are text."""
    found = parse_metadata(metadata)
    if name == META:
        reserved = {key: value for key, value in found.items() if key.startswith(RESERVED)}
        try:
            given = msgspec.json.decode(value, type=dict[str, Any]) if value is not None else {}
            if any(key.startswith(RESERVED) for key in given):
                raise Refusal(errno.EPERM)
            return canonical_json(given | reserved)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UsageError) as error:
            raise Refusal(errno.EINVAL) from error
    try:
        key = name.removeprefix(_META).decode()
        text = value.decode() if value is not None else None
    except UnicodeDecodeError as error:
        raise Refusal(errno.EINVAL) from error
    if not key:
        raise Refusal(errno.EINVAL)
    if key.startswith(RESERVED):
        raise Refusal(errno.EPERM)
    _check(key in found, value, flags)
    if text is None:
        del found[key]
    elif key not in found or _metadata(metadata).get(name) != value:
        found[key] = text  # a number that is set to what it reads as stays a number
    try:
        return canonical_json(found)
    except UsageError as error:
        raise Refusal(errno.ENOSPC) from error
