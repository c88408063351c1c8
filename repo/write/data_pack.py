"""The data object that small contents are fused into, while it is being filled.

Its hash is known when it is full; until then extents in it name it by a stand-in of 8 bytes.

**Invariant:** what it holds is in the order of adding, so that the same contents in the same order make the same
object: a push or commit that is done again finds it in the bucket.
"""

from __future__ import annotations

from typing import Protocol

from penstock.manifest.entry import Extent, Extents
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.memory import shares

from .known_places import KnownPlaces

__all__ = ["DataPack", "Sender", "most_packed"]

_STAND_IN = 8


def most_packed() -> int:
    """Return the bytes of the largest data object that contents are put together in: a whole number of MiB."""
    return shares().packing


class Sender(Protocol):
    """Where data objects go: an `upload.Upload`, or what only counts."""

    def send(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Take an object to be sent; raises what an earlier one could not be sent for."""
        ...


class DataPack:
    """One pack after the other; each is sent when it is sealed. `places` learn where contents are. One thread."""

    def __init__(self, sender: Sender, places: KnownPlaces | None) -> None:
        self._sender = sender
        self._places = places
        self._most = most_packed()
        self._buffer = bytearray()
        self._offsets: dict[bytes, int] = {}
        self._hashes: list[bytes] = []

    @property
    def sealed(self) -> int:
        """How many packs have been sealed: also the number of the one that is being filled."""
        return len(self._hashes)

    def fits(self, size: int) -> bool:
        """Whether so many bytes still go into it."""
        return not self._buffer or len(self._buffer) + size <= self._most

    def find(self, content: bytes, size: int) -> Extent | None:
        """Return where a content lies in the pack that is being filled, by its hash."""
        offset = self._offsets.get(content)
        return self._extent(offset, size) if offset is not None else None

    def add(self, data: bytes | bytearray, content: bytes) -> Extent:
        """Append a content, by whose hash it may be looked for again."""
        offset = len(self._buffer)
        self._buffer += data
        self._offsets[content] = offset
        return self._extent(offset, len(data))

    def _extent(self, offset: int, size: int) -> Extent:
        return Extent(len(self._hashes).to_bytes(_STAND_IN, "big"), offset, size)

    def seal(self) -> None:
        """End the pack, and send it. Raises what an earlier object could not be sent for."""
        if not self._buffer:
            return
        digest = content_hash(self._buffer)
        self._sender.send(object_keys.data_key(digest), self._buffer, data=True)
        if self._places is not None:
            self._places.add(digest, self._offsets)
        self._hashes.append(digest)
        self._buffer = bytearray()
        self._offsets = {}

    def placed(self, extents: Extents) -> Extents | None:
        """Name packs by their hashes; None while one of the extents lies in the pack that is being filled."""
        if len(extents) == 1:  # of nearly every file
            (extent,) = extents
            number = _number(extent)
            if number is None:
                return extents
            if number == len(self._hashes):
                return None
            return (Extent(self._hashes[number], extent.offset, extent.length),)
        for extent in extents:
            if isinstance(extent.object, bytes) and len(extent.object) == _STAND_IN:
                break
        else:
            return extents
        numbers = [_number(extent) for extent in extents]
        if len(self._hashes) in numbers:
            return None
        return tuple(
            extent if number is None else Extent(self._hashes[number], extent.offset, extent.length)
            for extent, number in zip(extents, numbers, strict=True)
        )


def _number(extent: Extent) -> int | None:
    """Return the number of the pack that a stand-in names."""
    found = extent.object
    return int.from_bytes(found, "big") if isinstance(found, bytes) and len(found) == _STAND_IN else None
