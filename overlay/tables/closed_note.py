"""A note beside the tables of how their file was when it was closed: with it, damage since is found at 4 GB/s.

It holds BLAKE3 of data.mdb. Who opens the tables removes it, durably, before anything is written; so where there is
one, nobody has had them open since, and the file is what it says or was damaged. A note that is damaged itself is none.
"""

from __future__ import annotations

import os
from contextlib import suppress

from blake3 import blake3

__all__ = ["forget_closed", "is_as_closed", "note_closed", "was_closed"]

_NAME = "closed"
_MAGIC = b"penstock closed 1\n"
_PIECE = 1 << 20


def note_closed(path: str) -> None:
    """Note how the tables in the directory `path` are; nobody has them open. Where that fails, there is no note."""
    with suppress(OSError), open(os.path.join(path, _NAME), "xb", opener=_private) as stream:
        stream.write(_note(path))
        stream.flush()
        os.fsync(stream.fileno())


def is_as_closed(path: str) -> bool:
    """Whether the tables in `path` are as they were closed. OSError: their file cannot be read."""
    try:
        with open(os.path.join(path, _NAME), "rb") as stream:
            return stream.read(len(_MAGIC) + blake3.digest_size + 1) == _note(path)
    except FileNotFoundError:
        return False


def was_closed(path: str) -> bool:
    """Whether nobody has had the tables in `path` open since they were closed, damaged or not."""
    return os.path.exists(os.path.join(path, _NAME))


def forget_closed(path: str) -> None:
    """Remove the note, before the tables are changed. Durable when the directory is synced. OSError."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(path, _NAME))


def _note(path: str) -> bytes:
    digest = blake3()
    with open(os.path.join(path, "data.mdb"), "rb", buffering=0) as stream:
        # Not mapped: a page that the disk cannot read would be a SIGBUS.
        while part := stream.read(_PIECE):
            digest.update(part)
    return _MAGIC + digest.digest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
