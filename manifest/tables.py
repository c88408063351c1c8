"""Long lists inside a leaf, kept as columns of numbers: the extents of a file, and its pages of block hashes.

A node of a few kilobytes may unpack to two million extents. As objects they would take some 300 bytes each, and every
look at the file would make them; here they take 20, and one is made when it is asked for. They are decoded a thousand
at a time, so that what decoding takes besides stays small, and other threads get their turn.

Immutable; a table compares equal to the tuple of what is in it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar, overload

import msgspec

from .entry import Extent, External, Location, PageRef
from .hashing import HASH_SIZE

__all__ = ["ExtentTable", "PageTable", "count_rows", "extent_rows", "page_rows"]

_ROWS = 1024
_T = TypeVar("_T")
_NUMBER = rb"(?:[\x00-\x7f\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1].{2}|[\xce\xd2].{4}|[\xcf\xd3].{8})"
_HASH = rb"\xc4\x20.{32}"
_EXTENTS = re.compile(rb"(?:\x93%b{3}){1,%d}" % (_NUMBER, _ROWS), re.DOTALL)
_PAGES = re.compile(rb"(?:\x95%b%b{3}%b){1,%d}" % (_HASH, _NUMBER, _HASH, _ROWS), re.DOTALL)
_extent_decoder = msgspec.msgpack.Decoder(list[tuple[int, int, int]])
_page_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, int, int, int, bytes]])


def _header(raw: memoryview) -> tuple[int, int]:
    """Return how many elements an array says that it has, and where they begin."""
    first = raw[0] if len(raw) else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F, 1
    width = {0xDC: 2, 0xDD: 4}.get(first)
    if width is None or len(raw) <= width:
        raise msgspec.DecodeError("a list of extents or pages is none")
    return int.from_bytes(raw[1 : 1 + width], "big"), 1 + width


def count_rows(raw: msgspec.Raw) -> int:
    """Return how many rows there are, without decoding them. msgspec.DecodeError: it is no array."""
    return _header(memoryview(raw))[0]


def _decode(
    raw: msgspec.Raw, form: re.Pattern[bytes], decoder: msgspec.msgpack.Decoder[list[_T]]
) -> Iterator[list[_T]]:
    view = memoryview(raw)
    left, at = _header(view)
    while left:
        count = min(left, _ROWS)
        fits = form.match(view, at)
        if fits is None:
            raise msgspec.DecodeError("an extent or a page is none")
        # Fewer than there should be are found by the decoder.
        yield decoder.decode(b"\xdc" + count.to_bytes(2, "big") + view[at : fits.end()])
        left -= count
        at = fits.end()


def extent_rows(raw: msgspec.Raw) -> Iterator[list[tuple[int, int, int]]]:
    """Decode extents: index of the object, offset, length of each. msgspec.DecodeError: they are none."""
    return _decode(raw, _EXTENTS, _extent_decoder)


def page_rows(raw: msgspec.Raw) -> Iterator[list[tuple[bytes, int, int, int, bytes]]]:
    """Decode pages: hash, index of the pack, offset, length, digest of each. msgspec.DecodeError: they are none."""
    return _decode(raw, _PAGES, _page_decoder)


class _Table(Sequence[_T]):
    """What both kinds of tables have of a sequence."""

    __slots__ = ()

    def _at(self, index: int) -> _T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_T, ...]: ...
    def __getitem__(self, index: int | slice) -> _T | tuple[_T, ...]:
        chosen = range(len(self))[index]
        return self._at(chosen) if isinstance(chosen, int) else tuple(map(self._at, chosen))

    def __iter__(self) -> Iterator[_T]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple | _Table):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class ExtentTable(_Table[Extent]):
    """The extents of a file. `objects` are what their numbers stand for."""

    __slots__ = ("_ends", "_numbers", "_objects", "_offsets")

    def __init__(self, objects: Sequence[bytes | tuple[str, str | None, str | None]]) -> None:
        self._objects = objects
        self._numbers = array("I")
        self._offsets = array("q")
        self._ends = array("q")  # in the file

    def extend(self, numbers: Sequence[int], offsets: Sequence[int], lengths: Sequence[int]) -> None:
        """Add extents behind the last one: only while the table is made."""
        self._numbers.extend(numbers)
        self._offsets.extend(offsets)
        ends = accumulate(lengths, initial=self.size)
        next(ends)
        self._ends.extend(ends)

    @property
    def size(self) -> int:
        """Bytes of the file that the extents cover."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, index: int) -> Extent:
        found = self._objects[self._numbers[index]]
        start = self.start(index)
        return Extent(
            found if isinstance(found, bytes) else External(*found), self._offsets[index], self._ends[index] - start
        )

    def start(self, index: int) -> int:
        """Return where in the file an extent begins."""
        return self._ends[index - 1] if index else 0

    def holding(self, position: int) -> int:
        """Return the index of the extent that a byte of the file lies in; `len(self)` behind the last."""
        return bisect_right(self._ends, position)


class PageTable(_Table[PageRef]):
    """The pages of a file. `packs` are the node packs that their numbers stand for."""

    __slots__ = ("_digests", "_hashes", "_lengths", "_numbers", "_offsets", "_packs")

    def __init__(self, packs: Sequence[bytes]) -> None:
        self._packs = packs
        self._hashes = bytearray()
        self._digests = bytearray()
        self._numbers = array("I")
        self._offsets = array("q")
        self._lengths = array("I")

    def extend(self, rows: Sequence[tuple[bytes, int, int, int, bytes]]) -> None:
        """Add pages behind the last one: only while the table is made."""
        hashes, numbers, offsets, lengths, digests = zip(*rows, strict=True)
        self._hashes += b"".join(hashes)
        self._digests += b"".join(digests)
        self._numbers.extend(numbers)
        self._offsets.extend(offsets)
        self._lengths.extend(lengths)

    @property
    def hashes(self) -> bytes:
        """The hashes of all pages, joined."""
        return bytes(self._hashes)

    def __len__(self) -> int:
        return len(self._numbers)

    def _at(self, index: int) -> PageRef:
        mine = slice(index * HASH_SIZE, (index + 1) * HASH_SIZE)
        where = Location(
            self._packs[self._numbers[index]], self._offsets[index], self._lengths[index], bytes(self._digests[mine])
        )
        return PageRef(bytes(self._hashes[mine]), where)
