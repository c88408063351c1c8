"""What a part of a version is: its entries in tree order, and a record that says where they lie. Pure.

    PartSet       what belongs together, by 16 bytes: a run of a push, or of a transform, into one dataset
    PartEntry     one path of the version to come, its block hashes, and the content where that is little
    PartRecord    written last: without it there is no part. It has the entries, or says in which chunks they are

Records and chunks come from a bucket, so that whatever is read is bounded and held against the rules of entries:
**Invariant:** an entry that was decoded can be put into a tree as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import zstandard

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.manifest.entry import (
    MAX_DEPTH,
    MAX_METADATA,
    MAX_MTIME,
    MAX_SIZE,
    MAX_TARGET,
    External,
    Kind,
    TreeEntry,
    block_count,
    display_path,
    name_problem,
)
from penstock.manifest.hashing import HASH_SIZE, content_hash, hash_of_blocks
from penstock.manifest.metadata import parse_metadata
from penstock.repo.bucket import object_keys

__all__ = [
    "LARGEST_CHUNK",
    "LARGEST_RECORD",
    "FrameRef",
    "PartEntry",
    "PartRecord",
    "PartSet",
    "Path",
    "decode_frame",
    "decode_record",
    "encode_frame",
    "encode_record",
]

Path = tuple[bytes, ...]

LARGEST_RECORD = 64 << 20
LARGEST_CHUNK = 64 << 20
"""Bytes, packed and unpacked alike, beyond which a record or frame is none."""
_MAGIC = b"PSP1"
_NAME = 16
_SCHEMES = ("s3://", "file:///")


@dataclass(frozen=True, slots=True)
class PartSet:
    """What belongs together: `name` is 16 bytes, the same for all who take part."""

    name: bytes

    @classmethod
    def of(cls, *what: str | bytes) -> PartSet:
        """Return the set that some words name: kind of work, dataset, run."""
        joined = b"\0".join(each.encode() if isinstance(each, str) else each for each in what)
        return cls(content_hash(b"penstock parts 1\0" + joined)[:_NAME])

    @property
    def prefix(self) -> str:
        """What the keys of all that belongs to it start with."""
        return object_keys.part_prefix(self.name)

    def record_key(self, part: bytes) -> str:
        """Return the key of a part's record; the part by any bytes that tell it from the others."""
        return object_keys.part_key(self.name + content_hash(b"record\0" + part)[:_NAME])

    def chunk_key(self, digest: bytes) -> str:
        """Return the key of a chunk by the hash of its bytes."""
        return object_keys.part_key(self.name + digest[:_NAME])


class PartEntry(msgspec.Struct, frozen=True, array_like=True):
    """One path. Of a directory, that it is there, and its own metadata: what is in it are entries of their own.

    `blocks`: the joined hashes of a file's blocks, when there is more than one. `data`: the content itself, where that
    is not in an object yet. `source` says to people where it comes from.
    """

    path: Path
    entry: TreeEntry
    blocks: bytes = b""
    data: bytes | None = None
    source: str = ""


class FrameRef(msgspec.Struct, frozen=True, array_like=True):
    """Some entries, packed: where in which chunk (its hash; empty: in the record itself), and their hash."""

    chunk: bytes
    offset: int
    length: int
    digest: bytes


class PartRecord(msgspec.Struct, frozen=True, array_like=True):
    """One whole part. `of` how many there are, by whoever made it; `options` have to be equal in all of them.

    `first` and `last` are its first and last path. `objects` are the data objects that its entries lie in, which have
    to be there when a version is made of it. `sent_objects` and `sent_bytes` went to the bucket for it, `inputs` were
    read for it.
    """

    format: int
    number: int
    of: int
    options: str
    first: Path
    last: Path
    entries: int
    files: int
    size: int
    inputs: int
    sent_objects: int
    sent_bytes: int
    objects: tuple[bytes, ...]
    frames: tuple[FrameRef, ...]
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(PartRecord)
_entries = msgspec.msgpack.Decoder(list[PartEntry])


def encode_record(record: PartRecord) -> bytes:
    """Return a record as it is stored: checked by its own hash, since it is found by a name that says nothing of it."""
    body = zstandard.compress(_encoder.encode(record), 3)
    return _MAGIC + content_hash(body) + body


