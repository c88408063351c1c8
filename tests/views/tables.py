"""An overlay's tables in memory: what `records.Records` shows, with no journal and no disk."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from penstock.overlay.tables.schema import TABLES, TableChange

__all__ = ["MemoryTables"]


class MemoryTables:
    """Sorted keys and their values, a table each; `copy` is a snapshot."""

    def __init__(self) -> None:
        self._keys: list[list[bytes]] = [[] for _ in TABLES]
        self._values: list[dict[bytes, bytes]] = [{} for _ in TABLES]
        self._after: list[Callable[[], None]] = []

    def get(self, table: int, key: bytes) -> bytes | None:
        return self._values[table].get(key)

    def scan(self, table: int, start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        at = max(start, prefix)
        while True:
            position = bisect_left(self._keys[table], at)
            if position == len(self._keys[table]) or not self._keys[table][position].startswith(prefix):
                return
            key = self._keys[table][position]
            yield key, self._values[table][key]
            at = key + b"\0"

    def floor(self, table: int, key: bytes) -> tuple[bytes, bytes] | None:
        position = bisect_right(self._keys[table], key)
        if not position:
            return None
        found = self._keys[table][position - 1]
        return found, self._values[table][found]

    def change(self, changes: Sequence[TableChange], note: bytes = b"", *, grows: bool = False) -> None:
        for table, key, value in changes:
            if value is None:
                if self._values[table].pop(key, None) is not None:
                    self._keys[table].remove(key)
                continue
            if key not in self._values[table]:
                self._keys[table].insert(bisect_left(self._keys[table], key), key)
            self._values[table][key] = value

    def after_checkpoint(self, action: Callable[[], None]) -> None:
        self._after.append(action)

    def checkpoint(self) -> None:
        while self._after:
            self._after.pop(0)()

    def copy(self) -> MemoryTables:
        copied = MemoryTables()
        copied._keys = [list(keys) for keys in self._keys]
        copied._values = [dict(values) for values in self._values]
        return copied
