"""Reads parts: their records, whether what they lie in is there, and the entries of many of them in one order.

A part is opened when the order reaches its first path, and of each open one two frames are held: one that is gone
through and one on its way. **Invariant:** memory is that of the parts whose paths lie side by side.

Blocking; the iterator belongs to one thread, those that fetch are its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from penstock.errors import ConflictError, IntegrityError, NotFoundError
from penstock.manifest.entry import display_path
from penstock.repo.bucket import object_keys
from penstock.store.base import ByteRange, Store

from .part_record import LARGEST_RECORD, FrameRef, PartEntry, PartRecord, PartSet, Path, decode_frame, decode_record

__all__ = ["StoredPart", "find_part", "merged_entries", "missing_objects"]

_REQUESTS = 16


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that is in the bucket: by what it is told to people, and its record, but for entries that it has itself.

    Those are read when it is opened: of ten thousand parts, records alone are held.
    """

    name: str
    part_set: PartSet
    part: bytes
    record: PartRecord

    @property
    def keys(self) -> list[str]:
        """The keys of its record and of its chunks."""
        chunks = {self.part_set.chunk_key(each.chunk) for each in self.record.frames if each.chunk}
        return [self.part_set.record_key(self.part), *sorted(chunks)]


def find_part(store: Store, part_set: PartSet, part: bytes, name: str) -> StoredPart | None:
    """Return a part; None: it is not there, or was not ended. IntegrityError: what is there is none."""
    record = _read(store, part_set.record_key(part))
    return StoredPart(name, part_set, part, msgspec.structs.replace(record, body=b"")) if record is not None else None


def _read(store: Store, key: str) -> PartRecord | None:
    try:
        stored = store.get(key, limit=LARGEST_RECORD)
    except NotFoundError:
        return None
    try:
        return decode_record(stored)
    except IntegrityError as error:
        raise type(error)(f"{key} in {store.url} is no part", why=error.reason, fix=error.fix) from error


def missing_objects(store: Store, parts: Iterable[StoredPart]) -> dict[bytes, str]:
    """Return data objects that parts rely on and that are not there, each with the name of such a part.

    What no version needs, `gc` deletes in time; between a part and the version there may be days. To be asked under the
    lease that the version is published under.
    """
    wanted: dict[bytes, str] = {}
    for part in parts:
        for digest in part.record.objects:
            wanted.setdefault(digest, part.name)
    with ThreadPoolExecutor(_REQUESTS, "penstock-check") as pool:
        there = pool.map(lambda digest: store.head(object_keys.data_key(digest)) is not None, wanted)
        return {digest: name for (digest, name), found in zip(wanted.items(), there, strict=True) if not found}


def merged_entries(store: Store, parts: Sequence[StoredPart]) -> Generator[tuple[StoredPart, PartEntry], None, None]:
    """Yield the entries of all parts in tree order. ConflictError: two have the same path, and both are named."""
    waiting = sorted((part for part in parts if part.record.frames), key=_first, reverse=True)
    pool = ThreadPoolExecutor(_REQUESTS, "penstock-parts")
    try:
        heap: list[tuple[Path, int, PartEntry]] = []
        opened: list[tuple[StoredPart, Iterator[PartEntry] | None]] = []
        last: tuple[Path, StoredPart, PartEntry] | None = None
        while heap or waiting:
            while waiting and (not heap or _first(waiting[-1]) <= heap[0][0]):
                part = waiting.pop()
                entries = _entries(store, part, pool)
                opened.append((part, entries))
                first = next(entries)
                heapq.heappush(heap, (first.path, len(opened) - 1, first))
            path, number, found = heap[0]
            part, rest = opened[number]
            if last is not None and last[0] == path:
                raise _clash(last[1], last[2], part, found)
            last = path, part, found
            yield part, found
            assert rest is not None
            following = next(rest, None)
            if following is not None:
                heapq.heapreplace(heap, (following.path, number, following))
            else:
                heapq.heappop(heap)
                opened[number] = part, None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _first(part: StoredPart) -> Path:
    return part.record.first


def _entries(store: Store, part: StoredPart, pool: ThreadPoolExecutor) -> Iterator[PartEntry]:
    record = part.record
    if any(not each.chunk for each in record.frames):
        whole = _read(store, part.keys[0])
        if whole is None or whole.first != record.first:
            raise ConflictError(f"{part.name} went away, or was made anew, while it was read", fix="Merge again.")
        record = whole

    def fetch(ref: FrameRef) -> bytes:
        if not ref.chunk:
            return record.body[ref.offset : ref.offset + ref.length]
        return store.get(part.part_set.chunk_key(ref.chunk), ByteRange(ref.offset, ref.length))

    after: Path | None = None
    ahead: Future[bytes] = pool.submit(fetch, record.frames[0])
    for at, ref in enumerate(record.frames):
        packed = ahead.result()
        if at + 1 < len(record.frames):
            ahead = pool.submit(fetch, record.frames[at + 1])
        try:
            entries = decode_frame(packed, ref, after)
            if not entries or (not at and entries[0].path != record.first):
                raise IntegrityError("it does not begin with the path that it says")
        except IntegrityError as error:
            why, fix = error.reason, "Make that part again."
            raise type(error)(f"{part.name} in {store.url} cannot be used", why=why, fix=fix) from error
        yield from entries
        after = entries[-1].path


def _clash(one: StoredPart, first: PartEntry, other: StoredPart, second: PartEntry) -> ConflictError:
    sources = [found.source or part.name for part, found in ((one, first), (other, second))]
    return ConflictError(
        f"{display_path(first.path)!r} comes from two sides",
        why=f"{sources[0]} and {sources[1]} both have it",
        fix="Give what comes of them different names.",
    )
