"""Take requests from a session's descriptor and answer them, until the session is over.

What memory can answer is answered at once, between one read(2) of the device and the next: no task is made, nothing
is waited for, and the event loop is asked only when there is no request. Everything else is a task of its own.
**Invariant:** other tasks get their turn after `_STREAK` requests at the most, a millisecond.

Used by `serving`.
"""

from __future__ import annotations

import errno
import logging
import os

import trio

from .answers import Answer, Answers
from .errnos import errno_of
from .protocol import REQUEST, REQUEST_BUFFER, Opcode, reply_header

__all__ = ["answer_requests"]

_log = logging.getLogger(__name__)

_STREAK = 32
_UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Nothing is kept for an inode, so there is nothing to forget; and a read that was interrupted is carried through,
as on a disk: an answer of EINTR would reach programs that were only sent SIGALRM."""
_GONE = frozenset({errno.ENODEV, errno.ECONNABORTED})
_AGAIN = frozenset({errno.ENOENT, errno.EINTR})
"""The request was taken back while it was being read."""


async def answer_requests(device: int, answers: Answers, nursery: trio.Nursery) -> None:
    """Answer until the kernel has ended the session. Answers that take time are tasks in `nursery`."""
    os.set_blocking(device, False)
    buffer = memoryview(bytearray(REQUEST_BUFFER))
    header = REQUEST.size
    streak = 0
    while True:
        try:
            length = os.readv(device, [buffer])
        except BlockingIOError:
            await trio.lowlevel.wait_readable(device)
            streak = 0
            continue
        except OSError as error:
            if error.errno in _AGAIN:
                continue
            if error.errno in _GONE:
                return
            raise
        _, opcode, unique, inode, *_ = REQUEST.unpack_from(buffer)
        if opcode not in _UNANSWERED:
            body = buffer[header:length]
            try:
                found = answers.at_once(opcode, inode, body)
            except Exception as error:  # noqa: BLE001  # one request fails, the mount lives on
                _refuse(device, unique, errno_of(error, f"{_name(opcode)} of inode {inode}"))
            else:
                if found is not None:
                    _send(device, unique, found)
                else:
                    nursery.start_soon(_answer, device, answers, opcode, unique, inode, bytes(body))
        streak += 1
        if streak >= _STREAK:
            streak = 0
            await trio.lowlevel.checkpoint()


async def _answer(device: int, answers: Answers, opcode: int, unique: int, inode: int, body: bytes) -> None:
    try:
        found = await answers.in_time(opcode, inode, body)
    except Exception as error:  # noqa: BLE001  # as above
        _refuse(device, unique, errno_of(error, f"{_name(opcode)} of inode {inode}"))
    else:
        _send(device, unique, found)


def _send(device: int, unique: int, answer: Answer) -> None:
    _write(device, (reply_header(unique, len(answer)), answer))


def _refuse(device: int, unique: int, error: int) -> None:
    _write(device, (reply_header(unique, 0, error),))


def _write(device: int, parts: tuple[Answer, ...]) -> None:
    try:
        os.writev(device, parts)
    except OSError as error:
        # ENOENT: who asked was killed meanwhile. ENODEV: the mount is gone.
        if error.errno not in _AGAIN | _GONE:
            _log.error("an answer was not taken: %s", error.strerror)


def _name(opcode: int) -> str:
    return Opcode(opcode).name if opcode in set(Opcode) else f"opcode {opcode}"
