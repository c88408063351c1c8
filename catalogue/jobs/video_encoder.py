"""Re-encodes a video in a process of its own, which may hang, grow or crash as it likes: this one goes on.

The process is killed when it says nothing for a while, when the work is not wanted any more, or when the result grows
beyond all reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import msgspec

from penstock.catalogue.rows.probe_messages import Unknown, read_message, write_message

from .encode_messages import Encode, Encoded, EncodeReply, Frames

__all__ = ["encode_video"]

_SILENCE = 180.0
"""Seconds in which something has to be asked or told."""
_LEAST_RESULT = 1 << 30
_GROWTH = 32
_GONE = "the process that encodes it was killed, or took too long"


def encode_video(
    size: int,
    fetch: Callable[[int, int], bytes],
    path: str,
    told: Callable[[int], None],
    *,
    silence: float = _SILENCE,
) -> Encoded | Unknown:
    """Encode a file of `size` bytes, which `fetch` gives by offset and length, into a new file at `path`.

    `told` is called with the number of frames; what it and `fetch` raise ends the work.
    """
    most = max(_LEAST_RESULT, size * _GROWTH)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.catalogue.jobs.encode_child", str(most)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            pass_fds=[descriptor],
            start_new_session=True,
        )
        try:
            return _talk(child, Encode(size, descriptor), fetch, told, silence)
        finally:
            child.kill()
            child.communicate()
    finally:
        os.close(descriptor)


def _talk(
    child: subprocess.Popen[bytes],
    question: Encode,
    fetch: Callable[[int, int], bytes],
    told: Callable[[int], None],
    silence: float,
) -> Encoded | Unknown:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        write_message(child.stdin, question)
        while True:
            late = threading.Timer(silence, child.kill)
            late.daemon = True
            late.start()
            try:
                said: EncodeReply | None = read_message(child.stdout, EncodeReply)
            finally:
                late.cancel()
            if said is None:
                return Unknown(_GONE)
            if isinstance(said, Encoded | Unknown):
                return said
            if isinstance(said, Frames):
                told(said.count)
                continue
            if not 0 <= said.offset <= question.size or not 0 <= said.length <= 1 << 24:
                return Unknown("the process that encodes it asks for what there is not")
            told(0)
            write_message(child.stdin, fetch(said.offset, said.length))
    except (BrokenPipeError, msgspec.DecodeError):
        return Unknown(_GONE)
