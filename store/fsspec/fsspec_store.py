"""A store on a server that a library of fsspec reaches: what `Store` promises, of what `RemoteFiles` does.

Made by `opening.open_store`, which imports this late. Every call is bounded by a deadline, and tried again as
`penstock.store.retry` decides. Listings go folder by folder, so that memory is the names of one folder on each level;
these servers can give no beginning of one, so the newest record of a branch costs a look at all of them.

What is not promised: a reader who names an ETag is told of a change by looking before and after, and where the ETag is
weak (SSH: size and seconds) not of one within a second that keeps the size.

Blocking, thread-safe; survives a fork, because connections are of a process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

from penstock.errors import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.store.base import (
    WHOLE_LIMIT,
    Buffer,
    ByteRange,
    Level,
    ObjectBeginning,
    ObjectInfo,
    Store,
    too_large,
)
from penstock.store.keys import check_key, check_prefix, check_start_after, is_key
from penstock.store.options import StoreOptions
from penstock.store.retry import SLOWEST_LINE, RetryPolicy

from .remote_files import RemoteFacts, RemoteFiles, RemoteLevel

__all__ = ["FsspecStore"]

T = TypeVar("T")

_IN_MEMORY = 16 << 20


class FsspecStore(Store):
    """The store at `url` on a server of some kind; `base` is its root there, with a slash at its end."""

    def __init__(self, url: str, base: str, options: StoreOptions, kind: type[RemoteFiles]) -> None:
        self.url = url
        self._base = base
        self._options = options
        self._kind = kind
        self._lock = threading.Lock()
        self._connected: tuple[int, RemoteFiles] | None = None
        self._policy = RetryPolicy(
            options.deadline, options.max_attempts, options.connect_timeout + options.read_timeout
        )

    def __reduce__(self) -> tuple[object, ...]:
        return FsspecStore, (self.url, self._base, self._options.portable(), self._kind)

    @property
    def place(self) -> str:
        """See `Store.place`."""
        return f"{self.url} at {self._options.endpoint_url}" if self._options.endpoint_url else self.url

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,  # noqa: ARG002 - these libraries hold what comes against what was asked for
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """See `Store.get`. There are no versions: UsageError for a `version_id`."""
        _refuse_version(version_id)
        path = self._path(key)
        wanted = byte_range if byte_range is not None else ByteRange(0, limit + 1)

        async def attempt(files: RemoteFiles) -> bytes:
            if etag is None and size is None:
                return await files.read(path, wanted.offset, wanted.length)
            before = await self._same(files, path, key, etag, size)
            body = await files.read(path, wanted.offset, wanted.length) if wanted.length else b""
            if await files.look(path) != before:
                raise ConflictError(f"{self.url}/{key} has changed", why="it was written while it was read")
            return body

        body = self._call("read", key, attempt, wanted.length)
        if byte_range is None and len(body) > limit:
            raise too_large(f"{self.url}/{key}", limit)
        if len(body) > wanted.length:
            raise StoreUnreachableError(f"{self.url} answers something else", why="it sends more than was asked for")
        return body

    async def _same(self, files: RemoteFiles, path: str, key: str, etag: str | None, size: int | None) -> RemoteFacts:
        found = await files.look(path)
        if found is None:
            raise FileNotFoundError(path)
        if etag is not None and found.etag != etag:
            raise ConflictError(f"{self.url}/{key} has changed", why=f"its identity is {found.etag}, not {etag}")
        if size is not None and found.size != size:
            raise ConflictError(f"{self.url}/{key} has changed", why=f"it has {found.size} bytes, not {size}")
        if size is not None and found.is_weak:
            raise ConflictError(
                f"{self.url}/{key} cannot be told from what it may have become",
                why="its server tells files apart by size and seconds",
                fix="Register what is there by its content.",
            )
        return found

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """See `Store.begin`; a look, and a read that has to meet the same."""
        _refuse_version(version_id)
        path = self._path(key)

        async def attempt(files: RemoteFiles) -> ObjectBeginning:
            facts = await self._same(files, path, key, None, None)
            data = await files.read(path, 0, length)
            if await files.look(path) != facts:
                raise ConflictError(f"{self.url}/{key} has changed", why="it was written while it was read")
            return ObjectBeginning(_info(key, facts), data, None)

        return self._call("read", key, attempt, length)

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        path = self._path(key)
        found = self._call("look at", key, lambda files: files.look(path))
        return _info(key, found) if found is not None else None

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`."""
        path = self._path(key, new=True)
        self._call("write", key, lambda files: files.write(path, body, new=False), memoryview(body).nbytes)

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:  # noqa: ARG002
        """See `Store.put_file`."""
        path = self._path(key, new=True)
        if os.fstat(descriptor).st_size != size:
            raise ConflictError("the file changed before it was sent", why=f"it had {size} bytes", fix="Try it again.")
        if size <= _IN_MEMORY:
            self.put(key, os.pread(descriptor, size, 0))
            return
        self._call("write", key, lambda files: files.write_file(path, descriptor, size), size)
        found = self.head(key)
        if found is None or found.size != size:
            raise IntegrityError(
                f"{self.url}/{key} is not what was sent",
                why=f"it has {found.size if found is not None else 'no'} bytes, and {size} were sent",
                fix="Send it again.",
            )

    def create(self, key: str, body: Buffer) -> bool:
        """See `Store.create`. After a lost answer the next attempt meets what the lost one did, and compares."""
        path, size = self._path(key, new=True), memoryview(body).nbytes

        async def attempt(files: RemoteFiles) -> bool:
            try:
                await files.write(path, body, new=True)
            except FileExistsError:
                return await files.read(path, 0, size + 1) == body
            return True

        return self._call("create", key, attempt, size)

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        limit: int | None = None,
        page: int | None = None,  # noqa: ARG002 - a folder is asked for as a whole
    ) -> Iterator[ObjectInfo]:
        """See `Store.list`."""
        check_prefix(prefix)
        check_start_after(start_after)
        folder = prefix[: prefix.rfind("/") + 1]
        after = start_after.encode("utf-8", "surrogatepass")
        if limit != 0:
            yield from itertools.islice(self._walk(folder, prefix, after), limit)

    def _walk(self, folder: str, prefix: str, after: bytes) -> Iterator[ObjectInfo]:
        """Yield objects in byte order of whole keys: a folder stands where its name with a slash does."""
        level = self._level(folder)
        names: list[tuple[bytes, RemoteFacts | None]] = [(f"{name}/".encode(), None) for name in level.folders]
        names += [(name.encode(), facts) for name, facts in level.files]
        for name, facts in sorted(names, key=lambda each: each[0]):
            key = folder + name.decode()
            encoded = key.encode()
            if not (key.startswith(prefix) or (facts is None and prefix.startswith(key))):
                continue
            if facts is not None:
                if encoded > after:
                    yield _info(key, facts)
            elif encoded > after or after.startswith(encoded):
                yield from self._walk(key, prefix, after)

    def _level(self, folder: str) -> RemoteLevel:
        """Return what of a folder can be part of a key: whatever else a server names is no object."""
        path = self._base + folder
        level = self._call("list", folder, lambda files: files.level(path))
        hidden = self._kind.reserved if not folder else None
        folders = [name for name in level.folders if "/" not in name and is_key(f"{folder}{name}") and name != hidden]
        files = [each for each in level.files if "/" not in each[0] and is_key(f"{folder}{each[0]}")]
        return RemoteLevel(folders, files)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        yield from self.list_level(prefix).folders

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:  # noqa: ARG002 - as above
        """See `Store.list_level`."""
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        level = self._level(prefix)
        folders = sorted(level.folders, key=str.encode)
        if self._kind.has_empty_folders:
            folders = [each for each in folders if next(self._walk(f"{prefix}{each}/", "", b""), None) is not None]
        found = sorted(level.files, key=lambda each: each[0].encode())
        return Level(folders, [_info(prefix + name, facts) for name, facts in found])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. One request each, several at a time."""
        paths = iter([self._path(key) for key in keys])
        while some := list(itertools.islice(paths, 64)):

            async def attempt(files: RemoteFiles, some: Iterable[str] = some) -> None:
                await asyncio.gather(*map(files.delete, some))

            self._call("delete from", "", attempt)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """See `Store.copy`: within one server."""
        if not isinstance(source, FsspecStore) or source._kind is not self._kind:  # noqa: SLF001 - same class
            raise UsageError(f"cannot copy from {source.url} to {self.url}", why="they are different kinds of store")
        _refuse_version(source_version_id)
        there, here = source._path(source_key), self._path(key, new=True)  # noqa: SLF001 - same class
        self._call(f"copy {source.url}/{source_key} to", key, lambda files: files.copy(there, here))

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._drop()

    def _path(self, key: str, *, new: bool = False) -> str:
        """Return where a key lies. UsageError: it can be none."""
        check_key(key)
        reserved = self._kind.reserved if new else None
        if reserved is not None and (key == reserved or key.startswith(reserved + "/")):
            raise UsageError(f"{key!r} cannot be a key", why=f"{reserved} is reserved for temporary files")
        if self._kind.refused and self._kind.refused in key:
            raise UsageError(f"{key!r} cannot be a key", why=f"its server takes {self._kind.refused} for a slash")
        return self._base + key

    def _drop(self) -> None:
        if self._connected is not None and self._connected[0] == os.getpid():
            self._connected[1].close()
        self._connected = None

    def _files(self) -> RemoteFiles:
        """Return this process's connection."""
        with self._lock:
            if self._connected is None or self._connected[0] != os.getpid():
                self._connected = (os.getpid(), self._kind.connect(self.url, self._options))
            return self._connected[1]

    def _call(
        self, verb: str, key: str, attempt: Callable[[RemoteFiles], Coroutine[Any, Any, T]], moving: int = 0
    ) -> T:
        """Do something until it is done, or its time is over. `moving`: the most bytes that go over the line for it."""
        what = f"cannot {verb} {self.url}/{key}" if key else f"cannot {verb} {self.url}"
        deadline = self._policy.start()
        deadline.end += moving / SLOWEST_LINE
        failures = 0
        while True:
            files = self._files()
            try:
                return _wait(attempt(files), files.loop, deadline.remaining())
            except PenstockError:
                raise
            except FileNotFoundError as error:
                raise NotFoundError(f"no object {key} in {self.url}") from error
            except (TimeoutError, concurrent.futures.CancelledError) as error:
                raise StoreUnreachableError(
                    what, why=f"it took longer than {self._options.deadline:g} s", fix="Check the network."
                ) from error
            except files.errors as error:
                told = files.explain(error, what)
                if told is not None:
                    raise told from error
                failures += 1
                pause = self._policy.pause(failures, deadline)
                if pause is None:
                    raise StoreUnreachableError(
                        what, why=_words(error), fix="Check the address and the network."
                    ) from error
                time.sleep(pause)
                with self._lock:
                    if files.is_lost and self._connected is not None and self._connected[1] is files:
                        self._drop()


def _wait(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, seconds: float) -> T:
    """Have a coroutine done by a loop of another thread, and wait for it: no longer than that, or than Ctrl-C."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result(max(0.0, seconds))
    finally:
        future.cancel()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _info(key: str, facts: RemoteFacts) -> ObjectInfo:
    return ObjectInfo(key, facts.size, facts.modified, facts.etag, None, facts.is_weak)


def _refuse_version(version_id: str | None) -> None:
    if version_id is not None:
        raise UsageError(f"no version {version_id}", why="this store names no versions of its objects")
