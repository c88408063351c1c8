"""What is asked of a place that files are sent to: an object store, or what fsspec reaches. Thread-safe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from typing import Protocol

from penstock.store.base import Buffer, ObjectInfo

__all__ = ["PlaceStore"]


class PlaceStore(Protocol):
    """Objects by key, as `store.base.Store` has them."""

    url: str

    def get(self, key: str, *, limit: int) -> bytes:
        """Return an object of up to `limit` bytes. NotFoundError: there is none."""
        ...

    def put(self, key: str, body: Buffer) -> None:
        """Write an object."""
        ...

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:
        """Write the first `size` bytes of an open file as an object."""
        ...

    def create(self, key: str, body: Buffer) -> bool:
        """Write an object if there is none; whether there was none."""
        ...

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield objects whose key starts with `prefix`, up to `limit` of them."""
        ...

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below a folder that have objects below them."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those already gone are no error."""
        ...
