"""Several buckets that hold the same data set, as one: who answers quickest is asked, another one when it fails.

What is named by its hash, data and nodes, is the same in all of them and is held against that hash by whoever asked: so
the nearest is asked first, and another one when it fails, has not got it, or is asked for the same once more, or for a
part of it (which is what is done about bytes that are not what they should be, and about answers that are late).
Records, which say what a branch leads to, are the first bucket's to give; others are asked only while that cannot be
reached. All that writes, and all that looks whether an object is there to build on it, is about the first bucket alone.

**Invariant:** one that did not answer is not asked again for `_AWAY` seconds, unless no other is left.

Thread-safe.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from penstock.errors import AccessError, NotFoundError, PenstockError, StoreUnreachableError
from penstock.store.base import WHOLE_LIMIT, Buffer, ByteRange, Level, ObjectBeginning, ObjectInfo, Store

from .object_keys import DATA, DATASETS, NODES

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["NearestStore"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

_AWAY = 30.0
_AGAIN = 2.0
"""Seconds within which the same question means that the answer was not good."""
_ASKED, _RANGES = 1024, 64
"""Objects, and ranges of each, of which it is remembered who was asked last."""
_MEASURED = 600.0
"""Seconds for which it is believed who is nearest."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A range that was asked for: when, and how many had been asked for it, or for more with it, before."""

    begin: int
    end: float
    at: float
    turn: int


@dataclass(slots=True)
class _Member:
    store: Store
    seconds: float = 0.0
    """What a small question took last."""
    away_until: float = 0.0


