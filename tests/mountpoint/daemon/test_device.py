"""What is made of libfuse's answer to the kernel's greeting."""

from __future__ import annotations

import struct

import pytest

from penstock.mountpoint.daemon.device import amended

KILLPRIV_V2 = 1 << 28
OTHERS = 1 << 13 | 1 << 5


def greeting(flags: int) -> bytes:
    """Return an INIT request: the header, of which nothing is looked at, and major, minor, read-ahead, flags, more."""
    return bytes(40) + struct.pack("=IIIII", 7, 40, 1 << 17, flags, 0) + bytes(44)


def answer(flags: int) -> bytes:
    """Return what libfuse answers: header, major, minor, read-ahead, flags, limits, and what follows."""
    return struct.pack("=IiQ", 80, 0, 2) + struct.pack("=IIIIHH", 7, 38, 1 << 17, flags, 12, 9) + bytes(range(40))


@pytest.mark.parametrize("offered", [0, KILLPRIV_V2, OTHERS, OTHERS | KILLPRIV_V2])
def test_only_what_the_kernel_offers_is_asked_for(offered: int) -> None:
    found = amended(answer(OTHERS), greeting(offered))
    fields = struct.unpack_from("=IIIIHH", found, 16)
    assert fields == (7, 38, 1 << 17, OTHERS | offered & KILLPRIV_V2, 256, 192)
    assert found[:16] == answer(OTHERS)[:16]
    assert found[40:] == answer(OTHERS)[40:]
