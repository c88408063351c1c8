"""A quilt manifest: a header line, then a line for each directory with metadata and for each entry. Pure, a stream.

quilt's top hash is the SHA-256 of the header and, entry by entry in the order of names, of key, hash, size and
metadata, each as JSON with sorted keys; neither physical keys nor metadata of directories are in it. Here it is
computed as the lines go by. Entries stand in that order in whatever quilt3 writes; a manifest in which they do not is
refused, and mended by `quilt3.Package.browse` and `build`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.entry import MAX_SIZE, split_path

from .content_hash import QuiltHash, parse_hash
from .physical_key import QuiltKey, parse_physical_key

__all__ = ["MAX_LINE", "QuiltDirectory", "QuiltEntry", "QuiltManifest"]

MAX_LINE = 16 << 20
"""Bytes of a line. quilt allows a million characters of metadata, each of which may be written as twelve bytes."""
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Names = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class QuiltEntry:
    """An entry. `metadata` is what the user said of it; `system` is what else quilt keeps beside that."""

    key: str
    physical_keys: tuple[QuiltKey, ...]
    size: int
    hash: QuiltHash
    metadata: dict[str, Any]
    system: dict[str, Any]


@dataclass(frozen=True, slots=True)
class QuiltDirectory:
    """Metadata of a directory, whose key ends with a slash."""

    key: str
    metadata: dict[str, Any]


class QuiltManifest:
    """A manifest that is being read: the header at once, `rows` once.

    `top_hash` is that which it was asked for under. IntegrityError from either names the line.
    """

    def __init__(self, lines: Iterable[bytes], top_hash: str) -> None:
        self.top_hash = top_hash
        self._lines = enumerate(lines, 1)
        self._top = _TopHash()
        number, line = next(self._lines, (1, b""))
        header = _object(line, number)
        header.pop("top_hash", None)  # very old ones have it, and quilt3 passes it over
        self._top.start(header)
        self.message = header.get("message")
        """What was said of the revision; None: nothing."""
        self.metadata = _mapping(header.get("user_meta"), number)
        """What the user said of the package."""
        self.system = {name: value for name, value in header.items() if name not in ("message", "user_meta")}
        if self.message is not None and not isinstance(self.message, str):
            raise _malformed(number, "its message is no text")

    def rows(self) -> Iterator[QuiltEntry | QuiltDirectory]:
        """Yield what it holds, in the order of the manifest; at the end, IntegrityError if the top hash is another."""
        for number, line in self._lines:
            yield self._row(_object(line, number), number)
        found = self._top.finish()
        if found != self.top_hash:
            raise IntegrityError(
                f"a quilt manifest is not {self.top_hash}",
                why=f"its content hashes to {found}",
                fix="Restore the manifest from a copy of the registry.",
            )

    def _row(self, found: dict[str, Any], number: int) -> QuiltEntry | QuiltDirectory:
        key = found.get("logical_key")
        if not isinstance(key, str):
            raise _malformed(number, "it has no logical key")
        names = _names(key, number)
        meta = _mapping(found.get("meta"), number)
        if not found.get("physical_keys"):
            return QuiltDirectory(key, meta)
        size, places = found.get("size"), found["physical_keys"]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
            raise _malformed(number, f"the size of {key!r} is {size!r:.80}")
        if not isinstance(places, list) or key.endswith("/"):
            raise _malformed(number, f"{key!r} is a directory, or has no list of physical keys")
        try:
            entry = QuiltEntry(
                key,
                tuple(map(parse_physical_key, places)),
                size,
                parse_hash(found.get("hash")),
                _mapping(meta.get("user_meta"), number),
                {name: value for name, value in meta.items() if name != "user_meta"},
            )
        except IntegrityError as error:
            raise _malformed(number, f"{key!r}: {error.what}: {error.why}") from error
        self._top.add(names, {"hash": found["hash"], "logical_key": key, "meta": meta, "size": size}, number)
        return entry


class _TopHash:
    """Hashes entries as they come, which is in the order of their names."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last: Names = ()

    def start(self, header: dict[str, Any]) -> None:
        self._hash.update(_encode(header).encode())

    def add(self, names: Names, part: dict[str, Any], number: int) -> None:
        if names <= self._last:
            raise _malformed(number, "a key is there twice, or not in the order that quilt3 writes")
        if self._last and names[: len(self._last)] == self._last:
            raise _malformed(number, f"{b'/'.join(self._last)!r} is a file and a directory")
        self._last = names
        self._hash.update(_encode(part).encode())

    def finish(self) -> str:
        return self._hash.hexdigest()


def _object(line: bytes, number: int) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise _malformed(number, f"it has {len(line)} bytes, the most is {MAX_LINE}")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _malformed(number, str(error)[:200]) from error
    if not isinstance(found, dict):
        raise _malformed(number, "it is no JSON object")
    return found


def _mapping(found: object, number: int) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _malformed(number, "its metadata is no JSON object")
    return found


def _names(key: str, number: int) -> Names:
    try:
        names = split_path(key.encode())
    except (UnicodeEncodeError, UsageError) as error:
        raise _malformed(number, f"{key[:200]!r} cannot be a key: {error}") from error
    if b"/".join(names) != key.removesuffix("/").encode():
        raise _malformed(number, f"{key[:200]!r} has an empty name in it")
    return names


def _malformed(number: int, why: str) -> IntegrityError:
    return IntegrityError(f"line {number} of a quilt manifest is malformed", why=why)
