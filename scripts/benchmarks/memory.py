"""How much memory a mount takes: all of its processes, sampled while it is in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "MemoryWatch", "family"]

_EVERY = 0.3
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes. `total` is proportional set size: of pages shared by n processes each has 1/n.

    `own` is the part that is no file's: what cannot be dropped and read again. The cache's mapped files are in `total`.
    """

    total: float = 0.0
    own: float = 0.0


class MemoryWatch:
    """Keeps the most that was ever seen, and during which row."""

    def __init__(self) -> None:
        self.most_total = Memory()
        self.most_own = Memory()
        self.total_in = self.own_in = ""
        self.row = ""

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Sample a process and its descendants until the block ends."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(_EVERY):
                self._take(pid)

        thread = threading.Thread(target=sample, name="memory watch")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _take(self, pid: int) -> None:
        parts = [_memory_of(each) for each in family(pid)]
        seen = Memory(sum(part.total for part in parts), sum(part.own for part in parts))
        if seen.total > self.most_total.total:
            self.most_total, self.total_in = seen, self.row
        if seen.own > self.most_own.own:
            self.most_own, self.own_in = seen, self.row


def family(pid: int) -> list[int]:
    """Return the ids of a process and of its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            # The name, in parentheses, may hold anything.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    family = [pid]
    for each in family:
        family += children.get(each, [])
    return family


def _memory_of(pid: int) -> Memory:
    sizes = {}
    with suppress(OSError):  # it has ended meanwhile
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size = line.split()[:2]
            sizes[name] = int(size) * 1024 / _MB
    return Memory(sizes.get("Pss:", 0.0), sizes.get("Pss_Anon:", 0.0) + sizes.get("Pss_Shmem:", 0.0))
