"""Read the small records of a bucket: manifests, commits, refs. What is wrong with one is told with its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penstock.errors import IntegrityError, NotFoundError
from penstock.manifest.records import MAX_RECORD
from penstock.store.base import Store

__all__ = ["read_record", "require_record"]

T = TypeVar("T")

_RESTORE = "Restore the object from a copy of the bucket."


def read_record(store: Store, key: str, decode: Callable[[bytes], T]) -> T:
    """Read and decode a record. NotFoundError; IntegrityError and FormatTooNewError name the object.

    What does not decode is fetched once more: the fault may have been on the way. What is larger than a record may be
    is not read to its end.
    """
    body = store.get(key, limit=MAX_RECORD)
    try:
        return decode(body)
    except IntegrityError:
        body = store.get(key, limit=MAX_RECORD)
    try:
        return decode(body)
    except IntegrityError as error:
        raise type(error)(f"cannot use {key} in {store.url}", why=error.reason, fix=error.fix or _RESTORE) from error


def require_record(store: Store, key: str, decode: Callable[[bytes], T]) -> T:
    """Read a record that a version refers to: it is an IntegrityError as well when there is none."""
    try:
        return read_record(store, key, decode)
    except NotFoundError as error:
        if store.head(key) is not None:
            raise
        raise IntegrityError(f"{key} is missing in {store.url}", why="a version refers to it", fix=_RESTORE) from error
