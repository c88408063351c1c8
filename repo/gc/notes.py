"""Notes: what one run of `gc` found, kept in the bucket, so that only a later run that finds the same deletes it.

A note is one object, named by the hash of its bytes, and never changed: when it was found (by the store's clock), of
which kind, and the hashes of up to 32,768 objects; a million take 31 notes. When an object of a note is needed
again, or gone, the note is replaced by one of the same time without it. One more kind holds the keys of the refs
that were seen: records of refs are never deleted, so a later listing that lacks one is asked about it.

What is in a bucket is not trusted: a note that is too large, not what its name says, dated later than it was
written, or not understood is none. **Invariant:** without a whole note of at least that age, no object is due, so that
whatever becomes of notes puts a deletion off at most. A note is deleted before the one that takes its place is
written: whoever is killed in between has forgotten something, and never remembers what ought to be forgotten.

Blocking; one thread.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from penstock.errors import NotFoundError
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.store.base import ByteRange, ObjectInfo, Store
from penstock.store.keys import is_key

__all__ = ["Notes", "forget_notes"]

_log = logging.getLogger(__name__)

_DIGEST = 32
_MOST_DIGESTS = 32_768
_LARGEST = 2 << 20
"""Bytes of a note; those that gc writes have little more than half of it."""
_MOST_NOTES = 10_000
_MOST_REFS = 1_000_000
_LONGEST = 1 << 20
"""Bytes of the names in a note of refs."""
_REFS = "refs"
_SLACK = 2.5
_NAME = re.compile(re.escape(object_keys.GARBAGE) + r"[0-9a-f]{64}")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/(?:heads/[^/]+/[0-9a-f]{16}|tags/.+)")
_KINDS = re.compile(r"refs|data|node|part|(?:commits|manifests)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """`names`: hashes, joined; of `refs`, keys below ``datasets/``, one a line."""

    penstock: int
    kind: str
    since: float
    names: bytes


@dataclass(frozen=True, slots=True)
class _Note:
    """A note that is in the bucket."""

    key: str
    kind: str
    since: float


class Notes:
    """The notes in a bucket: read into `marks` when this is made."""

    def __init__(self, store: Store, marks: Marks) -> None:
        self._store = store
        self._marks = marks
        self._notes: dict[int, _Note] = {}
        self._numbers = 0
        self._refs: dict[str, tuple[str, ...]] = {}
        self._damaged: list[str] = []
        for info in store.list(object_keys.GARBAGE, limit=_MOST_NOTES):
            if _NAME.fullmatch(info.key):
                self._read(info)

    def _read(self, info: ObjectInfo) -> None:
        try:
            # One byte more than a note may have: what is longer is seen to be.
            body = self._store.get(info.key, ByteRange(0, _LARGEST + 1))
        except NotFoundError:
            return  # another gc has replaced it
        if object_keys.note_key(content_hash(body)) != info.key:
            _log.warning("%s in %s is damaged, and no note any more", info.key, self._store.url)
            self._damaged.append(info.key)
            return
        record = _decode(body, info.modified) if info.modified is not None else None
        if record is None:
            _log.warning("%s in %s is no note that can be used", info.key, self._store.url)
        elif record.kind == _REFS:
            if sum(map(len, self._refs.values())) < _MOST_REFS:
                self._refs[info.key] = _ref_keys(record.names)
        else:
            self._add(_Note(info.key, record.kind, record.since), _split(record.names))

    @property
    def refs(self) -> set[str]:
        """The keys of records of refs that earlier runs saw."""
        return {key for keys in self._refs.values() for key in keys}

    def remember_refs(self, keys: Iterable[str], clock: float) -> None:
        """Note which refs there are. What was remembered goes when this is written: of too much, nothing is lost."""
        lines = sorted(key.removeprefix(object_keys.DATASETS) for key in keys)
        if set(lines) == {key.removeprefix(object_keys.DATASETS) for key in self.refs}:
            return
        wanted = dict(_encode(_REFS, clock, page) for page in _pages(lines))
        for key, body in wanted.items():
            self._store.put(key, body)
        self._store.delete([key for key in self._refs if key not in wanted])
        self._refs = dict.fromkeys(wanted, ())

    def note_garbage(self, clock: float) -> None:
        """Note what of the garbage in the marks was not noted, as found at a time of the store's clock."""
        for kind in self._marks.garbage_kinds():
            last = b""
            while chunk := self._marks.unnoted(kind, _MOST_DIGESTS, last):
                last = chunk[-1]
                self._write(kind, clock, chunk)

    def drop_outdated(self) -> None:
        """Replace the notes that name what is no garbage any more, be it needed or gone; delete damaged ones."""
        self._store.delete(self._damaged)
        self._damaged = []
        for number in self._marks.outdated_notes():
            left = self._marks.still_garbage(number)
            note = self._notes.pop(number)
            self._marks.drop_noted(number)
            self._store.delete([note.key])
            if left:
                self._write(note.kind, note.since, left)

    def _write(self, kind: str, since: float, identities: Sequence[bytes]) -> None:
        key, body = _encode(kind, since, b"".join(identities))
        self._store.put(key, body)
        self._add(_Note(key, kind, since), identities)

    def _add(self, note: _Note, identities: Iterable[bytes]) -> None:
        self._numbers += 1
        self._notes[self._numbers] = note
        self._marks.add_noted(self._numbers, note.kind, note.since, identities)


def forget_notes(store: Store) -> int:
    """Delete all notes of a bucket, and what is left of any; return how many."""
    keys = [info.key for info in store.list(object_keys.GARBAGE) if _NAME.fullmatch(info.key)]
    store.delete(keys)
    return len(keys)


def _encode(kind: str, since: float, names: bytes) -> tuple[str, bytes]:
    body = msgspec.msgpack.encode(_Record(1, kind, since, names))
    return object_keys.note_key(content_hash(body)), body


def _decode(body: bytes, modified: float) -> _Record | None:
    """Return what a note says that was written then; None when it is none that this version writes."""
    try:
        record = msgspec.msgpack.decode(body, type=_Record)
    except (msgspec.DecodeError, ValueError):
        return None
    is_whole = record.kind == _REFS or (len(record.names) > 0 and len(record.names) % _DIGEST == 0)
    is_dated = math.isfinite(record.since) and 0 < record.since <= modified + _SLACK
    return record if record.penstock == 1 and _KINDS.fullmatch(record.kind) and is_whole and is_dated else None


def _split(names: bytes) -> Iterator[bytes]:
    return (names[at : at + _DIGEST] for at in range(0, len(names), _DIGEST))


def _ref_keys(names: bytes) -> tuple[str, ...]:
    """Return the keys that a note of refs names, as far as they can be keys of refs."""
    lines = names.decode("utf-8", "replace").split("\n")
    return tuple(
        object_keys.DATASETS + line for line in lines if _REF.fullmatch(line) and is_key(object_keys.DATASETS + line)
    )


def _pages(lines: Iterable[str]) -> Iterator[bytes]:
    """Join lines to texts of at most `_LONGEST` bytes, or of one line."""
    page = b""
    for line in lines:
        text = line.encode()
        if page and len(page) + len(text) >= _LONGEST:
            yield page
            page = b""
        page += (b"\n" if page else b"") + text
    if page:
        yield page
