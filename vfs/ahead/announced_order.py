"""Orders that programs have announced: which files they will open, in which order. Decisions only: no I/O, no clock.

An order belongs to a client, which is one process, or one part of it under a name. A reader is followed by the files
that it opens: what was fetched ahead and is not opened yet is the *lead*, and the next files are due when the lead is
down to half of the order's share of the window. Readers need not keep to the order exactly: the workers of one
training process overtake each other.

**Invariant:** the leads of all orders that somebody follows are at most `window` bytes, and LEAD_FILES each.
**Invariant:** all orders together have at most MOST_FILES files, 8 bytes each; the one that was followed least lately
goes first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict

from penstock.errors import ConflictError, UsageError

__all__ = ["Announced", "Order"]

MOST_FILES = 16 << 20
MOST_ORDERS = 64
LEAD_FILES = 4096
FIRST_BATCH = 32
LARGEST_BATCH = 512
"""Files that are looked at together: of more files in random order, more are neighbours in a pack."""
_SCAN = 512
"""How far beyond what was fetched an opened file is looked for: 10 us."""
_LAG = 256
"""A file that is this far behind the one opened now, or half of the longest lead, counts no longer: it may never be
opened, or be read from the kernel's page cache, which tells nobody."""
_ALIVE = 120.0
"""Seconds without an opened file after which an order is followed by nobody, and has no share of the window."""


class Order:
    """One client's order. `inodes` may hold a file several times; `size` is the bytes of all of them."""

    __slots__ = (
        "_batch",
        "_early",
        "_lead",
        "_lead_bytes",
        "_longest",
        "client",
        "head",
        "inodes",
        "size",
        "stamp",
        "token",
    )

    def __init__(self, client: str, token: str, stamp: float) -> None:
        self.client = client
        self.token = token
        self.stamp = stamp
        self.inodes: array[int] = array("Q")
        self.size = 0
        self.head = 0
        """Position of the first file that was not fetched."""
        self._lead: dict[int, tuple[int, int]] = {}  # in the order of positions: inode to position, bytes
        self._lead_bytes = 0
        self._longest = 0
        self._early: set[int] = set()
        self._batch = FIRST_BATCH

    def upcoming(self) -> list[int]:
        """Return the next files, as many as are looked at together; first passes those that were opened already."""
        while self.head < len(self.inodes) and self.inodes[self.head] in self._early:
            self._early.remove(self.inodes[self.head])
            self.head += 1
        return self.inodes[self.head : self.head + self._batch].tolist()

    def took(self, sizes: list[int]) -> None:
        """Take note that the first of the upcoming files are being fetched, so many bytes of each."""
        for size in sizes:
            inode = self.inodes[self.head]
            if inode in self._early:
                self._early.remove(inode)
            else:
                self._drop(inode)  # it is in the order twice, and close together
                self._lead[inode] = (self.head, size)
                self._lead_bytes += size
            self.head += 1
        self._longest = max(self._longest, len(self._lead))
        self._batch = min(2 * self._batch, LARGEST_BATCH)

    def opened(self, inode: int, *, scan: bool) -> bool:
        """Take note of an opened file; whether it is one of those that are due.

        With `scan`, also of those that come shortly after them: the reader is faster than what is fetched.
        """
        found = self._drop(inode)
        if found is None:
            if not scan:
                return False
            try:
                found = self.inodes.index(inode, self.head, self.head + _SCAN)
            except ValueError:
                return False
            self._early.add(inode)
        lag = min(_LAG, self._longest // 2)
        while self._lead:
            oldest = next(iter(self._lead))
            if self._lead[oldest][0] >= found - lag:
                break
            self._drop(oldest)
        return True

    def _drop(self, inode: int) -> int | None:
        found = self._lead.pop(inode, None)
        if found is None:
            return None
        self._lead_bytes -= found[1]
        return found[0]

    def room(self, share: int) -> int:
        """Return how many bytes may be fetched now so that the lead is `share` at the most; 0 while it is not due."""
        if self.head >= len(self.inodes) or len(self._lead) > LEAD_FILES - LARGEST_BATCH:
            return 0
        return share - self._lead_bytes if 2 * self._lead_bytes <= share else 0


class Announced:
    """The orders of one mount. `window` is in bytes; times are in seconds, of any clock that goes forward."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._orders: OrderedDict[str, Order] = OrderedDict()  # the one that was followed last is last

    def add(self, client: str, token: str, at: int, inodes: array[int], size: int, now: float) -> Order:
        """Take files `at` and following of an announcement, `size` bytes in all; its first replaces the one before.

        `token` tells the announcements of a client apart. ConflictError: it has made another one meanwhile.
        UsageError: there are too many files.
        """
        order = self._orders.get(client)
        if at == 0:
            order = self._orders[client] = Order(client, token, now)
        elif order is None or order.token != token or len(order.inodes) != at:
            raise ConflictError("the announcement was replaced", why="another one was made under its name meanwhile")
        if at + len(inodes) > MOST_FILES:
            del self._orders[client]
            raise UsageError(
                "too many files are announced", why=f"the most is {MOST_FILES}", fix="Announce an epoch in parts."
            )
        order.inodes.extend(inodes)
        order.size += size
        order.stamp = now
        self._orders.move_to_end(client)
        while len(self._orders) > MOST_ORDERS or sum(len(each.inodes) for each in self._orders.values()) > MOST_FILES:
            self._orders.popitem(last=False)
        return order

    def drop(self, client: str) -> None:
        """Forget a client's order."""
        self._orders.pop(client, None)

    def __contains__(self, order: Order) -> bool:
        return self._orders.get(order.client) is order

    def opened(self, inode: int, now: float) -> bool:
        """Take note of an opened file; whether it is due in some order."""
        for order in reversed(self._orders.values()):
            if order.opened(inode, scan=now - order.stamp < _ALIVE):
                order.stamp = now
                self._orders.move_to_end(order.client)
                return True
        return False

    def due(self, now: float) -> tuple[Order, int] | None:
        """Return the order that is to be fetched for next, and how many bytes it may take."""
        alive = [order for order in self._orders.values() if now - order.stamp < _ALIVE]
        rooms = [(order.room(self._window // len(alive)), order) for order in alive]
        room, order = max(rooms, key=lambda each: each[0], default=(0, None))
        return (order, room) if order is not None and room > 0 else None
