"""Segments mapped into this process: bounded in number, handed out without copying.

Unlinking a mapped file is safe: views that were handed out keep its bytes until the last of them is gone. What a
mapping must never be is longer than its file, and its pages must be readable: touching one that is not ends the
process. So every block is faulted in by the kernel, which reports what it cannot read, before anyone looks at it.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import threading

from .directory import CacheDirectory
from .record import RECORD_HEADER_BYTES, names_block
from .segment import read_header

__all__ = ["MappedSegment", "SegmentMaps"]

_MOST_MAPS = 1024
_POPULATE_READ = 22
"""MADV_POPULATE_READ (Linux 5.14), for which Python 3.11 has no name."""


class MappedSegment:
    """A mapping; `view` is None once it was given up. `hit`: a block was read since the marks were collected."""

    __slots__ = ("_memory", "hit", "number", "view")

    def __init__(self, number: int, memory: mmap.mmap) -> None:
        self.number = number
        self.hit = False
        self.view: memoryview | None = memoryview(memory)
        self._memory: mmap.mmap | None = memory

    def block(self, offset: int, length: int) -> memoryview | None:
        """Return the bytes, all of them and their header readable; None when there are none, or the disk fails."""
        view, memory = self.view, self._memory
        begin = offset - RECORD_HEADER_BYTES
        if view is None or memory is None or begin < 0 or offset + length > len(view):
            return None
        start = begin // mmap.PAGESIZE * mmap.PAGESIZE
        try:
            memory.madvise(mmap.MADV_WILLNEED, start, offset + length - start)
            memory.madvise(_POPULATE_READ, start, offset + length - start)
        except OSError as error:
            # Kernels before 5.14 do not know the advice, and there a failing disk is not survived.
            if error.errno != errno.EINVAL:
                return None
        return view[offset : offset + length]

    def names(self, key: bytes, offset: int, length: int) -> bool:
        """Whether the header of what `block` returned has this key and length."""
        view = self.view
        return view is not None and names_block(view[offset - RECORD_HEADER_BYTES : offset], key, length)

    def give_up(self) -> None:
        """Drop the mapping; it goes when the last view handed out does."""
        self.view = self._memory = None


class SegmentMaps:
    """The mappings of one process, least recently looked-up first. Thread-safe."""

    def __init__(self, directory: CacheDirectory) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._maps: dict[int, MappedSegment] = {}
        # Python keeps a descriptor for each mapping: leave three quarters of what the process may have.
        self._limit = max(16, min(_MOST_MAPS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))

    def get(self, number: int) -> MappedSegment | None:
        """Return the mapping of a segment, or None when there is no such segment (any more)."""
        with self._lock:
            mapped = self._maps.pop(number, None)
            if mapped is None:
                mapped = self._map(number)
                if mapped is None:
                    return None
            self._maps[number] = mapped
            if len(self._maps) > self._limit:
                self._maps.pop(next(iter(self._maps))).give_up()
            return mapped

    def drop(self, number: int) -> None:
        """Give up the mapping of a segment that was evicted."""
        with self._lock:
            mapped = self._maps.pop(number, None)
        if mapped is not None:
            mapped.give_up()

    def keep_only(self, alive: set[int]) -> None:
        """Give up the mappings of segments that are gone, whose bytes would stay on disk as long as they are mapped."""
        with self._lock:
            gone = [number for number in self._maps if number not in alive]
        for number in gone:
            self.drop(number)

    def take_hits(self) -> list[int]:
        """Return the segments read since the last call."""
        with self._lock:
            hits = [mapped for mapped in self._maps.values() if mapped.hit]
            for mapped in hits:
                mapped.hit = False
        return [mapped.number for mapped in hits]

    def _map(self, number: int) -> MappedSegment | None:
        descriptor = self._directory.open_segment(number)
        if descriptor is None:
            return None
        try:
            header = read_header(descriptor)
            if header is None or header.number != number:
                return None
            size = os.fstat(descriptor).st_size
            return MappedSegment(number, mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
