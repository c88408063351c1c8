"""Nodes from an enemy: a valid node or a clear error, never another exception, never much memory or time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from trees.forge import attempt, forge, forge_bytes, parts_of
from trees.strategies import quick

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.manifest.build import MemorySink, TreeBuilder
from penstock.manifest.codec import decode_node, encode_index
from penstock.manifest.entry import BLOCK_SIZE, MAX_SIZE, Entry, Extent, External, Kind, Location, NodeRef
from penstock.manifest.frame import FRAME_INDEX, FRAME_LEAF, FRAME_PAGE, MAX_FRAME, encode_frame
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.rules import MAX_LEVEL
from penstock.manifest.split import MAX_INDEX_ITEMS, MAX_LEAF_ENTRIES

NAMES, KINDS, SIZES, HASHES, BELOW, TARGETS, METADATA = range(7)
MTIMES, OBJECTS, FILE_OBJECTS, FILE_OFFSETS, PIECES, BLOCKS, PAGES, PACKS, DIRECTORIES = range(9)
LEVEL, LASTS, CHILD_HASHES, CHILD_ENTRIES, CHILD_SIZES = range(5)
CHILD_PACKS, CHILDREN = range(2)
A, B, C, D, E, F, G = range(7)
"""The entries of the leaf below: directory, symlink, small file, inline, paged, in three extents, empty."""


def _leaf_frame() -> bytes:
    sink = MemorySink()
    builder = TreeBuilder(sink)
    builder.enter(b"a", metadata=b'{"k":1}')
    builder.leave()
    builder.add(Entry(b"b", Kind.SYMLINK, 3, content_hash(b"a/x"), 5, target=b"a/x"))
    builder.add(
        Entry(b"c", Kind.EXECUTABLE, 10, content_hash(b"c"), -1, b'{"l":"x"}', extents=(Extent(bytes(32), 4, 10),))
    )
    for name, count in ((b"d", 2), (b"e", 33)):
        blocks, size = blake3(name).digest(32 * count), count * BLOCK_SIZE
        extents = (Extent(External("s3://b/k", "v", None), 0, size),)
        builder.add_file(Entry(name, Kind.FILE, size, hash_of_blocks(size, blocks), extents=extents), blocks)
    pieces = (Extent(bytes(32), 0, 1), Extent(content_hash(b"1"), 9, 2), Extent(bytes(32), 1, 4))
    builder.add(Entry(b"f", Kind.FILE, 7, content_hash(b"f"), extents=pieces))
    builder.add(Entry(b"g", Kind.FILE, 0, content_hash(b"")))
    return sink.frames[builder.finish().location.digest]


def _index_frame() -> bytes:
    places = [Location(bytes([n]) * 32, n, 100 + n, content_hash(bytes([n]))) for n in range(3)]
    children = [NodeRef(content_hash(b"%d" % n), n + 1, 1000 * n, place) for n, place in enumerate(places)]
    sink = MemorySink()
    return encode_index(1, [b"f", b"m", b"t"], children, sink.resolve)[1]


LEAF, INDEX = _leaf_frame(), _index_frame()


@pytest.mark.parametrize("original", [LEAF, INDEX], ids=["leaf", "index"])
def test_the_originals_are_valid(original: bytes) -> None:
    kind, logical, physical = parts_of(original)
    frame, ref = forge(kind, logical, physical)
    assert frame == original
    assert attempt(frame, ref) is not None


@pytest.mark.parametrize("original", [LEAF, INDEX], ids=["leaf", "index"])
def test_truncated_anywhere(original: bytes) -> None:
    ref = forge(*parts_of(original))[1]
    for length in range(len(original)):
        cut = original[:length]
        with pytest.raises(IntegrityError):
            decode_node(cut, ref)
        with pytest.raises(IntegrityError):
            decode_node(cut, _with_digest(ref, cut))


def _with_digest(ref: NodeRef, frame: bytes) -> NodeRef:
    where = ref.location
    place = Location(where.pack, where.offset, len(frame), content_hash(frame))
    return NodeRef(ref.hash, ref.entries, ref.size, place)


@pytest.mark.parametrize("original", [LEAF, INDEX], ids=["leaf", "index"])
def test_every_bit_flipped(original: bytes) -> None:
    _, logical, _ = parts_of(original)
    ref = forge(*parts_of(original))[1]
    survivors = 0
    for bit in range(len(original) * 8):
        bad = bytearray(original)
        bad[bit // 8] ^= 1 << bit % 8
        frame = bytes(bad)
        with pytest.raises(IntegrityError) as caught:
            decode_node(frame, ref)
        assert not isinstance(caught.value, FormatTooNewError)  # it is damaged, and not new
        # Now as if the enemy had told the parent of it: what is hashed must still be what it was.
        node = attempt(frame, _with_digest(ref, frame))
        if node is not None:
            survivors += 1
            assert node.names == logical[NAMES] if node.level == 0 else logical[LASTS]
    assert survivors  # else the frame was never unpacked, and this test is worth nothing


_ints = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([1 << 20, 1 << 31, 1 << 32, 1 << 48, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)]),
)
_bytes = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b".", b"..", b"a/b", b"\0", b"a", b"zz", bytes(31), bytes(32), bytes(33), bytes(64), b"x" * 256]),
)
_junk: st.SearchStrategy[Any] = st.recursive(
    st.one_of(_ints, _bytes, st.none(), st.booleans(), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)
_step = st.tuples(
    st.sampled_from(["replace", "same kind", "same kind", "delete", "double", "swap", "grow"]),
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
    _junk,
    _ints,
    _bytes,
)


def _mangle(root: list[Any], action: str, way: list[int], junk: Any, number: int, data: bytes) -> None:
    """Change one thing, somewhere down a way through the lists."""
    here: list[Any] = root
    for step in way[:-1]:
        lists = [item for item in here if isinstance(item, list) and item]
        if not lists:
            break
        here = lists[step % len(lists)]
    at = way[-1] % len(here)
    old = here[at]
    if action == "replace":
        here[at] = junk
    elif action == "same kind":
        if isinstance(old, int):
            here[at] = number
        elif isinstance(old, bytes):
            here[at] = data if number % 3 else old[:-1] if number % 2 else old + data
        elif isinstance(old, list):
            here[at] = [*old, *old]
        else:
            here[at] = junk
    elif action == "delete":
        del here[at]
    elif action == "double":
        here.insert(at, old)
    elif action == "swap":
        here[at], here[-1] = here[-1], here[at]
    else:
        here.append(junk)


@settings(quick, max_examples=1200)
@given(st.sampled_from([LEAF, INDEX]), st.lists(st.tuples(st.integers(0, 1), _step), min_size=1, max_size=3))
def test_mangled_parts_with_all_hashes_right(original: bytes, changes: list[tuple[int, Any]]) -> None:
    kind, logical, physical = parts_of(original)
    for which, step in changes:
        part = (logical, physical)[which]
        if part:
            _mangle(part, *step)
    try:
        frame, ref = forge(kind, logical, physical)
    except (OverflowError, msgspec.MsgspecError):
        return  # no msgpack says that
    attempt(frame, ref)


@settings(quick, max_examples=300)
@given(st.sampled_from([FRAME_LEAF, FRAME_INDEX]), _junk | _bytes, _junk | _bytes)
def test_anything_in_place_of_the_parts(kind: int, logical: Any, physical: Any) -> None:
    attempt(*forge(kind, logical, physical))
    if isinstance(logical, bytes) and isinstance(physical, bytes):
        attempt(*forge_bytes(kind, logical, physical, (0, 0)))
    frame = encode_frame(kind, msgspec.msgpack.encode(logical))
    attempt(frame, NodeRef(bytes(32), 0, 0, Location(bytes(32), 0, len(frame), content_hash(frame))))


@settings(quick, max_examples=200)
@given(st.sampled_from([FRAME_LEAF, FRAME_INDEX]), st.binary(max_size=40), st.binary(max_size=40))
def test_bytes_that_are_no_msgpack(kind: int, logical: bytes, physical: bytes) -> None:
    attempt(*forge_bytes(kind, logical, physical, (0, 0)))
    attempt(*forge_bytes(kind, b"\x97\x90\xc4\x00\x90\xc4\x00\x90\x90\x90", physical, (0, 0)))


Change = Callable[[list[Any], list[Any]], object]


def _set(part: int, *way: int, to: Any) -> Change:
    def change(*parts: list[Any]) -> None:
        here = parts[part]
        for step in way[:-1]:
            here = here[step]
        here[way[-1]] = to

    return change


def _cut_hashes(logical: list[Any], physical: list[Any]) -> None:
    logical[HASHES] = logical[HASHES][:-1]


def _rename(at: int, to: bytes) -> Change:
    return _set(0, NAMES, at, to=to)


def _grow(part: int, *way: int, by: Any) -> Change:
    def change(*parts: list[Any]) -> None:
        here = parts[part]
        for step in way[:-1]:
            here = here[step]
        here[way[-1]] = here[way[-1]] + by

    return change


def _both(*changes: Change) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        for each in changes:
            each(logical, physical)

    return change


def _many(count: int) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        names = [b"%06d" % number for number in range(count)]
        logical[:] = [names, bytes(count), [0] * count, content_hash(b"") * count, [], [], []]
        physical[:] = [[0] * count, [], [0] * count, [0] * count, [], [], [], [], []]

    return change


def _many_children(count: int) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        logical[:] = [1, [b"%06d" % n for n in range(count)], bytes(32) * count, [1] * count, [0] * count]
        physical[:] = [[b""], [[0, 0, 1, bytes(32)]] * count]

    return change


LEAF_RULES: list[tuple[str, Change]] = [
    ("length <= 4096", _many(MAX_LEAF_ENTRIES + 1)),
    ("unknown kind", _set(0, KINDS, to=b"\2\3\1\0\0\0\4")),
    ("unknown kind", _set(0, KINDS, to=b"\2\3\1\0\0\0\xff")),
    ("columns differ", _set(0, KINDS, to=b"\2\3\1\0\0\0")),
    ("columns differ", _grow(0, KINDS, by=b"\0")),
    ("columns differ", _grow(0, SIZES, by=[1])),
    ("columns differ", _cut_hashes),
    ("columns differ", _grow(0, HASHES, by=b"\0")),
    ("columns differ", _grow(0, HASHES, by=bytes(32))),
    ("columns differ", _set(1, MTIMES, to=[])),
    ("columns differ", _grow(0, NAMES, by=[b"h"])),
    ("directories do not add up", _set(0, BELOW, to=[])),
    ("directories do not add up", _set(0, BELOW, to=[0, 0])),
    ("directories do not add up", _set(1, DIRECTORIES, to=[])),
    ("files do not add up", _grow(1, FILE_OBJECTS, by=[0])),
    ("files do not add up", _set(1, FILE_OFFSETS, to=[])),
    ("not in order", _rename(A, b"b")),
    ("not in order", _rename(A, b"x")),
    ("not in order", _rename(G, b"")),
    ("slash or a NUL", _rename(G, b"g/h")),
    ("slash or a NUL", _rename(A, b"/")),
    ("slash or a NUL", _rename(G, b"g\0h")),
    ("slash or a NUL", _rename(A, b"\0")),
    ("empty name", _rename(A, b"")),
    ("more than 255 bytes", _rename(G, b"g" * 256)),
    ("name '.'", _rename(A, b".")),
    ("name '..'", _rename(A, b"..")),
    ("counts are out of bounds", _set(0, BELOW, 0, to=-1)),
    ("counts are out of bounds", _set(0, BELOW, 0, to=(1 << 48) - 7)),
    ("counts are out of bounds", _set(0, BELOW, 0, to=(1 << 64) - 1)),
    ("sizes are out of bounds", _set(0, SIZES, A, to=-1)),
    ("sizes are out of bounds", _set(0, SIZES, A, to=MAX_SIZE)),
    ("sizes are out of bounds", _set(0, SIZES, C, to=(1 << 64) - 1)),
    ("pack by something", _set(1, PACKS, to=[b"x"])),
    ("pack by something", _set(1, PACKS, to=[bytes(33)])),
    ("place that cannot be", _set(1, PACKS, to=[])),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 0, to=1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 0, to=-1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 1, to=-1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 1, to=MAX_SIZE)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 2, to=0)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 2, to=MAX_FRAME + 1)),
    ("digest of the wrong length", _set(1, DIRECTORIES, 0, 3, to=b"")),
    ("digest of the wrong length", _set(1, PAGES, 0, 1, 0, 4, to=bytes(31))),
    ("symlinks do not add up", _set(0, TARGETS, to=[])),
    ("symlinks do not add up", _grow(0, TARGETS, by=[b"x"])),
    ("target is empty", _set(0, TARGETS, 0, to=b"")),
    ("target is empty", _set(0, TARGETS, 0, to=b"x" * 4096)),
    ("target is empty", _set(0, TARGETS, 0, to=b"a\0x")),
    ("not that of its target", _set(0, TARGETS, 0, to=b"a/y")),
    ("not that of its target", _set(0, SIZES, B, to=4)),
    ("modification time", _set(1, MTIMES, 0, to=1 << 63)),
    ("modification time", _set(1, MTIMES, 6, to=-(1 << 63))),
    ("metadata is out of order", _set(0, METADATA, 0, 0, to=-1)),
    ("metadata is out of order", _set(0, METADATA, 0, 0, to=C)),
    ("metadata is out of order", _set(0, METADATA, 1, 0, to=7)),
    ("metadata is out of order", _set(0, METADATA, 1, 1, to=b"")),
    ("metadata is out of order", _set(0, METADATA, 1, 1, to=b'{"a":"' + b"x" * 65536 + b'"}')),
    ("metadata is malformed", _set(0, METADATA, 1, 1, to=b"[]")),
    ("metadata is malformed", _set(0, METADATA, 1, 1, to=b"\xff")),
    ("object by something", _set(1, OBJECTS, 0, to=b"x")),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["http://x/y", None, None])),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["file://host/y", None, None])),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["", None, None])),
    ("lists a file twice", lambda _, p: p[PIECES].append(p[PIECES][0])),
    ("lists a file twice", lambda _, p: p[BLOCKS].append(p[BLOCKS][0])),
    ("lists a file twice", lambda _, p: p[PAGES].append(p[PAGES][0])),
    ("empty file's hash", _grow(0, HASHES, by=b"") and (lambda lo, _: lo.__setitem__(HASHES, lo[HASHES][:-1] + b"\0"))),
    ("extent cannot be", _set(1, FILE_OBJECTS, 0, to=3)),
    ("extent cannot be", _set(1, FILE_OBJECTS, 0, to=-1)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=-1)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=MAX_SIZE - 9)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=(1 << 64) - 1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 0, to=3)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 0, to=-1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 1, to=-1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 1, to=MAX_SIZE)),
    ("extent cannot be", _set(1, PIECES, 0, 1, to=[[0, 0, 8], [0, 0, -1]])),
    ("extent cannot be", _set(1, PIECES, 0, 1, to=[[0, 0, 7], [0, 0, 0]])),
    ("extents do not cover", _set(1, PIECES, 0, 1, to=[[0, 0, 7]])),
    ("extents do not cover", _set(1, PIECES, 0, 1, to=[])),
    ("extents do not cover", _set(1, PIECES, 0, 1, 0, 2, to=2)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=A)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=G)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=7)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=-1)),
    ("more of a file than it may", lambda _, p: p[BLOCKS].append([C, bytes(32)])),
    ("more of a file than it may", lambda _, p: p[PAGES].append([B, []])),
    ("more of a file than it may", lambda _, p: p[PAGES].append([D, p[PAGES][0][1]])),
    ("no block hashes", _set(1, BLOCKS, to=[])),
    ("no block hashes", _set(1, PAGES, to=[])),
    ("wrong number of block hashes", _set(1, BLOCKS, 0, 1, to=b"")),
    ("wrong number of block hashes", _grow(1, BLOCKS, 0, 1, by=bytes(32))),
    ("wrong number of block hashes", _both(_set(1, PAGES, to=[]), lambda _, p: p[BLOCKS].append([E, bytes(33 * 32)]))),
    ("block hashes are not those", _set(1, BLOCKS, 0, 1, to=bytes(64))),
    ("wrong number of pages", _set(1, PAGES, 0, 1, to=[])),
    ("wrong number of pages", _set(1, PAGES, 0, 1, 0, 0, to=b"")),
    ("wrong number of pages", _both(_set(1, BLOCKS, to=[]), lambda _, p: p[PAGES].append([D, p[PAGES][0][1]]))),
    ("pages of block hashes are not those", _set(1, PAGES, 0, 1, 0, 0, to=bytes(32))),
    ("malformed", _set(1, OBJECTS, 0, to=[None, None, None])),
    ("malformed", _set(0, NAMES, 0, to="text")),
    ("malformed", _set(0, SIZES, 0, to=1.0)),
    ("malformed", _set(1, MTIMES, 0, to=True)),
    ("malformed", lambda lo, _: lo.append(1)),
    ("malformed", lambda _, p: p.pop()),
]

INDEX_RULES: list[tuple[str, Change]] = [
    ("length >= 1", _set(0, LASTS, to=[])),
    ("length <= 2048", _many_children(MAX_INDEX_ITEMS + 1)),
    ("columns differ", _grow(0, LASTS, by=[b"z"])),
    ("columns differ", _grow(0, CHILD_HASHES, by=b"\0")),
    ("columns differ", _set(0, CHILD_HASHES, to=b"")),
    ("columns differ", _grow(0, CHILD_ENTRIES, by=[1])),
    ("columns differ", _grow(0, CHILD_SIZES, by=[1])),
    ("columns differ", lambda _, p: p[CHILDREN].pop()),
    ("level is out of bounds", _set(0, LEVEL, to=0)),
    ("level is out of bounds", _set(0, LEVEL, to=-1)),
    ("level is out of bounds", _set(0, LEVEL, to=MAX_LEVEL + 1)),
    ("not in order", _set(0, LASTS, 0, to=b"m")),
    ("name '..'", _set(0, LASTS, 0, to=b"..")),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, 0, to=0)),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, 0, to=-5)),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, to=[1 << 47, 1 << 47, 1])),
    ("sizes are out of bounds", _set(0, CHILD_SIZES, to=[MAX_SIZE, 1, 0])),
    ("place that cannot be", _set(1, CHILDREN, 2, 0, to=3)),
    ("place that cannot be", _set(1, CHILDREN, 2, 2, to=0)),
    ("digest of the wrong length", _set(1, CHILDREN, 2, 3, to=bytes(31))),
    ("pack by something", _set(1, CHILD_PACKS, 0, to=bytes(8))),
    ("malformed", _set(0, LEVEL, to=b"1")),
]


@pytest.mark.parametrize(
    ("original", "words", "change"),
    [
        *(pytest.param(LEAF, words, change, id=f"leaf {n} {words}") for n, (words, change) in enumerate(LEAF_RULES)),
        *(pytest.param(INDEX, words, change, id=f"index {n} {words}") for n, (words, change) in enumerate(INDEX_RULES)),
    ],
)
def test_each_rule_is_held(original: bytes, words: str, change: Change) -> None:
    kind, logical, physical = parts_of(original)
    change(logical, physical)
    frame, ref = forge(kind, logical, physical)
    with pytest.raises(IntegrityError) as caught:
        decode_node(frame, ref)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        _many(MAX_LEAF_ENTRIES),
        _set(1, MTIMES, 0, to=-MAX_SIZE),
        _set(1, PACKS, 0, to=b""),
        _set(1, FILE_OFFSETS, 0, to=MAX_SIZE - 10),
        _set(1, FILE_OBJECTS, 4, to=99),  # of an empty file: nobody looks
        _rename(G, b"g" * 255),
        _rename(A, b"..."),
        _set(0, BELOW, 0, to=(1 << 48) - 8),
    ],
)
def test_the_limits_themselves_are_allowed(change: Change) -> None:
    kind, logical, physical = parts_of(LEAF)
    change(logical, physical)
    assert attempt(*forge(kind, logical, physical)) is not None


def test_most_children_are_allowed() -> None:
    kind, logical, physical = parts_of(INDEX)
    _many_children(MAX_INDEX_ITEMS)(logical, physical)
    assert attempt(*forge(kind, logical, physical)) is not None


def test_text_that_is_not_utf8() -> None:
    kind, logical, physical = parts_of(LEAF)
    body = msgspec.msgpack.encode(physical)
    assert body.count(b"s3://b/k") == 1
    bad = body.replace(b"s3://b/k", b"s3://b/\xff")
    frame, ref = forge_bytes(kind, msgspec.msgpack.encode(logical), bad, (7, 0))
    with pytest.raises(IntegrityError, match="malformed"):
        decode_node(frame, ref)


def test_the_reference_must_be_right_in_every_part() -> None:
    for original in (LEAF, INDEX):
        ref = forge(*parts_of(original))[1]
        other = content_hash(b"other")
        where = ref.location
        wrong = [
            (NodeRef(other, ref.entries, ref.size, where), "not the one that was meant"),
            (NodeRef(ref.hash, ref.entries + 1, ref.size, where), "counts are not what its parent says"),
            (NodeRef(ref.hash, ref.entries, ref.size + 1, where), "counts are not what its parent says"),
            (
                NodeRef(ref.hash, ref.entries, ref.size, Location(where.pack, where.offset, where.length, other)),
                "frame is not the one that was meant",
            ),
        ]
        for bad, words in wrong:
            with pytest.raises(IntegrityError, match=words):
                decode_node(original, bad)


def test_a_page_is_no_node_and_a_leaf_no_index() -> None:
    ref = forge(*parts_of(LEAF))[1]
    _, logical, physical = parts_of(LEAF)
    content = msgspec.msgpack.encode((msgspec.msgpack.encode(logical), msgspec.msgpack.encode(physical)))
    for kind, words in ((FRAME_PAGE, "page of block hashes stands"), (FRAME_INDEX, "index node is not the one")):
        frame = encode_frame(kind, content)
        with pytest.raises(IntegrityError, match=words):
            decode_node(frame, _with_digest(ref, frame))


def _bomb(part: int, *way: int, to: Any) -> tuple[bytes, NodeRef]:
    kind, logical, physical = parts_of(LEAF)
    _set(part, *way, to=to)(logical, physical)
    return forge(kind, logical, physical, (7, 7))


BOMBS: dict[str, Callable[[], tuple[bytes, NodeRef]]] = {
    "many small extents": lambda: _bomb(1, PIECES, to=[[F, [[0, 0, 0]] * 4_100_000]]),
    "many extents of many files": lambda: _bomb(1, PIECES, to=[[at, [[0, 0, 0]] * 1020] for at in range(4000)]),
    "many files in no pieces": lambda: _bomb(1, PIECES, to=[[F, []]] * 5_500_000),
    "many empty names": lambda: _bomb(0, NAMES, to=[b""] * 8_000_000),
    "many numbers": lambda: _bomb(0, SIZES, to=[300] * 5_500_000),
    "many pages": lambda: _bomb(1, PAGES, to=[[E, [[b"", 0, 0, 0, b""]] * 2_000_000]]),
    "many packs": lambda: _bomb(1, PACKS, to=[b"x"] * 5_500_000),
    "many addresses": lambda: _bomb(1, OBJECTS, to=[["s3://", None, None]] * 1_800_000),
    "deep nesting": lambda: forge_bytes(FRAME_LEAF, b"\x97" + b"\x91" * 16_000_000, b"", (7, 7)),
    "deep metadata": lambda: _bomb(0, METADATA, to=[[0, b'{"":' + b"[" * 65_000]]),
}
_VICTIM = """
import sys, time
from penstock.errors import IntegrityError
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import Location, NodeRef
def peak():  # not ru_maxrss, which starts at what the parent had
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
hash, digest = map(bytes.fromhex, sys.argv[1:])
frame = sys.stdin.buffer.read()
before, started = peak(), time.process_time()
try:
    decode_node(frame, NodeRef(hash, 7, 7, Location(bytes(32), 0, len(frame), digest)))
except IntegrityError:
    print(peak() - before >> 10, time.process_time() - started)
"""


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_hostile_content_takes_little_memory_and_time(make: Callable[[], tuple[bytes, NodeRef]]) -> None:
    """What decodes to the most from 16 MiB, the largest content there may be."""
    frame, ref = make()
    assert len(frame) < 20_000
    arguments = [sys.executable, "-c", _VICTIM, ref.hash.hex(), ref.location.digest.hex()]
    done = subprocess.run(arguments, input=frame, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    mebibytes, seconds = done.stdout.split()
    assert int(mebibytes) < 400
    assert float(seconds) < 5
