"""Frames: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from trees.forge import bomb, raw_frame
from trees.strategies import quick

from penstock.errors import FormatTooNewError, IntegrityError, UsageError
from penstock.manifest.codec import decode_page, encode_page
from penstock.manifest.entry import PAGE_BLOCKS
from penstock.manifest.frame import (
    FRAME_INDEX,
    FRAME_LEAF,
    FRAME_PAGE,
    MAX_CONTENT,
    MAX_FRAME,
    decode_frame,
    encode_frame,
    frames_around,
)
from penstock.manifest.hashing import page_hash

_kinds = st.sampled_from([FRAME_LEAF, FRAME_INDEX, FRAME_PAGE])


@quick
@given(_kinds, st.binary(max_size=200), st.sampled_from([1, 40]))
def test_a_frame_unpacks_to_what_was_packed(kind: int, content: bytes, times: int) -> None:
    frame = encode_frame(kind, content * times)
    assert decode_frame(frame) == (kind, content * times)
    assert decode_frame(memoryview(frame)) == (kind, content * times)
    assert frame[:4] == b"PSN1"
    assert int.from_bytes(frame[-4:], "little") == len(frame)


@quick
@given(_kinds, st.binary(max_size=40))
def test_a_truncated_frame_is_refused_at_every_length(kind: int, content: bytes) -> None:
    frame = encode_frame(kind, content)
    for length in range(len(frame)):
        with pytest.raises(IntegrityError):
            decode_frame(frame[:length])
    with pytest.raises(IntegrityError):
        decode_frame(frame + b"\0")


@quick
@given(_kinds, st.binary(max_size=40))
def test_a_flipped_bit_never_raises_anything_unexpected(kind: int, content: bytes) -> None:
    frame = encode_frame(kind, content)
    for bit in range(len(frame) * 8):
        bad = bytearray(frame)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            decode_frame(bytes(bad))
        except IntegrityError:
            continue
        assert bit // 8 == 4 or bit // 8 >= 16  # another type, or the body: what a digest is there for


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_an_error(junk: bytes) -> None:
    for frame in (junk, raw_frame(0, junk), raw_frame(1, junk, 1 << 20), raw_frame(2, junk), b"PSN1" + junk):
        try:
            kind, content = decode_frame(frame)
        except IntegrityError:
            continue
        assert (kind, content) == (2, junk) or (zstandard.frame_content_size(junk) == len(content))


def test_a_later_format_is_named_as_such() -> None:
    with pytest.raises(FormatTooNewError, match="Upgrade"):
        decode_frame(b"PSN4" + encode_frame(0, b"x")[4:])


def test_an_unknown_type_is_refused() -> None:
    for frame in (raw_frame(3, b""), raw_frame(255, b""), raw_frame(2, b"")[:5] + b"\1" + raw_frame(2, b"")[6:]):
        with pytest.raises(IntegrityError, match="unknown type"):
            decode_frame(frame)


def test_what_the_writer_takes_the_reader_takes() -> None:
    noise = b"".join(encode_page(number.to_bytes(32, "big"))[0] for number in range(1 << 11))
    largest = (noise * (MAX_CONTENT // len(noise) + 1))[:MAX_CONTENT]
    for kind in (FRAME_LEAF, FRAME_PAGE):
        frame = encode_frame(kind, largest)
        assert len(frame) <= MAX_FRAME
        assert decode_frame(frame) == (kind, largest)
    with pytest.raises(UsageError, match="too many pieces"):
        encode_frame(FRAME_LEAF, largest + b"x")


def test_noise_that_cannot_be_compressed_still_fits() -> None:
    noise = random.Random(1).randbytes(MAX_CONTENT)
    frame = encode_frame(FRAME_LEAF, noise)
    assert len(frame) > MAX_CONTENT
    assert len(frame) <= MAX_FRAME


def test_two_streams_in_one_body_are_refused() -> None:
    one = zstandard.ZstdCompressor().compress(b"abc")
    for tail in (one, b"junk", b"\x50\x2a\x4d\x18\x00\x00\x00\x00"):
        with pytest.raises(IntegrityError, match="corrupt"):
            decode_frame(raw_frame(0, one + tail, 3))


def test_a_body_without_its_length_is_refused() -> None:
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc")
    with pytest.raises(IntegrityError, match="lengths differ"):
        decode_frame(raw_frame(0, stream, 3))


def test_a_body_that_unpacks_to_less_than_it_says_is_refused() -> None:
    stream = bytearray(zstandard.ZstdCompressor().compress(b"a" * 200))
    assert zstandard.frame_content_size(bytes(stream)) == 200
    stream[stream.index(200)] = 199
    with pytest.raises(IntegrityError, match="corrupt"):
        decode_frame(raw_frame(0, bytes(stream), 199))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    body = bomb(64 << 20)
    assert len(body) < 10_000
    script = f"""
