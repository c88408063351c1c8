"""The interface every object store answers to, and the values that cross it.

Blocking and thread-safe. Keys are relative to the store's root: ``/``-separated, printable, never starting with
``/``, without empty, ``.`` or ``..`` components. Every call ends within its deadline, in an answer or in one of
`penstock.errors`: NotFoundError (no such object, no such bucket), AccessError, ConflictError (`create` only),
StoreUnreachableError, IntegrityError (a body shorter than the server promised, after retries).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Buffer = bytes | bytearray | memoryview

__all__ = ["Buffer", "ByteRange", "ObjectInfo", "Store"]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `offset`; a range past the end of the object yields what there is."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object without reading it. `size` in bytes, `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float
    etag: str | None = None
    version_id: str | None = None


class Store(ABC):
    """A root under which objects live by key."""

    url: str
    """``s3://bucket/prefix`` or ``file:///dir``: names the root in messages and physical keys."""

    @abstractmethod
    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        version_id: str | None = None,
        etag: str | None = None,
    ) -> bytes:
        """Return the object's bytes, or a range of them.

        A range that starts at or past the end yields ``b""``; one that crosses it yields what there is. With
        `version_id`, that version; with `etag`, ConflictError when the object has another one by now.
        """

    @abstractmethod
    def put(self, key: str, body: Buffer) -> None:
        """Write the object, whole or not at all; an object already there is replaced."""

    @abstractmethod
    def create(self, key: str, body: Buffer) -> bool:
        """Write the object if there is none: the one primitive that moves refs.

        True: this call's body is what is stored (also when a retry met its own earlier success). False: another
        body is there, and stays.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is none."""

    @abstractmethod
    def list(self, prefix: str = "", *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield objects whose key starts with `prefix`, in byte order of keys, after `start_after`."""

    @abstractmethod
    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """Yield the distinct next components below `prefix` (which ends in ``/`` or is empty) that hold objects.

        ``a/b/c`` and ``a/d`` under prefix ``a/`` give ``b``. In byte order, without a slash.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; those already gone are no error."""

    @abstractmethod
    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """Copy an object from `source` (of the same kind) to `key` here, without the bytes passing this process."""

    def close(self) -> None:
        """Let go of connections. The store is not to be used afterwards."""
