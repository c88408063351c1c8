"""The hashes that quilt gives contents. Two of the three prove what was read; CRC64NVME proves nothing."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from typing import NamedTuple

from penstock.errors import IntegrityError

__all__ = ["ContentCheck", "HashKind", "QuiltHash", "parse_hash"]

_CHUNK = 8 << 20
_MOST_CHUNKS = 10_000


class HashKind(enum.Enum):
    """What a hash is, by the name that manifests give it."""

    SHA256 = "SHA256"
    CHUNKED = "sha2-256-chunked"
    """SHA-256 of the joined SHA-256 of chunks: 8 MiB each, doubled until there are at most 10,000."""
    CRC64 = "CRC64NVME"

    @property
    def proves(self) -> bool:
        """Whether nobody can make another content of the same hash."""
        return self is not HashKind.CRC64


class QuiltHash(NamedTuple):
    """A hash of a content."""

    kind: HashKind
    digest: bytes


def parse_hash(found: object) -> QuiltHash:
    """Read ``{"type": …, "value": …}``. IntegrityError: it is of no known kind, or of another length."""
    if not isinstance(found, dict) or found.keys() != {"type", "value"} or not isinstance(found["value"], str):
        raise IntegrityError("a hash is malformed", why=repr(found)[:200])
    try:
        kind = HashKind(found["type"])
        digest = (
            bytes.fromhex(found["value"])
            if kind is HashKind.SHA256
            else base64.b64decode(found["value"].encode(), validate=True)
        )
    except (ValueError, binascii.Error) as error:
        raise IntegrityError("a hash is malformed", why=f"{repr(found)[:200]}: {error}") from error
    if len(digest) != (8 if kind is HashKind.CRC64 else 32):
        raise IntegrityError("a hash is malformed", why=f"{repr(found)[:200]} has another length")
    return QuiltHash(kind, digest)


class ContentCheck:
    """Holds a content against its hash as the bytes go by. One that proves nothing is not looked at."""

    def __init__(self, wanted: QuiltHash, size: int) -> None:
        self._wanted = wanted
        self._chunk = _CHUNK
        while -(-size // self._chunk) > _MOST_CHUNKS:
            self._chunk *= 2
        self._whole = hashlib.sha256()
        self._part = hashlib.sha256()
        self._room = self._chunk

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        if self._wanted.kind is HashKind.SHA256:
            self._whole.update(data)
            return
        if self._wanted.kind is HashKind.CRC64:
            return
        view = memoryview(data)
        while len(view):
            piece = view[: self._room]
            self._part.update(piece)
            self._room -= len(piece)
            view = view[len(piece) :]
            if not self._room:
                self._close()

    def _close(self) -> None:
        self._whole.update(self._part.digest())
        self._part, self._room = hashlib.sha256(), self._chunk

    def matches(self) -> bool:
        """Whether all bytes together have the hash."""
        if self._wanted.kind is HashKind.CRC64:
            return True
        if self._wanted.kind is HashKind.CHUNKED and self._room < self._chunk:
            self._close()
        return self._whole.digest() == self._wanted.digest
