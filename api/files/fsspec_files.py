"""Files that fsspec reaches, read and written: each call ends within a deadline, which fsspec itself has none of.

An id that is in use is refused as well as the file system can tell: it is asked to create a file that must not be
there (`pipe_file(mode="create")`), which Google's and Azure's do as one step, and others by looking first. One that
overwrites nevertheless is found out by trying, once in a process, and not written to.

Thread-safe: file systems of fsspec are.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from penstock.errors import (
    AccessError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.store.base import Buffer, ObjectInfo
from penstock.store.durable import write_all

__all__ = ["FsspecFacts", "FsspecFile", "FsspecPlaces", "PlaceStore"]

T = TypeVar("T")

_STEP = 4 << 20


class FsspecFacts(NamedTuple):
    """Bytes of a file, and what identifies its content, if anything does."""

    size: int | None
    identity: str | None


class FsspecFile:
    """One file, by its URL."""

    def __init__(self, url: str, deadline: float) -> None:
        self._url = url
        self._deadline = deadline

    def look(self) -> FsspecFacts:
        """Return what is known of it. NotFoundError: it is not there."""
        with _explained(self._url, "read"):
            return _Watched[FsspecFacts](self._deadline, f"read {self._url}").run(lambda: _facts(*_opened(self._url)))

    def fetch(self, descriptor: int, advance: Callable[[int], object]) -> FsspecFacts:
        """Write it into an open file. ConflictError: it changed meanwhile."""
        watch = _Watched[FsspecFacts](self._deadline, f"read {self._url}")
        own = os.dup(descriptor)  # the thread may outlive whoever waits for it

        def work() -> FsspecFacts:
            try:
                system, path = _opened(self._url)
                told = _facts(system, path)
                size = 0
                with system.open(path, "rb") as stream:
                    while piece := stream.read(_STEP):
                        watch.check()
                        write_all(own, piece)
                        size += len(piece)
                        watch.moved()
                        advance(len(piece))
                if told.size is not None and told.size != size:
                    raise ConflictError(f"{self._url} changed while it was read", why=f"{size} bytes came")
                return FsspecFacts(size, told.identity)
            finally:
                os.close(own)

        with _explained(self._url, "read"):
            return watch.run(work)


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


class FsspecPlaces:
    """Objects below a URL of fsspec: a `PlaceStore`. UsageError: its library is not there."""

    def __init__(self, url: str, deadline: float) -> None:
        self.url = url.rstrip("/")
        self._deadline = deadline
        with _explained(url, "write to"):
            self._system, path = _opened(url)
        self._root = path.rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _run(self, verb: str, key: str, call: Callable[[], T]) -> T:
        with _explained(f"{self.url}/{key}", verb):
            return _Watched[T](self._deadline, f"{verb} {self.url}/{key}").run(call)

    def get(self, key: str, *, limit: int) -> bytes:
        """See `PlaceStore.get`."""
        body: bytes = self._run("read", key, lambda: self._system.cat_file(self._path(key), 0, limit + 1))
        if len(body) > limit:
            raise IntegrityError(f"{self.url}/{key} is larger than its kind may be", why=f"the most is {limit} bytes")
        return body

    def put(self, key: str, body: Buffer) -> None:
        """See `PlaceStore.put`."""
        self._run("write", key, lambda: self._piped(key, body, "overwrite"))

    def create(self, key: str, body: Buffer) -> bool:
        """See `PlaceStore.create`. UsageError: the file system overwrites what is there."""
        if type(self._system) not in _refusing:
            self._try(f"{key}-{secrets.token_hex(8)}")
            _refusing.add(type(self._system))
        return self._run("write", key, lambda: self._created(key, body))

    def _try(self, key: str) -> None:
        """Create a file twice: the second time has to be refused."""
        try:
            self._run("write", key, lambda: self._created(key, b"try"))
            if self._run("write", key, lambda: self._created(key, b"try")):
                raise UsageError(
                    f"files cannot be sent to {self.url}",
                    why="its file system overwrites what is there, so that no id that is in use can be refused",
                    fix="Send them to s3://, a local directory or a dataset.",
                )
        finally:
            self.delete([key])

    def _created(self, key: str, body: Buffer) -> bool:
        try:
            self._piped(key, body, "create")
        except FileExistsError:
            return False
        return True

    def _piped(self, key: str, body: Buffer, mode: str) -> None:
        path = self._path(key)
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._system.pipe_file(path, bytes(body), mode=mode)

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:  # noqa: ARG002  # it has its own
        """See `PlaceStore.put_file`. What the file system says of its size afterwards is held against it."""
        watch = _Watched[None](self._deadline, f"write {self.url}/{key}")
        path, own = self._path(key), os.dup(descriptor)

        def work() -> None:
            try:
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
                at = 0
                with self._system.open(path, "wb") as stream:
                    while at < size:
                        watch.check()
                        piece = os.pread(own, min(_STEP, size - at), at)
                        if not piece:
                            raise ConflictError("a file became shorter while it was sent", fix="Close it before that.")
                        stream.write(piece)
                        at += len(piece)
                        watch.moved()
                self._system.invalidate_cache(path)
                told = self._system.info(path).get("size")
                if told is not None and told != size:
                    raise IntegrityError(f"{self.url}/{key} was not written whole", why=f"{told} of {size} bytes")
            finally:
                os.close(own)

        with _explained(f"{self.url}/{key}", "write"):
            watch.run(work)

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `PlaceStore.list`; the prefix is a folder."""
        found = self._run("list", prefix, lambda: self._find(self._path(prefix).rstrip("/")))
        for path, told in sorted(found.items())[:limit]:
            key = path[len(self._root) :].lstrip("/")
            yield ObjectInfo(key, int(told.get("size") or 0), None)

    def _find(self, path: str) -> dict[str, Any]:
        self._system.invalidate_cache()  # what others have written since it was listed last
        try:
            found: dict[str, Any] = self._system.find(path, detail=True)
        except FileNotFoundError:
            return {}
        return found

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `PlaceStore.list_folders`."""
        path = self._path(prefix).rstrip("/")
        for told in self._run("list", prefix, lambda: self._level(path)):
            if told["type"] == "directory":
                yield told["name"].rstrip("/").rpartition("/")[2]

    def _level(self, path: str) -> Iterable[dict[str, Any]]:
        self._system.invalidate_cache()
        try:
            return tuple(self._system.ls(path, detail=True))
        except FileNotFoundError:
            return ()

    def delete(self, keys: Iterable[str]) -> None:
        """See `PlaceStore.delete`."""
        for key in keys:
            self._run("delete", key, partial(self._removed, self._path(key)))

    def _removed(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._system.rm_file(path)


_refusing: set[type] = set()
"""File systems that were seen to refuse to create what is there."""


class _Watched(Generic[T]):
    """A call in a thread of its own, given up when it has moved nothing for `seconds`."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._condition = threading.Condition()
        self._moves = 0
        self._is_done = self._is_left = False

    def moved(self) -> None:
        with self._condition:
            self._moves += 1
            self._condition.notify()

    def check(self) -> None:
        if self._is_left:
            raise self._late()

    def _late(self) -> StoreUnreachableError:
        return StoreUnreachableError(
            f"cannot {self._what}", why=f"nothing moved for {self._seconds:.0f} s", fix="Try again later."
        )

    def run(self, call: Callable[[], T]) -> T:
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.extend((call(), None))
            except BaseException as error:  # noqa: BLE001  # it belongs to who waits
                outcome.extend((None, error))
            with self._condition:
                self._is_done = True
                self._condition.notify()

        threading.Thread(target=work, name="penstock-fsspec", daemon=True).start()
        with self._condition:
            while not self._is_done:
                moves = self._moves
                if not self._condition.wait(self._seconds) and moves == self._moves and not self._is_done:
                    self._is_left = True
                    raise self._late()
        result, error = outcome
        if error is not None:
            raise error
        found: T = result
        return found


