"""What processes leave behind that crash while they use the cache: the sign that its index may be damaged.

LMDB checks no page, and a damaged or shortened one ends the process that follows it (SIGSEGV, SIGBUS, SIGABRT), which
nothing in that process can prevent. So the programs of Penstock have the interpreter write to a file in the cache
directory as they crash (Python's faulthandler). Whoever opens the index next finds more in that file than there was
when the index was last believed in, and makes a new one from the segments (`index_state`). A library must not touch
signals: programs call `note_crashes`, nobody else.
"""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path

from penstock.errors import AccessError, UsageError

from .cache_directory import prepare_directory

__all__ = ["crash_bytes", "note_crashes"]

_MOST = 256 << 10
_open: list[int] = []
"""The descriptor that is written to in a crash: open for as long as the process lives."""


def note_crashes(directory: Path) -> None:
    """Have this process write down in the cache `directory` that it crashes, if that is one to be used."""
    root = os.path.abspath(directory)
    try:
        prepare_directory(root)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(os.path.join(root, "crashes"), flags, 0o600)
        if os.fstat(descriptor).st_size > _MOST:
            os.ftruncate(descriptor, 0)
    except (OSError, AccessError, UsageError):
        return
    faulthandler.enable(descriptor, all_threads=False)
    for before in _open:
        os.close(before)
    _open[:] = [descriptor]


def crash_bytes(root: str) -> int:
    """Return how much was written down in the cache directory `root` so far."""
    try:
        return os.lstat(os.path.join(root, "crashes")).st_size
    except FileNotFoundError:
        return 0
