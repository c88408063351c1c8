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

Symlinks have none: Linux keeps attributes of users to files and directories (xattr(7)). It bounds names (255
bytes), values and lists (64 KiB each); a metadata key that cannot be such a name is left out.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import msgspec

from penstock.manifest.entry import Entry, Kind

from .errnos import Refusal
from .source import Source

__all__ = ["PREFIX", "extended_attributes"]

PREFIX = b"user."
_META = b"user.meta."
_MOST_NAME = 255
_MOST_VALUE = 64 << 10
_MOST_LIST = 64 << 10


def extended_attributes(source: Source, entry: Entry, *, is_root: bool) -> dict[bytes, Callable[[], bytes]]:
    """Return an entry's attributes: by name, what makes the value. Values may block on the cache or the store."""
    if entry.kind is Kind.SYMLINK:
        return {}
    found: dict[bytes, Callable[[], bytes]] = {
        b"user.penstock.version": lambda: source.top_hash.hex().encode(),
        b"user.penstock.hash": lambda: entry.hash.hex().encode(),
    }
    commit = source.commit_id
    if commit is not None:
        found[b"user.penstock.commit"] = commit.hex().encode
    if entry.is_file:
        found[b"user.penstock.cached"] = lambda: b"%d/%d" % source.is_cached(entry)
        found[b"user.penstock.physical"] = lambda: _physical(source, entry)
    if is_root:
        found[b"user.penstock.handle"] = lambda: source.handle.encode("utf-8", "surrogateescape")
        found[b"user.penstock.bytes_fetched"] = lambda: str(source.counters()["bytes_fetched"]).encode()
    room = _MOST_LIST - sum(len(name) + 1 for name in found)
    for name, value in _metadata(entry.metadata).items():
        room -= len(name) + 1
        if room < 0:
            break
        found[name] = lambda value=value: value  # type: ignore[misc]  # a default binds the loop's value
    return found


def _physical(source: Source, entry: Entry) -> bytes:
    """Return the places as a JSON list; when they are too many for Linux, as E2BIG says it."""
    value = json.dumps(source.physical(entry), separators=(",", ":")).encode()
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
