"""The interface every object store answers to, and the values that cross it.

Blocking and thread-safe; a store pickles as its address and survives a fork. Keys are relative to the store's root:
``/``-separated text without control characters, never starting with ``/``, without empty, ``.`` or ``..`` components
(`keys.check_key`). Every call ends within its deadline, in an answer or in one of `penstock.errors`: NotFoundError
(no such object, no such bucket), AccessError, ConflictError (`get` with an etag only), StoreUnreachableError (also:
the server answers something else than what was asked), IntegrityError (the server says again and again that bytes
arrived damaged; an object is larger than its kind may be), UsageError (a key, an argument or a setting that cannot
be).

**Invariant:** a reader never sees half an object, and what `put`, `create` and `copy` return for survives a crash.
**Invariant:** of any number of `create` calls for one key, with different bodies, exactly one returns True.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from penstock.errors import IntegrityError

if TYPE_CHECKING:
    from concurrent.futures import Executor

Buffer = bytes | bytearray | memoryview

__all__ = [
    "WHOLE_LIMIT",
    "Buffer",
    "ByteRange",
    "Level",
    "ObjectBeginning",
    "ObjectInfo",
    "ObjectVersion",
    "Store",
    "VersionPolicy",
    "too_large",
]

WHOLE_LIMIT = 64 << 20
"""Bytes of an object that is read whole, unless the caller knows better."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `offset`; a range past the end of the object yields what there is."""

    offset: int
    length: int

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length < 0:
            raise ValueError(f"negative range: {self.offset}+{self.length}")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object without reading it. `size` in bytes, `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float | None
    """None when the server does not say."""
    etag: str | None = None
    """Changes when the content does; without quotes, or None. Only this store understands it (`etags`)."""
    version_id: str | None = None
    """Set by `head` in a bucket that keeps versions."""
    is_weak: bool = False
    """Whether the ETag may stay the same when the content changes, as the server said."""

    def is_older(self, than: float) -> bool:
        """Whether it was written before a time of the store's clock; never, when the server does not say when."""
        return self.modified is not None and self.modified < than


class ObjectBeginning(NamedTuple):
    """The first bytes of an object, and what the store says of it. `md5`: of all of it, where the ETag is that."""

    info: ObjectInfo
    data: bytes
    md5: bytes | None


def too_large(url: str, limit: int) -> IntegrityError:
    """Return the error for an object that is read whole, and is larger than its kind may be."""
    return IntegrityError(
        f"{url} is too large to be what it should be",
        why=f"it has more than {limit} bytes",
        fix="Penstock did not write it: restore the object from a copy of the bucket, or remove it",
    )


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object in a bucket that keeps them: bytes, or a *marker*, which says that it was deleted."""

    key: str
    version_id: str
    is_latest: bool
    is_marker: bool
    size: int
    modified: float
    etag: str | None = None
    """None also where it is weak."""


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """What a bucket does with what was deleted or written anew. None: whoever asked may not know."""

    keeps: bool | None
    """Whether it stays as a version that nobody sees."""
    expires: bool | None
    """Whether a lifecycle rule removes such versions in time."""


class Level(NamedTuple):
    """What lies directly below a folder: names of folders without a slash, and objects. Both in byte order."""

    folders: list[str]
    objects: list[ObjectInfo]


class Store(ABC):
    """A root under which objects live by key."""

    url: str
    """``s3://bucket/prefix`` or ``file:///dir``: names the root in messages and physical keys."""
    keeps_versions: bool = False
    """Whether the server said so of the object that was `put` last."""

    @property
    def place(self) -> str:
        """What is at `url`, more exactly: it changes with the server, or the disk, that answers there."""
        return self.url

    @abstractmethod
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
        """Return the object's bytes, or a range of them: never more than was asked for is held in memory.

        A range that starts at or past the end yields ``b""``; one that crosses it yields what there is. Without a
        range, IntegrityError when the object is larger than `limit` bytes; no more of it is read then. With
        `version_id`, that version; with `etag`, ConflictError when the object has another one by now. `checked` says
        that the caller holds the bytes against a hash: then it is no fault when the server does not say which bytes
        it sends, or which ETag or version they have. `size` is for callers without a hash, who know an object by what
        its store says of it: ConflictError too when it has another size, or when its ETag is weak and no version of it
        was asked for.
        """

    def get_into(self, key: str, offset: int, memory: memoryview) -> int:
        """Read a range of an object into `memory`, as many bytes as that has; return how many the object has of it.

        As `get` with `checked`. What `memory` holds after an error means nothing.
        """
        body = self.get(key, ByteRange(offset, len(memory)), checked=True)
        memory[: len(body)] = body
        return len(body)

    @abstractmethod
    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """Return the first `length` bytes of an object (more than none), and what the store says of it: one request.

        What is left is `get`, with the ETag, if there is one, so that it is of the same object.
        """

    @abstractmethod
    def put(self, key: str, body: Buffer) -> None:
        """Write the object, whole or not at all; an object already there is replaced."""

    @abstractmethod
    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:
        """Write the first `size` bytes of an open file as the object: as `put`, of any size, held in memory in part.

        `pool` is for parts of a large one that are sent at the same time. ConflictError: the file is shorter.
        """

    @abstractmethod
    def create(self, key: str, body: Buffer) -> bool:
        """Write the object if there is none: the one primitive that moves refs.

        True: this call's body is what is stored (also when a retry met its own earlier success, which is told by
        the bytes alone: put something random into the body). False: another body is there, and stays. After
        StoreUnreachableError it is not known whether the object was written.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is none."""

    @abstractmethod
    def list(
        self, prefix: str = "", *, start_after: str = "", limit: int | None = None, page: int | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield objects whose key starts with `prefix`, in byte order of keys, after `start_after`.

        `start_after` need not be a key, nor start with `prefix`. `limit` is the largest number to yield, `page` that
        to ask for at once, where a store is asked in pages. A local directory that does not exist is an empty store.
        """

    @abstractmethod
    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """Yield the distinct next components below `prefix` (which ends in ``/`` or is empty) that hold objects.

        ``a/b/c`` and ``a/d`` under prefix ``a/`` give ``b``. In byte order, without a slash.
        """

    @abstractmethod
    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:
        """Return the folders and objects directly below `prefix` (which ends in ``/`` or is empty).

        An object whose key is the prefix itself is among them if it has bytes.
        Memory: one folder's names, however many objects lie below its folders.
        `page` as in `list`. Memory: one folder's names, however many objects lie below its folders.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; those already gone are no error. May have deleted some when it raises."""

    @abstractmethod
    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """Copy an object from `source` (of the same kind) to `key` here, without the bytes passing this process."""

    def version_policy(self) -> VersionPolicy:
        """Return what becomes of what is deleted here: by default it is gone."""
        return VersionPolicy(keeps=False, expires=None)

    def versions(self, prefix: str = "") -> Iterator[ObjectVersion]:  # noqa: ARG002 - of a store that keeps none
        """Yield all versions of the objects whose key starts with `prefix`: by key, the newest of each first."""
        return iter(())

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> dict[ObjectVersion, str]:  # noqa: ARG002
        """Delete versions for good; return those that the store refuses to delete, and what it says to that.

        May have deleted some when it raises. Those already gone are no error.
        """
        return {}

    def prepare(self) -> None:  # noqa: B027 - a store without connections has nothing to prepare
        """Do now, without a request, what would make the first call slower than the others."""

    def close(self) -> None:  # noqa: B027 - a store without connections has nothing to let go of
        """Let go of connections. The store is not to be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"
