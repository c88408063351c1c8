"""The kernel's protocol byte by byte: what linux/fuse.h says, not what the code under test does."""

from __future__ import annotations

import struct

import pytest

from penstock.vfs.attributes import Attributes, FileSystemSize
from penstock.vfs.protocol import (
    ABSENT,
    Owner,
    attributes_answer,
    entry_answer,
    greeting_answer,
    listed,
    opendir_answer,
    read_request,
    reply_header,
    statfs_answer,
    wanted_xattr,
    with_background,
    xattr_size_answer,
)

FOUND = Attributes(inode=7, mode=0o100644, size=5000, blocks=10, mtime_ns=1_700_000_000_000_000_009)
OWNER = Owner(1000, 100)


def greeting(flags: int) -> bytes:
    body = struct.pack("=IIIII", 7, 45, 131072, flags, 0) + bytes(44)
    return struct.pack("=IIQQIIIHH", 40 + len(body), 26, 99, 0, 0, 0, 0, 0, 0) + body


def test_the_answer_to_the_greeting() -> None:
    answer = greeting_answer(greeting(0xFFFFFFFF))
    assert struct.unpack_from("=IiQ", answer) == (len(answer), 0, 99) == (80, 0, 99)
    major, minor, ahead, flags, background, congested, most, granularity, pages = struct.unpack_from(
        "=IIIIHHIIH", answer, 16
    )
    assert (major, minor, ahead) == (7, 45, 131072)
    assert (background, congested, most, granularity, pages) == (256, 192, 1 << 20, 1, 256)
    readdirplus, writeback, auto_invalidation, extended = 1 << 13, 1 << 16, 1 << 12, 1 << 30
    assert flags & readdirplus
    assert not flags & (writeback | auto_invalidation | extended)


def test_nothing_is_used_that_the_kernel_does_not_offer() -> None:
    assert struct.unpack_from("=I", greeting_answer(greeting(1 << 13)), 16 + 12) == (1 << 13,)


def test_limits_are_put_into_an_answer_of_libfuse() -> None:
    answer = bytes(range(80))
    found = with_background(answer)
    assert struct.unpack_from("=HH", found, 32) == (256, 192)
    assert (found[:32], found[36:]) == (answer[:32], answer[36:])


@pytest.mark.parametrize(
    ("answer", "before"), [(entry_answer(FOUND, OWNER), 40), (attributes_answer(FOUND, OWNER), 16)]
)
def test_attributes(answer: bytes, before: int) -> None:
    assert len(answer) == before + 88
    inode, size, blocks, atime, mtime, ctime = struct.unpack_from("=6Q", answer, before)
    assert (inode, size, blocks, atime, mtime, ctime) == (7, 5000, 10, *[1_700_000_000] * 3)
    rest = struct.unpack_from("=10I", answer, before + 48)
    assert rest == (9, 9, 9, 0o100644, 1, 1000, 100, 0, 1 << 20, 0)


def test_names() -> None:
    inode, generation, name_holds, attributes_hold, *_ = struct.unpack_from("=QQQQII", entry_answer(FOUND, OWNER))
    assert (inode, generation) == (7, 0)
    assert min(name_holds, attributes_hold) > 365 * 86400
    inode, _, holds = struct.unpack_from("=QQQ", ABSENT)
    assert (inode, len(ABSENT)) == (0, 128)
    assert holds > 365 * 86400


def test_times_before_1970() -> None:
    old = Attributes(inode=7, mode=0o100644, size=0, blocks=0, mtime_ns=-1)
    answer = entry_answer(old, OWNER)
    assert struct.unpack_from("=q", answer, 40 + 32) == (-1,)
    assert struct.unpack_from("=I", answer, 40 + 48) == (999_999_999,)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 255])
def test_a_listed_name_fills_a_multiple_of_eight_bytes(length: int) -> None:
    name = b"n" * length
    part = listed(name, FOUND, OWNER, 3)
    assert len(part) % 8 == 0
    assert part[:128] == entry_answer(FOUND, OWNER)
    assert struct.unpack_from("=QQII", part, 128) == (7, 3, length, 0o10)  # DT_REG
    assert part[128 + 24 :].rstrip(b"\0") == name


def test_the_rest() -> None:
    assert reply_header(5, 0, 2) == struct.pack("=IiQ", 16, -2, 5)
    assert struct.unpack("=QIi", opendir_answer(1 << 60)) == (1 << 60, 0, 0)
    assert read_request(struct.pack("=QQIIQII", 3, 1 << 40, 4096, 0, 0, 0, 0)) == (3, 1 << 40, 4096)
    assert wanted_xattr(struct.pack("=II", 64, 0) + b"user.x\0") == (64, b"user.x")
    assert struct.unpack("=II", xattr_size_answer(9)) == (9, 0)
    found = statfs_answer(FileSystemSize(4096, 11, 12))
    assert len(found) == 80
    assert struct.unpack_from("=5Q4I", found) == (11, 0, 0, 12, 0, 4096, 255, 4096, 0)
