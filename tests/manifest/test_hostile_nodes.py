"""Nodes from an enemy: a valid node or a clear error, never another exception, never much memory or time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees.forge import attempt, forge, forge_bytes, parts_of
from trees.specimens import IDENTIFIED, INDEX, LASTS, LEAF, METADATA, NAMES, OBJECTS, PACKS, PAGES, PIECES, SIZES, E, F
from trees.strategies import quick

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import Location, NodeRef
from penstock.manifest.frame import FRAME_INDEX, FRAME_LEAF, FRAME_PAGE, FRAME_TIMED, encode_frame
from penstock.manifest.hashing import content_hash


@pytest.mark.parametrize("original", [LEAF, INDEX, IDENTIFIED], ids=["leaf", "index", "identified"])
def test_the_originals_are_valid(original: bytes) -> None:
    kind, logical, physical = parts_of(original)
    frame, ref = forge(kind, logical, physical)
    assert frame == original
    assert attempt(frame, ref) is not None


@pytest.mark.parametrize("original", [LEAF, INDEX, IDENTIFIED], ids=["leaf", "index", "identified"])
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


@pytest.mark.parametrize("original", [LEAF, INDEX, IDENTIFIED], ids=["leaf", "index", "identified"])
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
@given(
    st.sampled_from([LEAF, INDEX, IDENTIFIED]), st.lists(st.tuples(st.integers(0, 1), _step), min_size=1, max_size=3)
)
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


def test_times_are_held_against_what_a_leaf_has_room_for() -> None:
    _, logical, physical = parts_of(LEAF)
    for kind, time, good in (
        (FRAME_LEAF, None, False),
        (FRAME_LEAF, 1 << 63, False),
        (FRAME_LEAF, -(1 << 63), False),
        (FRAME_TIMED, -(1 << 63), False),
        (FRAME_TIMED, None, True),
        (FRAME_TIMED, (1 << 64) - 1, True),
        (FRAME_TIMED, 1.5, False),
    ):
        times = [time, *physical[0][1:]]
        frame, ref = forge(kind, logical, [times, *physical[1:]])
        assert (attempt(frame, ref) is not None) is good, (kind, time)


def test_text_that_is_not_utf8() -> None:
    kind, logical, physical = parts_of(LEAF)
    body = msgspec.msgpack.encode(physical)
    assert body.count(b"s3://b/k") == 1
    bad = body.replace(b"s3://b/k", b"s3://b/\xff")
    frame, ref = forge_bytes(kind, msgspec.msgpack.encode(logical), bad, (7, 0))
    with pytest.raises(IntegrityError, match="malformed"):
        decode_node(frame, ref)


def test_the_reference_must_be_right_in_every_part() -> None:
    for original in (LEAF, INDEX, IDENTIFIED):
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


def _bomb(part: int, way: int, to: Any) -> tuple[bytes, NodeRef]:
    kind, logical, physical = parts_of(LEAF)
    here = (logical, physical)[part]
    here[way] = to
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
