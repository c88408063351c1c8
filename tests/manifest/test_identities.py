"""Entries pinned by identity: how they are hashed, stored and checked, and what programs that are older say."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from blake3 import blake3
from trees.model import Loader

from penstock.errors import FormatTooNewError, IntegrityError, UsageError
from penstock.manifest import frame as frames
from penstock.manifest.build import DirectoryWriter, DiscardSink, MemorySink
from penstock.manifest.codec import decode_node, encode_leaf
from penstock.manifest.diff import diff
from penstock.manifest.entry import BLOCK_SIZE, Extent, External, Kind, Location, NodeRef, TreeEntry
from penstock.manifest.frame import FRAME_IDENTIFIED, decode_frame, encode_frame
from penstock.manifest.hashing import HASH_SIZE, content_hash, identified_leaf_hash
from penstock.manifest.identity import identity_entry
from penstock.manifest.node import IdentifiedLogical, IdentifiedPhysical, Leaf
from penstock.manifest.tree import Tree

PACK = bytes(HASH_SIZE)
LARGE = External("s3://bucket/large", "v1", '"d41d8cd9"')


def ref_of(digest: bytes, frame: bytes, entries: list[TreeEntry]) -> NodeRef:
    size = sum(entry.size for entry in entries if entry.is_file)
    return NodeRef(digest, len(entries), size, Location(PACK, 0, len(frame), content_hash(frame)))


def stored(entries: list[TreeEntry]) -> tuple[bytes, NodeRef]:
    digest, frame = encode_leaf(entries, lambda pack: pack)
    return frame, ref_of(digest, frame, entries)


def mixed() -> list[TreeEntry]:
    own = TreeEntry(b"a", Kind.FILE, 3, content_hash(b"abc"), 5, extents=(Extent(bytes(32), 0, 3),))
    return [
        own,
        identity_entry(b"b", LARGE, 5 * BLOCK_SIZE + 1, 0, b'{"x":1}'),
        identity_entry(b"c", External("s3://bucket/c", "v2"), 7),
        TreeEntry(b"d", Kind.SYMLINK, 1, content_hash(b"x"), target=b"x"),
    ]


def test_entries_pinned_by_identity_come_back_as_they_were_stored_beside_others() -> None:
    entries = mixed()
    frame, ref = stored(entries)
    leaf = decode_node(frame, ref)
    assert isinstance(leaf, Leaf)
    assert [leaf.entry(at) for at in range(4)] == entries
    assert [leaf.entry(at).is_identity for at in range(4)] == [False, True, True, False]
    assert encode_leaf([leaf.entry(at) for at in range(4)], lambda pack: pack) == (ref.hash, frame)


def test_a_leaf_without_identities_is_stored_as_ever() -> None:
    frame, _ = stored(mixed()[:1])
    assert frame[:4] == b"PSN1"


def test_the_hash_is_of_size_and_etag_wherever_the_object_lies_and_of_no_content() -> None:
    one = identity_entry(b"n", LARGE, 10)
    made = msgspec.msgpack.encode((10, "d41d8cd9", None))
    assert one.hash == blake3(made, derive_key_context="penstock 3 identity").digest()
    assert one.hash == identity_entry(b"n", External("s3://other/copy", "v9", "d41d8cd9"), 10).hash
    assert one.hash != identity_entry(b"n", LARGE, 11).hash
    assert one.hash != identity_entry(b"n", External(LARGE.uri, "v1", '"e"'), 10).hash
    unnamed = identity_entry(b"n", External(LARGE.uri, "d41d8cd9"), 10)
    assert one.hash != unnamed.hash  # a version is no ETag, even of the same text
    assert one.hash != content_hash(msgspec.msgpack.encode((10, "d41d8cd9", None)))


def test_an_empty_object_is_the_empty_file_that_it_is() -> None:
    assert identity_entry(b"n", LARGE, 0) == TreeEntry(b"n", Kind.FILE, 0, content_hash(b""))


@pytest.mark.parametrize(
    ("external", "why"),
    [
        (External("s3://b/k"), "neither"),
        (External("s3://b/k", "null"), "neither"),
        (External("s3://b/k", "v", 'W/"x"'), "weak"),
        (External("s3://b/k", "v", '""'), "empty"),
        (External("s3://b/k", "v" * 1025), "1024"),
        (External("file:///k", None, "x"), "S3"),
    ],
)
def test_what_pins_nothing_is_refused(external: External, why: str) -> None:
    with pytest.raises(UsageError, match="identity") as caught:
        identity_entry(b"n", external, 1)
    assert why in (caught.value.why or "")


def test_a_program_of_format_2_says_that_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, ref = stored(mixed())
    assert frame[:4] == b"PSN3"
    monkeypatch.setattr(frames, "_KNOWN", frozenset((b"PSN1", b"PSN2")))
    with pytest.raises(FormatTooNewError, match="'3'"):
        decode_node(frame, ref)


def _changed(edit: str) -> tuple[bytes, NodeRef]:
    """Return a leaf in which one thing is not as it must be, with a hash that fits it."""
    entries = mixed()
    frame, _ = stored(entries)
    logical_raw, physical_raw = msgspec.msgpack.decode(decode_frame(frame)[1])
    logical = msgspec.msgpack.decode(logical_raw, type=IdentifiedLogical)
    physical = msgspec.msgpack.decode(physical_raw, type=IdentifiedPhysical)
    objects = list(physical.objects)
    match edit:
        case "another etag":
            objects[1] = ("s3://bucket/large", "v1", "other")
        case "no pin":
            objects[2] = ("s3://bucket/c", None, None)
        case "a data object":
            objects[1] = bytes(32)
        case "a local file":
            objects[1] = ("file:///large", "v1", "d41d8cd9")
        case "none":
            logical = msgspec.structs.replace(logical, identities=[])
        case "twice":
            logical = msgspec.structs.replace(logical, identities=[1, 1])
        case "a symlink":
            logical = msgspec.structs.replace(logical, identities=[1, 2, 3])
        case "beyond":
            logical = msgspec.structs.replace(logical, identities=[1, 2, 4])
        case "a file that was read":
            logical = msgspec.structs.replace(logical, identities=[0, 1, 2])
        case "left out":
            logical = msgspec.structs.replace(logical, identities=[2])
        case "an offset":
            physical = msgspec.structs.replace(physical, file_offsets=[0, 1, 0])
        case "a weak etag":
            objects[1] = ("s3://bucket/large", "v1", 'W/"d41d8cd9"')
        case "a long version":
            objects[2] = ("s3://bucket/c", "v" * 1025, None)
        case "a version of null":
            objects[2] = ("s3://bucket/c", "null", None)
        case "another version":
            objects[2] = ("s3://bucket/c", "v3", None)
        case "another size":
            logical = msgspec.structs.replace(logical, sizes=[3, 5 * BLOCK_SIZE, 8, 1])
        case "an empty file":
            logical = msgspec.structs.replace(logical, sizes=[3, 5 * BLOCK_SIZE + 8, 0, 1])
        case "a directory":
            logical = msgspec.structs.replace(logical, identities=[-1, 1, 2])
        case "no object":
            physical = msgspec.structs.replace(physical, file_objects=[0, 1, 99])
        case "pieces":
            physical = msgspec.structs.replace(physical, pieces=[(2, [(2, 0, 3), (2, 3, 4)])])
        case "pages":
            physical = msgspec.structs.replace(physical, pages=[(1, [(bytes(32), 0, 0, 1, bytes(32))])])
        case "blocks":
            physical = msgspec.structs.replace(physical, blocks=[(1, bytes(6 * 32))])
    physical = msgspec.structs.replace(physical, objects=objects)
    hashed = msgspec.msgpack.encode(logical)
    content = msgspec.msgpack.encode((hashed, msgspec.msgpack.encode(physical)))
    changed = encode_frame(FRAME_IDENTIFIED, content)
    return changed, ref_of(identified_leaf_hash(hashed), changed, entries)


@pytest.mark.parametrize(
    "edit",
    [
        "another etag",
        "no pin",
        "a data object",
        "a local file",
        "none",
        "twice",
        "a symlink",
        "beyond",
        "a file that was read",
        "left out",
        "an offset",
        "blocks",
        "a weak etag",
        "a long version",
        "a version of null",
        "another version",
        "another size",
        "an empty file",
        "a directory",
        "no object",
        "pieces",
        "pages",
    ],
)
def test_a_hostile_leaf_is_refused(edit: str) -> None:
    with pytest.raises(IntegrityError):
        decode_node(*_changed(edit))


@pytest.mark.parametrize(("kind", "magic"), [(FRAME_IDENTIFIED, b"PSN1"), (FRAME_IDENTIFIED, b"PSN2"), (0, b"PSN3")])
def test_a_type_under_the_mark_of_another_format_is_refused(kind: int, magic: bytes) -> None:
    frame, ref = stored(mixed() if kind else mixed()[:1])
    bent = magic + frame[4:]
    with pytest.raises(IntegrityError, match="unknown type"):
        decode_frame(bent)
    where = msgspec.structs.replace(ref.location, digest=content_hash(bent))
    with pytest.raises(IntegrityError):
        decode_node(bent, msgspec.structs.replace(ref, location=where))


def test_a_difference_sees_another_etag_and_no_other_place() -> None:
    def tree(external: External) -> tuple[NodeRef, Loader]:
        sink = MemorySink()
        writer = DirectoryWriter(sink)
        writer.put(identity_entry(b"n", external, 10))
        return writer.finish(), Loader(sink)

    (one, load), (moved, load_moved), (other, load_other) = (
        tree(LARGE),
        tree(External("s3://mirror/n", None, "d41d8cd9")),
        tree(External(LARGE.uri, "v2", "ff")),
    )
    assert one.hash == moved.hash
    assert not list(diff(one, moved, load, load_moved))
    assert [change.path for change in diff(one, other, load, load_other)] == [(b"n",)]
    (entry,) = [entry for _, entry in Tree(moved, load_moved).walk()]
    assert entry.extents[0].object == External("s3://mirror/n", None, "d41d8cd9", 10)


def test_to_build_them_takes_about_as_long_as_to_build_others() -> None:
    def build(make: Callable[[bytes, int], TreeEntry]) -> float:
        began = time.process_time()
        writer = DirectoryWriter(DiscardSink())
        for number in range(20_000):
            writer.put(make(b"%06d.jpg" % number, number))
        assert writer.finish().entries == 20_000
        return time.process_time() - began

    def other(name: bytes, number: int) -> TreeEntry:
        found = External(f"s3://bucket/images/{number:06}.jpg", None, f'"{number:032x}"')
        return TreeEntry(name, Kind.FILE, 70_000, content_hash(name), extents=(Extent(found, 0, 70_000),))

    def identity(name: bytes, number: int) -> TreeEntry:
        return identity_entry(name, External(f"s3://bucket/images/{number:06}.jpg", None, f'"{number:032x}"'), 70_000)

    build(other)
    assert build(identity) < 10 * build(other)  # 1.4 on a quiet machine