@contextmanager
def _explained(url: str, verb: str) -> Iterator[None]:
    """Turn what fsspec and its libraries raise into our errors: they raise all kinds, and OSErrors of their own."""
    try:
        yield
    except PenstockError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {url}", fix="Check the address.") from error
    except PermissionError as error:
        raise AccessError(f"cannot {verb} {url}", why=str(error), fix="Check the credentials.") from error
    except ImportError as error:
        raise UsageError(f"cannot {verb} {url}", why=str(error), fix="Install the library that it names.") from error
    except Exception as error:
        raise AccessError(f"cannot {verb} {url}", why=f"{type(error).__name__}: {error}") from error


def _opened(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UsageError(
            f"cannot reach {url}", why="fsspec is not installed", fix="pip install 'penstock[fsspec]'"
        ) from error
    system, path = url_to_fs(url)
    return system, path


def _facts(system: Any, path: str) -> FsspecFacts:
    told = system.info(path)
    size = told.get("size")
    mark = next(
        (told[name] for name in ("ETag", "etag", "md5Hash", "content_md5", "mtime", "created") if name in told), None
    )
    if mark is None:
        with suppress(Exception):  # not all of them can say
            mark = system.modified(path)
    return FsspecFacts(size, f"{system.protocol}:{mark}:{size}" if mark is not None else None)