from penstock.errors import IntegrityError
from penstock.manifest.frame import decode_frame
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
base = peak()
for body in {[raw_frame(0, body, 64 << 20), raw_frame(0, body, 16 << 20), raw_frame(0, body, 0)]!r}:
    try:
        decode_frame(body)
    except IntegrityError as error:
        print(error.why)
grown = peak() - base
assert grown < 8 << 10, grown
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "it says it unpacks to 67108864 bytes",
        "its two content lengths differ",
        "its two content lengths differ",
    ]


# Frames side by side in a window of a pack.


@quick
@given(
    st.lists(st.binary(max_size=30), min_size=1, max_size=6),
    st.integers(0, 5),
    st.binary(max_size=30),
    st.binary(max_size=30),
)
def test_whole_frames_around_one_are_found(contents: list[bytes], which: int, before: bytes, behind: bytes) -> None:
    frames = [encode_frame(FRAME_PAGE, content) for content in contents]
    window = before + b"".join(frames) + behind
    starts = [len(before) + sum(map(len, frames[:number])) for number in range(len(frames))]
    wanted = {(start, len(frame)) for start, frame in zip(starts, frames, strict=True)}
    found = list(frames_around(window, starts[which % len(starts)]))
    assert found[0] == (starts[which % len(starts)], len(frames[which % len(starts)]))
    assert wanted <= set(found)
    for at, length in found:
        assert at >= 0
        assert at + length <= len(window)
        assert window[at : at + 4] == b"PSN1"


@quick
@given(st.binary(max_size=120), st.integers(0, 140), st.binary(max_size=40))
def test_junk_around_ends_the_search(junk: bytes, at: int, content: bytes) -> None:
    frame = encode_frame(FRAME_PAGE, content)
    for window in (junk, b"PSN1" + junk, frame[:-1] + junk, junk + frame[1:], junk + frame[3:]):
        position = min(at, len(window))
        for start, length in frames_around(memoryview(window), position):
            assert length >= 20
            assert start >= 0
            assert start + length <= len(window)


def test_a_window_cut_inside_a_frame() -> None:
    frames = [encode_frame(FRAME_PAGE, bytes(32) * number) for number in range(1, 5)]
    pack = b"".join(frames)
    edges = [0]
    for frame in frames:
        edges.append(edges[-1] + len(frame))
    for low in range(edges[1] + 1):
        for high in range(edges[3], edges[4]):
            found = {at + low for at, _ in frames_around(pack[low:high], edges[2] - low)}
            assert found == {edge for edge in edges[:4] if edge >= low and edge < edges[3]}


# Pages.


@pytest.mark.parametrize("count", [1, 2, PAGE_BLOCKS])
def test_a_page_comes_back(count: int) -> None:
    hashes = bytes(range(32)) * count
    digest, frame = encode_page(hashes)
    assert digest == page_hash(hashes)
    assert decode_page(frame, digest) == decode_page(frame, digest, count) == hashes
    with pytest.raises(IntegrityError, match="too few or too many"):
        decode_page(frame, digest, count + 1)
    with pytest.raises(IntegrityError, match="not the one"):
        decode_page(frame, page_hash(bytes(32)))


@pytest.mark.parametrize("content", [b"", b"x", bytes(31), bytes(33), bytes(32 * PAGE_BLOCKS + 32)])
def test_a_page_of_another_shape_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError, match="wrong shape"):
        decode_page(encode_frame(FRAME_PAGE, content), page_hash(content))
    with pytest.raises(IntegrityError, match="wrong shape"):
        decode_page(encode_frame(FRAME_LEAF, bytes(32)), page_hash(bytes(32)))