class NearestStore(Store):
    """`first` is the bucket that the handle names; all are closed with it."""

    def __init__(self, first: Store, others: Sequence[Store]) -> None:
        self.url = first.url
        self._first = first
        self._members = [_Member(first), *map(_Member, others)]
        self._lock = threading.Lock()  # guards what follows
        self._measured = 0.0
        self._asked: OrderedDict[str, deque[_Question]] = OrderedDict()

    @property
    def place(self) -> str:
        """What is at `url`."""
        return self._first.place

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """Return an object's bytes: of data and nodes, the nearest bucket's."""

        def ask(store: Store) -> bytes:
            return store.get(key, byte_range, limit=limit, checked=checked, version_id=version_id, etag=etag, size=size)

        if not key.startswith((DATA, NODES)):
            return self._first_that_answers(ask)
        return self._nearest(key, byte_range, ask)

    def get_into(self, key: str, offset: int, memory: memoryview) -> int:
        """See `Store.get_into`: of data and nodes, from the nearest bucket."""

        def ask(store: Store) -> int:
            return store.get_into(key, offset, memory)

        if not key.startswith((DATA, NODES)):
            return self._first_that_answers(ask)
        return self._nearest(key, ByteRange(offset, len(memory)), ask)

    def _nearest(self, key: str, byte_range: ByteRange | None, ask: Callable[[Store], T]) -> T:
        order = self._order(key, byte_range)
        failure: PenstockError | None = None
        for member in order:
            try:
                return ask(member.store)
            except StoreUnreachableError as error:
                self._put_aside(member, error)
                failure = failure or error
            except (NotFoundError, AccessError) as error:
                _log.info("%s does not give out %s: %s", member.store.url, key, error)
                failure = failure or error
        assert failure is not None
        raise failure

    def _order(self, key: str, byte_range: ByteRange | None) -> list[_Member]:
        """Return who is to be asked in turn."""
        self._measure()
        now = time.monotonic()
        with self._lock:
            order = sorted(self._members, key=lambda member: (member.away_until > now, member.seconds))
            turn = self._turn(key, byte_range, now) % len(order)
        return order[turn:] + order[:turn]

    def _turn(self, key: str, byte_range: ByteRange | None, now: float) -> int:
        """Return how often this range, or more with it, was asked for lately, and take note of it."""
        begin = byte_range.offset if byte_range is not None else 0
        end = begin + byte_range.length if byte_range is not None else math.inf
        asked = self._asked.pop(key, None) or deque(maxlen=_RANGES)
        lately = (each for each in reversed(asked) if now - each.at < _AGAIN)
        turn = next((each.turn + 1 for each in lately if each.begin <= begin and end <= each.end), 0)
        asked.append(_Question(begin, end, now, turn))
        self._asked[key] = asked
        while len(self._asked) > _ASKED:
            self._asked.popitem(last=False)
        return turn

    def _measure(self) -> None:
        """Find out who is nearest, if nobody has lately: a small question to each, side by side."""
        now = time.monotonic()
        with self._lock:
            if self._measured and now - self._measured < _MEASURED:
                return
            is_first, self._measured = not self._measured, now
        threads = [
            threading.Thread(target=self._time, args=(member,), name="penstock-nearest", daemon=True)
            for member in self._members
        ]
        for thread in threads:
            thread.start()
        if is_first:
            for thread in threads:
                thread.join()

    def _time(self, member: _Member) -> None:
        try:
            for _ in range(2):  # the first one opens the connection
                begun = time.monotonic()
                next(iter(member.store.list(DATASETS, limit=1)), None)
                member.seconds = time.monotonic() - begun
        except StoreUnreachableError as error:
            self._put_aside(member, error)
        except PenstockError as error:  # it answered, at least
            _log.info("%s cannot be listed: %s", member.store.url, error)

    def _put_aside(self, member: _Member, error: PenstockError) -> None:
        _log.warning("%s did not answer and is not asked for %.0f s: %s", member.store.url, _AWAY, error)
        member.away_until = time.monotonic() + _AWAY

    def _first_that_answers(self, ask: Callable[[Store], T]) -> T:
        failure: StoreUnreachableError | None = None
        now = time.monotonic()
        for member in sorted(self._members, key=lambda member: member.away_until > now):
            try:
                return ask(member.store)
            except StoreUnreachableError as error:
                self._put_aside(member, error)
                failure = failure or error
        assert failure is not None
        raise failure

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object. Data and nodes: in the first bucket, for who builds on them."""
        if key.startswith((DATA, NODES)):
            return self._first.head(key)
        return self._first_that_answers(lambda store: store.head(key))

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """Return the beginning of an object of the first bucket."""
        return self._first.begin(key, length, version_id=version_id)

    def list(
        self, prefix: str = "", *, start_after: str = "", limit: int | None = None, page: int | None = None
    ) -> Iterator[ObjectInfo]:
        """List what is in the first bucket; of a few keys, in another one while that does not answer."""
        if limit is None:
            return self._first.list(prefix, start_after=start_after, limit=limit, page=page)
        few = self._first_that_answers(
            lambda store: [*store.list(prefix, start_after=start_after, limit=limit, page=page)]
        )
        return iter(few)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """List folders of the first bucket that answers."""
        return iter(self._first_that_answers(lambda store: [*store.list_folders(prefix)]))

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:
        """List one folder of the first bucket that answers."""
        return self._first_that_answers(lambda store: store.list_level(prefix, page=page))

    def put(self, key: str, body: Buffer) -> None:
        """Write an object to the first bucket."""
        self._first.put(key, body)
        self.keeps_versions = self._first.keeps_versions

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:
        """Write an open file to the first bucket."""
        self._first.put_file(key, descriptor, size, pool)

    def create(self, key: str, body: Buffer) -> bool:
        """Write an object to the first bucket, if there is none in it."""
        return self._first.create(key, body)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects of the first bucket."""
        self._first.delete(keys)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """Copy an object to the first bucket."""
        self._first.copy(source, source_key, key, source_version_id=source_version_id)

    def prepare(self) -> None:
        """Prepare all of them."""
        for member in self._members:
            member.store.prepare()

    def close(self) -> None:
        """Close all of them."""
        for member in self._members:
            with suppress(PenstockError):
                member.store.close()
