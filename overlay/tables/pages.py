"""The pages of the tables' file, read without LMDB: it trusts what it reads, and ends the process over a damaged page.

Every number is checked before it is followed, no page is looked at twice, and what is wrong is told in words. What can
be read is yielded all the same. Takes some microseconds a record.

The format is that of LMDB 0.9 on 64-bit little-endian machines: two meta pages, of which the one with the greater
transaction counts; a tree of the names of tables, and one for each table; a tree of the pages that are free. A *stray*
is a page that is neither free nor reached: it hung on a page that is damaged. Its records tell by their checksums
(`checksum`) to which table they belong.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain
from types import TracebackType
from typing import NamedTuple, Self
from zlib import crc32

import msgspec

from .checksum import CHECKSUM_BYTES, MODULUS, SEEDS, WHOLE, Tally, checksum_of, is_whole
from .damage_log import record_text
from .schema import TABLES
from .table_format import FORMAT_KEY, UNCHECKED_FORMATS, is_damaged_format

__all__ = ["Pages", "Stored"]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<16xIIQQ48s48sQQ")
_TREE = struct.Struct("<IHHQQQQQ")
_HEADER = struct.Struct("<QHHHH")
_NODE = struct.Struct("<HHHH")
_NUMBER = struct.Struct("<Q")
_PLACE = struct.Struct("<H")
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG, _SUBTREE = 1, 2
_NONE = (1 << 64) - 1
_SIZES = frozenset(1 << bits for bits in range(9, 17))
_MOST_DEPTH = 32


Stored = tuple[bytes, bytes, bool]
"""Key, value as it is stored, and whether the two match their checksum: always where the format has none."""


class _Kind(Enum):
    RECORDS, TABLES, FREE = range(3)


_RECORDS, _TABLES, _FREE = _Kind


class _Tree(NamedTuple):
    root: int
    depth: int
    entries: int


class Pages:
    """The file data.mdb in a directory. A context manager. OSError: it cannot be read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._pages = 0
        self._size = 4096
        self._faults: list[str] = []
        self._used = bytearray()
        self._free_is_known = True
        self._trees: dict[bytes, _Tree] = {}
        self.format: bytes | None = None
        self.journal = 0
        self._tallies: list[Tally] = []
        try:
            self._descriptor = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._begin()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def has_checksums(self) -> bool:
        """Whether records have checksums, by their format."""
        return self.format not in UNCHECKED_FORMATS

    @property
    def found(self) -> list[str]:
        """What was found to be wrong so far, in words."""
        return list(self._faults)

    def missing(self, tallies: Sequence[Tally]) -> list[int]:
        """Return by how many records each table has less than it should; 1 also where some are others."""
        if not self.has_checksums:
            return []
        pairs = zip(tallies, self._tallies, strict=False)
        return [max(wanted[0] - tally[0], 1) if tally != wanted else 0 for tally, wanted in pairs]

    def faults(self) -> list[str]:
        """Look through everything; return what is wrong, in words: nothing when all is whole."""
        tallies: list[Tally] = []
        for table in range(len(TABLES)):
            count = total = 0
            for key, value, whole in self.records(table):
                count += 1
                if not whole:
                    self._faults.append(f"{record_text(table, key)} does not match its checksum")
                elif self.has_checksums:
                    total += checksum_of(value)
            tallies.append((count, total % MODULUS))
        if self.format is not None and self.has_checksums and not self._faults:
            for name, tally, wanted in zip(TABLES, tallies, self._tallies, strict=False):
                if tally != wanted:
                    gone = wanted[0] - tally[0]
                    self._faults.append(f"of the table {name.decode()} {gone or 'some'} records are missing or old")
        return list(self._faults)

    def records(self, table: int) -> Iterator[Stored]:
        """Yield all records of a table that can be reached, in the order of their keys."""
        name = TABLES[table]
        tree = self._trees.get(name)
        if tree is None:
            return
        count, seed, checked = 0, SEEDS[table], self.has_checksums
        for page in self._walk(tree, f"table {name.decode()}"):
            count += len(page)
            for key, value in page:
                yield key, value, not checked or crc32(value, crc32(key, seed)) == WHOLE
        if count != tree.entries:
            self._faults.append(f"the table {name.decode()} has {count} records of {tree.entries}")

    def strays(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield table, key and value of whole records in pages that nothing leads to, once all `records` were read.

        None where it is not known which pages are free.
        """
        if not self._free_is_known or not self.has_checksums:
            return
        for number in range(2, self._pages):
            if self._used[number]:
                continue
            page = self._page(number, _LEAF, quiet=True)
            if page is None:
                continue
            for key, value in self._leaf(page, "", quiet=True):
                table = next((table for table in range(len(TABLES)) if is_whole(table, key, value)), None)
                if table is not None:
                    yield table, key, value

    def _begin(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if not size:
            return
        metas = [found for found in map(self._meta, self._places()) if found is not None]
        if not metas:
            self._faults.append("data.mdb does not begin as it should")
            return
        self._size, free, main, last, _ = max(metas, key=lambda found: found[-1])
        self._pages = min(last + 1, size // self._size)
        if self._pages <= last:
            self._faults.append(f"data.mdb is truncated: it has {self._pages} pages of {last + 1}")
        self._used = bytearray(self._pages)
        self._used[:2] = b"\1\1"
        self._find_free(free)
        for page in self._walk(main, "the list of tables", kind=_TABLES):
            self._trees |= {key: _tree(value) for key, value in page}
        self._learn_state()

    def _places(self) -> tuple[int, ...]:
        head = os.pread(self._descriptor, _META.size, 0)
        return 0, self._page_size(head)

    def _page_size(self, head: bytes) -> int:
        if len(head) == _META.size:
            size = int(_TREE.unpack(_META.unpack(head)[4])[0])
            if size in _SIZES:
                return size
        return 4096

    def _meta(self, at: int) -> tuple[int, _Tree, _Tree, int, int] | None:
        head = os.pread(self._descriptor, _META.size, at)
        if len(head) < _META.size:
            return None
        magic, version, _, _, free, main, last, transaction = _META.unpack(head)
        if magic != _MAGIC or version != _VERSION or self._page_size(head) != (at or self._page_size(head)):
            self._faults.append(f"the page at byte {at} of data.mdb does not begin as it should")
            return None
        return self._page_size(head), _tree(free), _tree(main), last, transaction

    def _find_free(self, tree: _Tree) -> None:
        before = len(self._faults)
        for _, value in chain.from_iterable(self._walk(tree, "the list of free pages", kind=_FREE)):
            numbers = [number for (number,) in _NUMBER.iter_unpack(value[: len(value) // 8 * 8])]
            if not numbers or numbers[0] != len(numbers) - 1:
                self._faults.append("the list of free pages is damaged")
                break
            for number in numbers[1:]:
                if not 2 <= number < self._pages or self._used[number]:
                    self._faults.append(f"page {number} is free and is not")
                    break
                self._used[number] = 1
        self._free_is_known = len(self._faults) == before

    def _learn_state(self) -> None:
        tree = self._trees.get(b"journal")
        if tree is None:
            return
        found = dict(chain.from_iterable(self._walk(tree, "the state of the tables")))
        self.format = found.get(FORMAT_KEY)
        state = found.get(b"state")
        if state is None or self.format is None:
            self.format = None
            return
        if is_damaged_format(self.format, self._path):
            self._faults.append(f"no format is called {self.format[:16]!r}")
        if self.has_checksums:
            if not is_whole(len(TABLES), b"state", state):
                self._faults.append("the state of the tables does not match its checksum")
                return
            state = state[:-CHECKSUM_BYTES]
        try:
            told = msgspec.msgpack.decode(state)
            self.journal = int(told["journal"])
            self._tallies = [(int(count), int(total)) for count, total in told.get("tallies", ())]
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            self._faults.append(f"the state of the tables: {error}")

    def _walk(self, tree: _Tree, what: str, *, kind: _Kind = _RECORDS) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield what a tree holds, page by page. Its pages are used then.

        A key that a branch leads elsewhere than to its page is a fault: looked up, it would not be found.
        """
        if tree.root == _NONE:
            return
        stack: list[tuple[int, int, bytes | None, bytes | None]] = [(tree.root, 1, None, None)]
        while stack:
            number, depth, low, high = stack.pop()
            if depth > min(tree.depth, _MOST_DEPTH):
                self._faults.append(f"{what}: page {number} lies too deep")
                continue
            page = self._page(number, _LEAF if depth == tree.depth else _BRANCH, what=what)
            if page is None:
                continue
            if depth < tree.depth:
                children = self._branch(page, what)
                keys = [key for key, _ in children[1:]]
                bounds = [low, *keys, high]
                stack += [
                    (child, depth + 1, bounds[at], bounds[at + 1])
                    for at, (_, child) in reversed([*enumerate(children)])
                ]
                found = []
            else:
                found = self._leaf(page, what, kind=kind)
                keys = [key for key, _ in found]
            order = [key if kind is not _FREE else key[::-1] for key in (low, *keys, high) if key is not None]
            if order != sorted(order) or (keys and high is not None and keys[-1] == high):
                self._faults.append(f"{what}: the keys of page {number} are out of order")
            if found:
                yield found

    def _page(self, number: int, kind: int, *, what: str = "", quiet: bool = False) -> bytes | None:
        """Return a page of a kind, once; None: it is none, which is a fault."""
        if not 2 <= number < self._pages or self._used[number]:
            if not quiet:
                self._faults.append(f"{what}: it leads to page {number}, which is something else")
            return None
        page = os.pread(self._descriptor, self._size, number * self._size)
        if len(page) == self._size:
            own, _, flags, lower, upper = _HEADER.unpack_from(page)
            sound = own == number and flags & 0xF == kind and _HEADER.size <= lower <= upper <= self._size
            if sound and not lower & 1:
                self._used[number] = 1
                return page
        if not quiet:
            self._faults.append(f"{what}: page {number} is damaged")
        return None

    def _branch(self, page: bytes, what: str) -> list[tuple[bytes, int]]:
        """Return the keys and pages that a branch leads to; the first key is not looked at by LMDB."""
        found: list[tuple[bytes, int]] = []
        number, _, _, lower, _ = _HEADER.unpack_from(page)
        for (place,) in _PLACE.iter_unpack(page[_HEADER.size : lower]):
            if lower <= place <= len(page) - _NODE.size:
                low, high, flags, size = _NODE.unpack_from(page, place)
                if place + _NODE.size + size <= len(page):
                    found.append((page[place + _NODE.size : place + _NODE.size + size], low | high << 16 | flags << 32))
                    continue
            self._faults.append(f"{what}: page {number} is damaged")
        return found

    def _leaf(
        self, page: bytes, what: str, *, kind: _Kind = _RECORDS, quiet: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        lower, length = _HEADER.unpack_from(page)[3], len(page)
        subtrees = kind is _TABLES
        wanted = _SUBTREE if subtrees else 0
        for (place,) in _PLACE.iter_unpack(page[_HEADER.size : lower]):
            value: bytes | None = None
            size = data = 0
            if lower <= place <= length - _NODE.size:
                low, high, flags, key_size = _NODE.unpack_from(page, place)
                size, data = low | high << 16, place + _NODE.size + key_size
                if flags == wanted and data + size <= length:
                    value = page[data : data + size]
                elif flags == _BIG and not subtrees and data + _NUMBER.size <= length:
                    value = self._overflow(_NUMBER.unpack_from(page, data)[0], size)
            if value is not None and (not subtrees or size == _TREE.size):
                found.append((page[place + _NODE.size : data], value))
            elif not quiet:
                self._faults.append(f"{what}: a record of page {_HEADER.unpack_from(page)[0]} is damaged")
        return found

    def _overflow(self, number: int, size: int) -> bytes | None:
        count = (_HEADER.size + size + self._size - 1) // self._size
        if not 2 <= number <= self._pages - count or any(self._used[number : number + count]):
            return None
        data = os.pread(self._descriptor, _HEADER.size + size, number * self._size)
        if len(data) < _HEADER.size + size:
            return None
        own, _, flags, low, high = _HEADER.unpack_from(data)
        if own != number or not flags & _OVERFLOW or low | high << 16 != count:
            return None
        self._used[number : number + count] = b"\1" * count
        return data[_HEADER.size :]


def _tree(data: bytes) -> _Tree:
    _, _, depth, _, _, _, entries, root = _TREE.unpack(data)
    return _Tree(root, depth, entries)
