"""A bucket on top of others: what it does not have is read from them. What is written goes to it alone.

So a version whose metadata is here is read though its bytes are still in a remote. The buckets beneath are opened one
by one, when something is not found: who has all of it here needs no network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from penstock.errors import NotFoundError, PenstockError
from penstock.store.base import WHOLE_LIMIT, Buffer, ByteRange, Level, ObjectBeginning, ObjectInfo, Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .object_keys import DATA, DATASETS, NODES

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["ContentLayers", "LayeredStore", "open_layers"]

_T = TypeVar("_T")


class LayeredStore(Store):
    """`upper` on top of what `open_lower` gives, the first of them first. All of them are closed with it."""

    def __init__(self, upper: Store, open_lower: Callable[[], Iterator[Store]]) -> None:
        self.url = upper.url
        self._upper = upper
        self._open_lower = open_lower
        self._opening: Iterator[Store] | None = None
        self._lower: list[Store] = []
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """What is at `url`."""
        return self._upper.place

    @property
    def upper(self) -> Store:
        """The bucket on top."""
        return self._upper

    @property
    def lower(self) -> Iterator[Store]:
        """The buckets beneath, each opened when it is first come to."""
        number = 0
        while True:
            with self._lock:
                if self._opening is None:
                    self._opening = self._open_lower()
                if number == len(self._lower):
                    store = next(self._opening, None)
                    if store is None:
                        return
                    self._lower.append(store)
            yield self._lower[number]
            number += 1

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
        """Return an object's bytes from the first bucket that has it."""

        def get(store: Store) -> bytes:
            return store.get(key, byte_range, limit=limit, checked=checked, version_id=version_id, etag=etag, size=size)

        return self._first(get)

    def get_into(self, key: str, offset: int, memory: memoryview) -> int:
        """Read a range of an object from the first bucket that has it."""
        return self._first(lambda store: store.get_into(key, offset, memory))

    def _first(self, get: Callable[[Store], _T]) -> _T:
        try:
            return get(self._upper)
        except NotFoundError as error:
            missing = error
        for store in self.lower:
            try:
                return get(store)
            except NotFoundError as error:
                missing = error
        raise missing

    def head(self, key: str) -> ObjectInfo | None:
        """Return what the first bucket that has an object knows of it."""
        found = self._upper.head(key)
        if found is not None:
            return found
        return next((info for store in self.lower if (info := store.head(key)) is not None), None)

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """Return the beginning of an object from the first bucket that has it."""
        try:
            return self._upper.begin(key, length, version_id=version_id)
        except NotFoundError as error:
            missing = error
        for store in self.lower:
            try:
                return store.begin(key, length, version_id=version_id)
            except NotFoundError as error:
                missing = error
        raise missing

    def put(self, key: str, body: Buffer) -> None:
        """Write an object here."""
        self._upper.put(key, body)

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:
        """Write an open file as an object here."""
        self._upper.put_file(key, descriptor, size, pool)

    def create(self, key: str, body: Buffer) -> bool:
        """Write an object here, if there is none here."""
        return self._upper.create(key, body)

    def list(
        self, prefix: str = "", *, start_after: str = "", limit: int | None = None, page: int | None = None
    ) -> Iterator[ObjectInfo]:
        """List what is here."""
        return self._upper.list(prefix, start_after=start_after, limit=limit, page=page)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """List folders that are here."""
        return self._upper.list_folders(prefix)

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:
        """List one folder that is here."""
        return self._upper.list_level(prefix, page=page)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects here."""
        self._upper.delete(keys)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """Copy an object to here."""
        self._upper.copy(source, source_key, key, source_version_id=source_version_id)

    def close(self) -> None:
        """Close all of them."""
        self._upper.close()
        for store in self._lower:
            store.close()


class ContentLayers(LayeredStore):
    """Asks the buckets beneath for what is named by its hash alone: what branches there are here is not their affair.

    So whoever has all of it here asks no network of anybody.
    """

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
        """See `LayeredStore.get`."""
        get = super().get if _is_content(key) else self._upper.get
        return get(key, byte_range, limit=limit, checked=checked, version_id=version_id, etag=etag, size=size)

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object that is here."""
        return self._upper.head(key)

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """See `LayeredStore.begin`."""
        begin = super().begin if _is_content(key) else self._upper.begin
        return begin(key, length, version_id=version_id)


def _is_content(key: str) -> bool:
    if key.startswith((DATA, NODES)):
        return True
    return key.startswith(DATASETS) and ("/commits/" in key or "/manifests/" in key)


def open_layers(upper: Store, beneath: Callable[[], Iterable[tuple[str, StoreOptions]]]) -> ContentLayers:
    """Return a bucket on top of others, which are given by address and options when something is not found."""

    def lower() -> Iterator[Store]:
        for address, options in beneath():
            try:
                store = open_store(address, options)
            except PenstockError:  # one that cannot be opened has nothing: what is missing is told then
                continue
            yield store

    return ContentLayers(upper, lower)
