"""Extended attributes: what a file says of itself beyond stat(2). Names and values; no kernel, no event loop.

| name | on | value |
|---|---|---|
| user.penstock.version | files, directories | top hash, 64 hex digits |
| user.penstock.commit | the same, unless the version was named by its top hash | commit id, 64 hex digits |
| user.penstock.hash | files, directories | hash of the content, 64 hex digits; of a directory, its tree's |
| user.penstock.cached | files | ``3/8``: blocks in the cache, blocks in all |
| user.penstock.physical | files | JSON: where the bytes lie |
| user.penstock.handle | the root | the handle as it was given |
| user.penstock.bytes_fetched | the root | bytes fetched from the store by this mount |
| user.meta.KEY | files and directories with metadata | text as it is, any other JSON value as JSON |
| user.meta | the same | all of the metadata, as a JSON object; only when asked for by name, in a writable mount |

Symlinks have none: Linux keeps attributes of users to files and directories (xattr(7)). It bounds names (255
bytes), values and lists (64 KiB each); a metadata key that cannot be such a name is left out, and a value that is
larger is E2BIG.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

import msgspec

from penstock.errors import UsageError
from penstock.manifest.entry import Kind, TreeEntry
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.vfs.source.source import Source

from .errnos import Refusal

__all__ = ["META", "PREFIX", "editable_metadata", "extended_attributes", "with_metadata", "within_bounds"]

PREFIX = b"user."
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
        b"user.penstock.version": lambda: source.top_hash.hex().encode(),
    }
    if entry.hash:  # what was changed has none until it is committed
        found[b"user.penstock.hash"] = entry.hash.hex().encode
    commit = source.commit_id
    if commit is not None:
        found[b"user.penstock.commit"] = commit.hex().encode
    if entry.is_file and entry.hash:
        found[b"user.penstock.cached"] = lambda: b"%d/%d" % source.is_cached(entry)
        found[b"user.penstock.physical"] = lambda: _physical(source, entry)
    if is_root:
        found[b"user.penstock.handle"] = lambda: source.handle.encode("utf-8", "surrogateescape")
        found[b"user.penstock.bytes_fetched"] = lambda: str(source.counters()["bytes_fetched"]).encode()
    room = _MOST_LIST - sum(len(name) + 1 for name in found)
    for name, value in _metadata(metadata).items():
        room -= len(name) + 1
        if room < 0:
            break
        found[name] = lambda value=value: within_bounds(value)  # type: ignore[misc]  # a default binds the loop's value
    return found


def _physical(source: Source, entry: TreeEntry) -> bytes:
    """Return the places as a JSON list."""
    return within_bounds(json.dumps(source.physical(entry), separators=(",", ":")).encode())


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
        if len(name) <= _MOST_NAME and b"\0" not in name:
            raw = bytes(value)
            found[name] = msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
    return found


def editable_metadata(name: bytes) -> None:
    """Refuse attributes that cannot be set. EPERM: Penstock's own; ENOTSUP: any that a version cannot hold."""
    if name.startswith(b"user.penstock."):
        raise Refusal(errno.EPERM)
    if name != META and not name.startswith(_META):
        raise Refusal(errno.ENOTSUP)


def with_metadata(metadata: bytes, name: bytes, value: bytes | None, flags: int) -> bytes:
    """Return metadata with one key set or, for no value, removed; or all of it, for META. Values of keys are text.

    ENODATA: the key to remove, or (XATTR_REPLACE) to replace, is not there; EEXIST: (XATTR_CREATE) it is; EINVAL: not
    what metadata can hold; ENOSPC: too much of it.
    """
    found = parse_metadata(metadata)
    if name == META:
        if value is None:
            return b""
        try:
            return canonical_json(msgspec.json.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UsageError) as error:
            raise Refusal(errno.EINVAL) from error
    try:
        key = name.removeprefix(_META).decode()
        text = value.decode() if value is not None else None
    except UnicodeDecodeError as error:
        raise Refusal(errno.EINVAL) from error
    if not key:
        raise Refusal(errno.EINVAL)
    if key not in found and (text is None or flags & os.XATTR_REPLACE):
        raise Refusal(errno.ENODATA)
    if key in found and text is not None and flags & os.XATTR_CREATE:
        raise Refusal(errno.EEXIST)
    if text is None:
        del found[key]
    elif key not in found or _metadata(metadata).get(name) != value:
        found[key] = text  # a number that is set to what it reads as stays a number
    try:
        return canonical_json(found)
    except UsageError as error:
        raise Refusal(errno.ENOSPC) from error
