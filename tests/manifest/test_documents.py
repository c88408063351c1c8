"""Metadata that is too much for a leaf: documents of their own, with the same hash whoever writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.forge import forge, parts_of
from trees.model import File, Folder, Loader, build, built, find
from trees.packs import PackSink

from penstock.errors import FormatTooNewError, IntegrityError, UsageError
from penstock.manifest.build import DirectoryWriter, DiscardSink, MemorySink, TreeBuilder, keep_metadata
from penstock.manifest.codec import decode_document, decode_node, encode_document
from penstock.manifest.diff import diff
from penstock.manifest.entry import INLINE_METADATA, MAX_METADATA, DocumentRef, Kind, Metadata, NodeRef, TreeEntry
from penstock.manifest.frame import FRAME_DOCUMENT, FRAME_DOCUMENTED, decode_frame, encode_frame, frames_around
from penstock.manifest.hashing import content_hash
from penstock.manifest.merge import merge, merge_metadata
from penstock.manifest.metadata import canonical_json
from penstock.manifest.node import Leaf
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree


def large(number: int = 0) -> bytes:
    return canonical_json({"n": number, "text": "m" * INLINE_METADATA})


def entry(name: str, metadata: Metadata = b"") -> TreeEntry:
    return TreeEntry(name.encode(), Kind.FILE, 0, content_hash(b""), metadata=metadata)


def folder(**files: bytes) -> Folder:
    return Folder({name.encode(): File(entry(name, metadata)) for name, metadata in files.items()})


def documents(load: Loader, root: NodeRef) -> dict[bytes, Metadata]:
    return {path[-1]: found.metadata for path, found in Tree(root, load).walk()}


def test_the_bound_is_where_metadata_moves() -> None:
    at, beyond = (canonical_json({"m": "x" * (INLINE_METADATA - 8 + more)}) for more in (0, 1))
    assert (len(at), len(beyond)) == (INLINE_METADATA, INLINE_METADATA + 1)
    root, load = built(folder(a=at, b=beyond))
    assert documents(load, root)[b"a"] == at
    found = documents(load, root)[b"b"]
    assert isinstance(found, DocumentRef)
    assert load.metadata(found) == beyond


def test_what_has_no_large_metadata_is_written_as_ever() -> None:
    _, load = built(folder(a=b'{"a":1}'))
    (frame,) = load._sinks[0].frames.values()
    assert frame[:5] == b"PSN1\0"
    _, load = built(folder(a=b'{"a":1}', b=large()))
    assert {frame[:5] for frame in load._sinks[0].frames.values()} == {b"PSN2\3", b"PSN2\4"}


def test_a_program_of_format_1_says_that_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does with a magic that it does not know has been so since format 1: here with the next one."""
    _, frame = encode_document(large())
    with pytest.raises(FormatTooNewError, match=r"Upgrade Penstock"):
        decode_frame(b"PSN4" + frame[4:])
    root, _ = built(folder(a=b""))
    record = Manifest(root, keep_metadata(large(), MemorySink())).encode()
    assert b'"penstock": 2' in record
    with pytest.raises(FormatTooNewError, match=r"Upgrade Penstock"):
        Manifest.decode(record.replace(b'"penstock": 2', b'"penstock": 3'), bytes(32))


def test_listing_and_comparing_fetch_no_document() -> None:
    one, two = folder(a=large(), b=large(1), c=b""), folder(a=large(), b=large(2), c=b"")
    sink = MemorySink()
    roots = [build(each, sink) for each in (one, two)]
    load = Loader(sink)
    assert [found.name for _, found in Tree(roots[0], load).walk()] == [b"a", b"b", b"c"]
    assert [change.path for change in diff(*roots, load, load)] == [(b"b",)]
    assert load.count == 3  # each a leaf


def test_equal_documents_in_two_places_are_no_difference() -> None:
    sinks = PackSink(1), PackSink(1)
    sinks[1].write_apart(b"something else before it")
    refs = []
    for sink in sinks:
        writer = DirectoryWriter(sink)
        writer.put(entry("a", large()))
        writer.put(entry("b", b'{"n":%d}' % (sink is sinks[1])))
        refs.append(sink.located(writer.finish()))
    assert [change.path for change in diff(*refs, sinks[0].load, sinks[1].load)] == [(b"b",)]


