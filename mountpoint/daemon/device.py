"""A FUSE session's descriptor, as the kernel's protocol has it (linux/fuse.h): without libfuse, without pyfuse3."""

from __future__ import annotations

import fcntl
import os
import select
import struct

__all__ = ["BACKGROUND", "amended", "can_resend", "clone", "is_disconnected", "resend"]

_DEVICE = "/dev/fuse"
_CLONE = 0x8004E500
"""FUSE_DEV_IOC_CLONE: make a fresh /dev/fuse one more descriptor of a session."""
_NOTIFY_RESEND = struct.pack("=IiQ", 16, 7, 0)
"""A fuse_out_header alone: its length, FUSE_NOTIFY_RESEND, and no request that it would answer."""
_IN_HEADER = 40
_INIT = struct.Struct("=IIIII")
"""The beginning of fuse_init_in: major, minor, max_readahead, flags, flags2."""
_INIT_EXT = 1 << 30
_OUT_HEADER = 16
_FLAGS = struct.Struct("=I")
_FLAGS_AT = _OUT_HEADER + 12
_HANDLE_KILLPRIV_V2 = 1 << 28
_LIMITS = struct.Struct("=HH")
_LIMITS_AT = _OUT_HEADER + 16
"""Where fuse_init_out has max_background and congestion_threshold: after major, minor, max_readahead, flags."""
BACKGROUND = 256
_CONGESTED = 192
_HAS_RESEND = 1 << (39 - 32)


def can_resend(greeting: bytes) -> bool:
    """Whether a kernel that sent this INIT request sends requests again when asked to (Linux 6.9)."""
    if len(greeting) < _IN_HEADER + _INIT.size:
        return False
    _, _, _, flags, more_flags = _INIT.unpack_from(greeting, _IN_HEADER)
    return bool(flags & _INIT_EXT and more_flags & _HAS_RESEND)


def amended(answer: bytes, greeting: bytes) -> bytes:
    """Return libfuse's answer to INIT, asking for more than libfuse does.

    256 requests in the background at once, instead of 12: with readers that wait for a store it makes three times the
    files a second. /sys/fs/fuse/connections, which says the same, is not mounted everywhere. What users other than root
    get is bounded by the system (`doctor`).

    And the set-user-ID bits are cleared here when a file is written (`editor`). The kernel need not look then
    for `security.capability` before each write: that is one request less for each but the first.
    """
    found = bytearray(answer)
    _LIMITS.pack_into(found, _LIMITS_AT, BACKGROUND, _CONGESTED)
    offered = _INIT.unpack_from(greeting, _IN_HEADER)[3]
    (flags,) = _FLAGS.unpack_from(found, _FLAGS_AT)
    _FLAGS.pack_into(found, _FLAGS_AT, flags | offered & _HANDLE_KILLPRIV_V2)
    return bytes(found)


def resend(descriptor: int) -> None:
    """Have the kernel send again what was read from a descriptor and not answered."""
    os.write(descriptor, _NOTIFY_RESEND)


def clone(descriptor: int) -> int:
    """Return one more descriptor of a session.

    What is read from it and not answered when it is closed ends in ECONNABORTED, and nothing else does.
    """
    made = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(made, _CLONE, struct.pack("=I", descriptor))
    except OSError:
        os.close(made)
        raise
    return made


def is_disconnected(descriptor: int) -> bool:
    """Whether the kernel has ended the session: it was unmounted, and the last file in it closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLERR alone
    return bool(poll.poll(0))
