"""Writes one part: entries in tree order, packed as they come, and the record when all of them are in the bucket.

**Invariant:** what is held is one frame and one chunk, however many entries there are. **Invariant:** the same entries
make the same objects, so that a part that is made twice is one part; a part that was cut off has no record.

One thread.
"""

from __future__ import annotations

from penstock.manifest.entry import Kind
from penstock.manifest.hashing import content_hash
from penstock.store.base import Store

from .part_record import FrameRef, PartEntry, PartRecord, PartSet, Path, encode_frame, encode_record

__all__ = ["PartWriter", "frame_entries"]

_CHUNK = 8 << 20
_INLINE = 256 << 10
"""Bytes of entries that the record has itself: then a small part is one object."""
_FRAME_BYTES = 1 << 20
_MERGED = 1 << 17


def frame_entries(of: int) -> int:
    """Return how many entries a frame has when so many parts are read side by side: together they fit into memory."""
    return max(64, min(1024, _MERGED // of))


class PartWriter:
    """Takes the entries of one part; `finish` writes the record. `part` tells it from the others of its set."""

    def __init__(self, store: Store, part_set: PartSet, part: bytes, number: int, of: int) -> None:
        self._store = store
        self._set = part_set
        self._part = part
        self._number = number
        self._of = of
        self._most = frame_entries(of)
        self._waiting: list[PartEntry] = []
        self._held = 0
        self._chunk = bytearray()
        self._open: list[FrameRef] = []
        self._frames: list[FrameRef] = []
        self._first: Path = ()
        self._last: Path = ()
        self._entries = self._files = self._size = 0
        self._objects: set[bytes] = set()

    def add(self, found: PartEntry) -> None:
        """Take the next entry in tree order."""
        assert found.path > self._last
        self._first = self._first or found.path
        self._last = found.path
        self._entries += 1
        if found.entry.kind in (Kind.FILE, Kind.EXECUTABLE):
            self._files += 1
            self._size += found.entry.size
            self._objects.update(each.object for each in found.entry.extents if isinstance(each.object, bytes))
        self._waiting.append(found)
        metadata = found.entry.metadata
        self._held += len(found.data or b"") + len(found.blocks) + (len(metadata) if isinstance(metadata, bytes) else 0)
        if len(self._waiting) >= self._most or self._held >= _FRAME_BYTES:
            self._pack()

    def _pack(self) -> None:
        if not self._waiting:
            return
        frame = encode_frame(self._waiting)
        self._open.append(FrameRef(b"", len(self._chunk), len(frame), content_hash(frame)))
        self._chunk += frame
        self._waiting, self._held = [], 0
        if len(self._chunk) >= _CHUNK:
            self._end_chunk()

    def _end_chunk(self) -> None:
        body = bytes(self._chunk)
        digest = content_hash(body)
        self._store.put(self._set.chunk_key(digest), body)
        self._frames += [FrameRef(digest, each.offset, each.length, each.digest) for each in self._open]
        self._chunk, self._open = bytearray(), []

    def finish(self, *, options: str = "", inputs: int = 0, sent_objects: int = 0, sent_bytes: int = 0) -> PartRecord:
        """Write what is left, and the record: all that the entries lie in is in the bucket."""
        self._pack()
        if self._chunk and (self._frames or len(self._chunk) > _INLINE):
            self._end_chunk()
        record = PartRecord(
            format=1,
            number=self._number,
            of=self._of,
            options=options,
            first=self._first,
            last=self._last,
            entries=self._entries,
            files=self._files,
            size=self._size,
            inputs=inputs,
            sent_objects=sent_objects,
            sent_bytes=sent_bytes,
            objects=tuple(sorted(self._objects)),
            frames=(*self._frames, *self._open),
            body=bytes(self._chunk),
        )
        self._store.put(self._set.record_key(self._part), encode_record(record))
        return record