def test_a_document_that_the_base_has_is_not_written_again() -> None:
    sink = MemorySink()
    tree = folder(**{f"f{number:03}": large(number) for number in range(20)})
    base = build(tree, sink)
    again = MemorySink()
    builder = TreeBuilder(again, base, Loader(sink))
    for number in range(20):
        builder.add(entry(f"f{number:03}", large(number if number != 7 else 99)))
    builder.add(entry("g", large(1)))
    root = builder.finish()
    kinds = [decode_frame(frame)[0] for frame in again.frames.values()]
    assert kinds.count(FRAME_DOCUMENT) == 2
    assert (
        root.hash
        == build(
            folder(**{f"f{number:03}": large(number if number != 7 else 99) for number in range(20)}, g=large(1)),
            DiscardSink(),
        ).hash
    )


def test_a_leaf_holds_hundreds_of_entries_with_documents() -> None:
    root, load = built(folder(**{f"f{number:04}": large(number) for number in range(300)}))
    node = load(root)  # cut where the names say, not by what the documents weigh
    assert len(node) == (300 if isinstance(node, Leaf) else 2)


def test_a_merge_reads_documents_only_where_both_sides_changed_them() -> None:
    def of(**values: object) -> Folder:
        return Folder({b"d": Folder({}, 0, canonical_json({"text": "m" * INLINE_METADATA, **values}))})

    sink = MemorySink()
    load = Loader(sink)
    base, ours, theirs, same = (build(each, sink) for each in (of(), of(a=1), of(b=2), of()))
    read: list[Metadata] = []

    def counted(metadata: Metadata) -> bytes:
        read.append(metadata)
        return load.metadata(metadata)

    merged = merge(base, ours, same, load, sink, counted)
    assert merged.root is not None
    assert merged.root.hash == ours.hash
    assert not read
    merged = merge(base, ours, theirs, load, sink, counted)
    assert merged.root is not None
    assert merged.root.hash == build(of(a=1, b=2), DiscardSink()).hash
    assert read


def test_more_than_a_mebibyte_is_refused_with_nothing_written() -> None:
    sink = MemorySink()
    with pytest.raises(UsageError, match="the most is 1048576"):
        canonical_json({"m": "x" * (MAX_METADATA - 7)})
    with pytest.raises(UsageError, match="the most is 1048576"):
        DirectoryWriter(sink).put(entry("a", b'{"m":"' + b"x" * MAX_METADATA + b'"}'))
    assert not sink.frames
    most = canonical_json({"m": "x" * (MAX_METADATA - 8)})
    root, load = built(folder(a=most))
    assert load.metadata(documents(load, root)[b"a"]) == most


