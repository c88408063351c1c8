"""A FUSE session that outlives the process that serves it.

libfuse takes a session from its INIT request on, and the kernel sends that only once. So INIT is read here, kept, and
handed to libfuse through a socket in the place of the device, in the first process as in every later one; the first
one passes libfuse's answer on to the kernel. Then the device takes the socket's place. All processes run the same
libfuse on the same request, so all agree with the kernel on the same protocol.

pyfuse3 has one session a process.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

import pyfuse3
import trio

from penstock.mountpoint.daemon.device import amended, can_resend, clone
from penstock.mountpoint.preflight import mount_failure

from .operations import FuseOperations

__all__ = ["attach", "mount", "read_greeting"]

_MOST_REQUEST = 1 << 20
_DEVICE = "/dev/fuse"


def mount(mountpoint: str, options: set[str]) -> int:
    """Have the kernel mount; return the session's descriptor. Closing it, and all copies of it, ends the session.

    AccessError, PenstockError: refused; libfuse and fusermount3 give their reasons on standard error only.
    """
    sys.stderr.flush()
    before = os.dup(2)
    told = os.memfd_create("libfuse")
    try:
        os.dup2(told, 2)
        try:
            pyfuse3.init(pyfuse3.Operations(), mountpoint, options)  # they are never asked
        finally:
            os.dup2(before, 2)
    except RuntimeError as error:
        reasons = os.pread(told, 4096, 0).decode("utf-8", "replace")
        raise mount_failure(mountpoint, reasons) from error
    finally:
        os.close(before)
        os.close(told)
    descriptor = os.dup(_find_device())
    pyfuse3.close(unmount=False)
    return descriptor


def _find_device() -> int:
    """Return the descriptor of libfuse's session: pyfuse3 does not say it."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them is gone
            if os.readlink(f"/proc/self/fd/{name}") == _DEVICE:
                return int(name)
    raise AssertionError("a session without a descriptor")


def read_greeting(descriptor: int) -> bytes:
    """Return the INIT request of a session that has just been mounted."""
    return os.read(descriptor, _MOST_REQUEST)


async def attach(
    operations: FuseOperations, options: set[str], descriptor: int, greeting: bytes, *, answer: bool
) -> int:
    """Make pyfuse3 serve a session that is mounted; `answer`: the kernel waits for the answer to its greeting.

    Takes over `descriptor` and returns the one that pyfuse3 reads from. `pyfuse3.close` closes it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        place = theirs.detach()
        pyfuse3.init(operations, f"/dev/fd/{place}", options)
        ours.send(greeting)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main, 1, 1)
            await operations.initialized.wait()
            nursery.cancel_scope.cancel()
        reply = ours.recv(_MOST_REQUEST)
    if answer:
        os.write(descriptor, amended(reply, greeting))  # on the descriptor that the greeting came by
    if not can_resend(greeting):
        # From now on by one of its own: what this process leaves unanswered fails with it, rather than hang for ever.
        own = clone(descriptor)
        os.close(descriptor)
        descriptor = own
    os.dup2(descriptor, place, inheritable=False)
    os.close(descriptor)
    return place