def decode_record(stored: bytes) -> PartRecord:
    """Return a record that was stored. IntegrityError, FormatTooNewError: it is none."""
    head = len(_MAGIC) + HASH_SIZE
    if stored[: len(_MAGIC)] != _MAGIC:
        if stored[: len(_MAGIC) - 1] == _MAGIC[:-1]:
            raise FormatTooNewError("a part of a later format", fix="Upgrade Penstock.")
        raise _bad("it does not start as one")
    if content_hash(stored[head:]) != stored[len(_MAGIC) : head]:
        raise _bad("its bytes have another hash")
    try:
        record = _records.decode(_unpacked(stored[head:], LARGEST_RECORD))
    except msgspec.DecodeError as error:
        raise _bad(str(error)) from error
    if record.format != 1:
        raise FormatTooNewError(f"a part of format {record.format}", why="this Penstock reads 1", fix="Upgrade it.")
    counts = (record.entries, record.files, record.size, record.inputs, record.sent_objects, record.sent_bytes)
    if min(counts) < 0 or not 1 <= record.number <= record.of:
        raise _bad("its counts cannot be")
    if any(len(each) != HASH_SIZE for each in record.objects):
        raise _bad("it names an object by something that is no hash")
    for frame in record.frames:
        if len(frame.digest) != HASH_SIZE or len(frame.chunk) not in (0, HASH_SIZE):
            raise _bad("it names entries by something that is no hash")
        if not (0 <= frame.offset <= MAX_SIZE - LARGEST_CHUNK and 0 < frame.length <= LARGEST_CHUNK):
            raise _bad("it gives a place that cannot be")
    return record


def encode_frame(entries: Sequence[PartEntry]) -> bytes:
    """Pack some entries."""
    return zstandard.compress(_encoder.encode(entries), 3)


def decode_frame(packed: bytes, ref: FrameRef, after: Path | None) -> list[PartEntry]:
    """Return entries that were packed; they follow the path `after`. IntegrityError: they are none."""
    if content_hash(packed) != ref.digest:
        raise _bad("entries have another hash than its record says")
    try:
        entries = _entries.decode(_unpacked(packed, LARGEST_CHUNK))
    except msgspec.DecodeError as error:
        raise _bad(str(error)) from error
    for each in entries:
        if after is not None and each.path <= after:
            raise _bad(f"{display_path(each.path)!r} is out of order")
        after = each.path
        if problem := _problem(each):
            raise _bad(f"{display_path(each.path)!r}: {problem}")
    return entries


def _problem(found: PartEntry) -> str:
    entry = found.entry
    if not 1 <= len(found.path) <= MAX_DEPTH or entry.name != found.path[-1]:
        return "no path of an entry"
    for name in found.path:
        if problem := name_problem(name):
            return problem
    if not isinstance(entry.metadata, bytes) or len(entry.metadata) > MAX_METADATA:
        return "its metadata is no text, or too large"
    parse_metadata(entry.metadata)
    if entry.mtime_ns is not None and not -MAX_SIZE <= entry.mtime_ns <= MAX_MTIME:
        return "its time is out of bounds"
    if entry.directory is not None or entry.blocks or entry.pages:
        return "it says what only a tree says"
    if entry.kind is Kind.DIRECTORY:
        rest = (entry.size, entry.hash, entry.target, entry.extents, found.blocks, found.data)
        return "a directory has no content" if rest != (0, b"", b"", (), b"", None) else ""
    if entry.kind is Kind.SYMLINK:
        whole = 0 < entry.size == len(entry.target) <= MAX_TARGET and b"\0" not in entry.target
        return "" if whole and entry.hash == content_hash(entry.target) else "its target is not what it says"
    return _content_problem(found)


def _content_problem(found: PartEntry) -> str:
    entry = found.entry
    if not 0 <= entry.size <= MAX_SIZE or len(entry.hash) != HASH_SIZE or entry.target:
        return "its size or hash cannot be"
    if block_count(entry.size) > 1:
        if len(found.blocks) != block_count(entry.size) * HASH_SIZE:
            return "its blocks do not add up"
        if hash_of_blocks(entry.size, found.blocks) != entry.hash:
            return "its hash is not the one of its blocks"
    elif found.blocks:
        return "a file of one block has no others"
    if found.data is not None:
        # Of one block at most, so that the hash is that of the bytes.
        whole = not entry.extents and len(found.data) == entry.size and not found.blocks
        return "" if whole and content_hash(found.data) == entry.hash else "its content is not what it says"
    if not entry.size and entry.hash != content_hash(b""):
        return "its hash is not that of no bytes"
    if sum(each.length for each in entry.extents) != entry.size:
        return "its places do not cover it"
    for each in entry.extents:
        if not (each.length > 0 and 0 <= each.offset <= MAX_SIZE - each.length):
            return "its bytes lie where they cannot"
        if isinstance(each.object, External):
            if not each.object.uri.startswith(_SCHEMES):
                return "it points to an address of an unknown kind"
        elif len(each.object) != HASH_SIZE:
            return "it names an object by something that is no hash"
    return ""


def _unpacked(body: bytes, most: int) -> bytes:
    try:
        if not 0 <= zstandard.frame_content_size(body) <= most:
            raise _bad("it is too large")
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _bad(str(error)) from error


def _bad(why: str) -> IntegrityError:
    return IntegrityError("this is no part of a version", why=why, fix="Make the part again.")