def _forged(change: Any) -> tuple[bytes, NodeRef]:
    root, load = built(folder(a=large(), b=b'{"a":1}', c=large(1)))
    kind, logical, physical = parts_of(load._sinks[0].frames[root.location.digest])
    assert kind == FRAME_DOCUMENTED
    change(logical, physical)
    return forge(kind, logical, physical)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda logical, physical: logical[7].reverse(), "out of order"),
        (lambda logical, physical: logical[7][0].__setitem__(0, 1), "out of order"),
        (lambda logical, physical: logical[7][1].__setitem__(0, 3), "out of order"),
        (lambda logical, physical: logical[7][0].__setitem__(0, -1), "out of order"),
        (lambda logical, physical: logical[7][0].__setitem__(1, INLINE_METADATA), "size that they cannot"),
        (lambda logical, physical: logical[7][0].__setitem__(1, MAX_METADATA + 1), "size that they cannot"),
        (lambda logical, physical: logical[7][0].__setitem__(2, bytes(31)), "hash of the wrong length"),
        (lambda logical, physical: physical[9].pop(), "do not add up"),
        (lambda logical, physical: physical[9][0].__setitem__(0, 99), "a place that cannot be"),
        (lambda logical, physical: physical[9][0].__setitem__(1, -1), "a place that cannot be"),
        (lambda logical, physical: (logical[7].clear(), physical[9].clear()), "malformed"),
        (lambda logical, physical: logical.append(0), "malformed"),
        (lambda logical, physical: logical[7][0].append(0), "malformed"),
    ],
)
def test_a_leaf_that_lies_about_documents_is_refused(change: Any, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        decode_node(*_forged(change))


def test_another_document_than_was_meant_is_refused() -> None:
    root, load = built(folder(a=large(), b=large(1)))
    found = documents(load, root)
    one, two = found[b"a"], found[b"b"]
    assert isinstance(one, DocumentRef)
    assert isinstance(two, DocumentRef)
    frames = load._sinks[0].frames
    assert decode_document(frames[one.location.digest], one) == large()
    with pytest.raises(IntegrityError, match="not the one that was meant"):
        decode_document(frames[one.location.digest], two)
    with pytest.raises(IntegrityError, match="not the one that was meant"):
        decode_document(frames[root.location.digest], one)
    with pytest.raises(IntegrityError, match="document stands where a node should"):
        frame = encode_frame(FRAME_DOCUMENT, msgspec.msgpack.encode((b"", b"")))
        decode_node(frame, NodeRef(bytes(32), 0, 0, msgspec.structs.replace(one.location, digest=content_hash(frame))))
    for body in (b'["' + b"x" * INLINE_METADATA + b'"]', b"x" * (INLINE_METADATA + 1)):
        digest, frame = encode_document(body)
        with pytest.raises(IntegrityError, match="malformed"):
            decode_document(frame, DocumentRef(digest, len(body), one.location))


@given(st.sampled_from([3, 4]), st.sampled_from([0, 1, 2]))
def test_a_type_goes_with_its_format(new: int, old: int) -> None:
    frame = bytearray(encode_frame(new, b"x"))
    frame[:4] = b"PSN1"
    with pytest.raises(IntegrityError, match="unknown type"):
        decode_frame(bytes(frame))
    frame = bytearray(encode_frame(old, b"x"))
    frame[:4] = b"PSN2"
    with pytest.raises(IntegrityError, match="unknown type"):
        decode_frame(bytes(frame))


def test_frames_of_both_formats_are_found_in_a_pack() -> None:
    frames = [encode_frame(kind, bytes([kind]) * 9) for kind in (0, 4, 2, 3, 1)]
    pack = b"".join(frames)
    start = len(frames[0]) + len(frames[1])
    assert len(list(frames_around(pack, start))) == 5


def test_the_metadata_of_a_version_may_be_a_document() -> None:
    sink = MemorySink()
    root = build(folder(a=b""), sink)
    manifest = Manifest(root, keep_metadata(large(), sink))
    again = Manifest.decode(manifest.encode(), manifest.top_hash)
    assert again == manifest
    assert len(manifest.encode()) < 2000
    assert manifest.top_hash != Manifest(root).top_hash
    assert manifest.top_hash == Manifest(root, keep_metadata(large(), DiscardSink())).top_hash
    with pytest.raises(AssertionError):
        Manifest(root, large())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"penstock": 2', b'"penstock": 1'),
        (b'"metadata": {}', b'"metadata": {"a": 1}'),
        (b'"size": 65553', b'"size": 65536'),
        (b'"size": 65553', b'"size": 65554'),
        (b'"size": 65553', b'"size": 1048577'),
        (b'"document"', b'"documents"'),
    ],
)
def test_a_record_that_lies_about_its_document_is_refused(old: bytes, new: bytes) -> None:
    sink = MemorySink()
    manifest = Manifest(build(folder(a=b""), sink), keep_metadata(large(), sink))
    record = manifest.encode()
    assert record.count(old) == 1
    with pytest.raises(IntegrityError):
        Manifest.decode(record.replace(old, new), manifest.top_hash)


def test_merged_metadata_of_a_version_that_is_too_large_is_a_conflict() -> None:
    half = {"text": "m" * (MAX_METADATA // 2)}
    load = Loader(MemorySink())
    one, two = canonical_json({"a": half}), canonical_json({"b": half})
    assert merge_metadata(b"", one, two, load.metadata) is None
    assert find(folder(a=one), (b"a",)) is not None
