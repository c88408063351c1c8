"""How much memory this process may use, and how it is divided among what is on its way.

A container has a limit of its own (a control group's), and a process that goes beyond it is killed without a word. So
the bounds on bytes that are read ahead, being sent or being fetched follow the smallest limit that holds here: with
less memory a push or a mount is slower. `limit_of` and `Shares.of` are pure; `shares` looks once a process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Shares", "limit_of", "shares"]

MIB = 1 << 20
_PROGRAM = 112 * MIB
"""What the interpreter, its libraries and what is bounded elsewhere take in the processes of a command or a mount."""
_LEAST = 8 * MIB
_AMPLE = 1024 * MIB
"""Below this the C library is told to give memory back at once, which costs time."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@dataclass(frozen=True, slots=True)
class Shares:
    """Bounds in bytes: files read ahead, objects being sent, regions being fetched, the object being put together."""

    reading: int
    sending: int
    fetching: int
    packing: int

    @classmethod
    def of(cls, limit: int | None) -> Shares:
        """Divide what `limit` leaves; None: there is none."""
        spare = max(0, limit - _PROGRAM) if limit is not None else 1 << 62

        def part(most: int, divisor: int) -> int:
            return min(most, max(_LEAST, spare // divisor))

        return cls(
            reading=part(128 * MIB, 6),
            sending=part(256 * MIB, 3),
            fetching=part(128 * MIB, 8),
            packing=part(32 * MIB, 8) // MIB * MIB,
        )


def limit_of(groups: str, mounts: str, read: Callable[[str], str | None]) -> int | None:
    """Return the smallest limit in bytes, of this process's control group and of those around it; None: none has one.

    `groups` and `mounts` are what /proc/self/cgroup and /proc/self/mountinfo say, `read` returns what is in a file.
    """
    limits: list[int] = []
    names: tuple[str, ...]
    for line in groups.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            kind, option, names = "cgroup2", "", ("memory.max", "memory.high")
        elif "memory" in controllers.split(","):
            kind, option, names = "cgroup", "memory", ("memory.limit_in_bytes",)
        else:
            continue
        for folder in _folders(mounts, kind, option, path):
            # "max" is no number, and version 1 says 2^63 less a page.
            found = [int(text) for name in names if (text := (read(f"{folder}/{name}") or "").strip()).isdecimal()]
            limits += [limit for limit in found if limit < 1 << 62]
    return min(limits, default=None)


def _folders(mounts: str, kind: str, option: str, path: str) -> Iterator[str]:
    """Yield the folder of a control group and of each one around it, as far as this mount namespace shows them."""
    for line in mounts.splitlines():
        fields, _, tail = line.partition(" - ")
        kind_of, _, rest = tail.partition(" ")
        if kind_of != kind or (option and option not in rest.rpartition(" ")[2].split(",")):
            continue
        root, top = fields.split(" ")[3:5]
        # In a container the mount may begin at the container's own group, and the path as well or not.
        below = path[len(root) :] if root != "/" and (path + "/").startswith(root.rstrip("/") + "/") else path
        names = [name for name in below.split("/") if name]
        if ".." in names:
            names = []
        for depth in range(len(names), -1, -1):
            yield "/".join([top.rstrip("/"), *names[:depth]])
        return


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


@lru_cache(1)
def shares() -> Shares:
    """Return the bounds of this process; where memory is scarce its C library is told to keep none back."""
    limit = limit_of(_read("/proc/self/cgroup") or "", _read("/proc/self/mountinfo") or "", _read)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = min(limit, memory) if limit is not None else memory
    if limit < _AMPLE:
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # the GNU C library's
            for option, value in ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, MIB), (_M_TRIM_THRESHOLD, MIB)):
                library.mallopt(option, value)
    return Shares.of(limit)
