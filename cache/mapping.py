"""Segments mapped into this process: bounded in number, handed out without copying.

Unlinking a mapped file is safe: views that were handed out keep its bytes until the last of them is gone. What a
mapping must never be is longer than its file, and its pages must be readable: touching one that is not ends the
process. So every block is faulted in by the kernel, which reports what it cannot read, before anyone looks at it.

A block that was hashed is what it was while its pages stay in memory and nobody writes to the file. Pages that were
given back come from the disk again, which may have failed since, or hold other bits: `MappedSegment.unchanged` tells.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import threading
import time
from collections.abc import Callable

from .cache_directory import CacheDirectory
from .record import RECORD_HEADER_BYTES, names_block
from .segment import read_header

__all__ = ["MappedSegment", "SegmentMaps"]

_MOST_MAPS = 1024
_POPULATE_READ = 22
"""MADV_POPULATE_READ (Linux 5.14), for which Python 3.11 has no name."""
_LOOK_SECONDS = 0.05
"""How long a segment is believed not to have been written to, without a look at its time."""


class MappedSegment:
    """A mapping; `view` is None once it was given up. `hit`: a block was read since the marks were collected."""

    __slots__ = ("_address", "_look_at", "_memory", "_modified", "_when_modified", "hit", "number", "view")

    def __init__(self, number: int, memory: mmap.mmap, modified: int, when_modified: Callable[[], int | None]) -> None:
        """Hold a mapping of a file; `modified` is its time, in ns, before that, `when_modified` asks for it again."""
        self.number = number
        self.hit = False
        self.view: memoryview | None = memoryview(memory)
        self._memory: mmap.mmap | None = memory
        self._address = _address(memory)
        self._modified = modified
        self._when_modified = when_modified
        self._look_at = 0.0

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

    def unchanged(self, start: int, end: int) -> bool:
        """Whether bytes that were hashed here are still those: neither read from the disk anew nor written to.

        False also gives up a mapping whose file was written to, as the one that is being filled is all the time: what
        is in it is then hashed once more. Takes 2 us for a MiB.
        """
        now = time.monotonic()
        if now > self._look_at:
            self._look_at = now + _LOOK_SECONDS
            if self._when_modified() != self._modified:
                self.give_up()
                return False
        first = start // mmap.PAGESIZE
        pages = -(-end // mmap.PAGESIZE) - first
        found = ctypes.create_string_buffer(pages)
        return (
            _mincore(self._address + first * mmap.PAGESIZE, end - first * mmap.PAGESIZE, found) == 0
            and found.raw.count(1) == pages
        )


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
            old = mapped = self._maps.pop(number, None)
            if mapped is None or mapped.view is None:
                mapped = self._map(number)
                if mapped is None:
                    return None
                mapped.hit = old is not None and old.hit
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
            facts = os.fstat(descriptor)
            memory = mmap.mmap(descriptor, facts.st_size, access=mmap.ACCESS_READ)
            return MappedSegment(number, memory, facts.st_mtime_ns, lambda: self._directory.modified(number))
        finally:
            os.close(descriptor)


class _Buffer(ctypes.Structure):
    """Python's own `Py_buffer`: the one way to learn where a mapping that may only be read lies."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_mincore = ctypes.PyDLL(None).mincore  # it takes a microsecond: not worth letting other threads in
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)


def _address(memory: mmap.mmap) -> int:
    found = _Buffer()
    _get_buffer(memory, ctypes.byref(found), 0)
    address = found.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(found))
    assert address is not None
    return int(address)
