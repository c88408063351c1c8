"""A store in a local directory: an object is a file, its key the path below the root.

Made by `opening.open_store`. Nothing is created before the first write. Writes go through a temporary file
(`durable`); `put` renames it over the object, `create` links it to a name that must be free, so both are atomic
against any number of threads, processes, and machines on one NFS. Empty folders are removed with their last object:
as in S3, a folder exists only through what is in it.

A crash leaves at most a file in ``.penstock-tmp``, which no listing shows and a later opening removes.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote_from_bytes

from penstock.errors import ConflictError, NotFoundError, UsageError

from .base import Buffer, ByteRange, Level, ObjectInfo, Store
from .durable import (
    TEMPORARY_FOLDER,
    DurableFolders,
    remove_stale,
    sync_folder,
    write_all,
    write_temporary,
)
from .keys import check_key, check_prefix, check_start_after
from .local_errors import explained
from .local_walk import files, has_objects, subfolders, walk

__all__ = ["LocalStore"]

# A `delete` elsewhere may remove an empty folder between our making it and our naming a file in it.
_PLACING_ATTEMPTS = 20
_COPY_STEP = 1 << 30
_NOT_AN_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})


class LocalStore(Store):
    """Objects as files below `path`, which must be absolute. Raises UsageError when something else is there."""

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        raw = os.fsencode(path)
        if not raw.startswith(b"/"):
            raise UsageError(f"{os.fsdecode(raw)!r} is not absolute", fix="Write the whole path, from /")
        self.path = os.fsdecode(os.path.normpath(b"/" + raw.lstrip(b"/")))
        self.url = "file://" + quote_from_bytes(os.fsencode(self.path))
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UsageError(f"{self.path} cannot be a store", why="it is not a directory")
        self._temporary = os.path.join(self.path, TEMPORARY_FOLDER)
        self._folders = DurableFolders(self.path)
        remove_stale(self._temporary)

    def __reduce__(self) -> tuple[object, ...]:
        return LocalStore, (self.path,)

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        version_id: str | None = None,
        etag: str | None = None,
    ) -> bytes:
        """See `Store.get`. There are no versions: UsageError for a `version_id`."""
        _refuse_version(version_id)
        with self._opened(key) as (descriptor, before):
            _compare(etag, before, key)
            body = _read(descriptor, before.st_size, byte_range)
            if etag is not None:
                _compare(etag, os.fstat(descriptor), key)
            return body

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`."""
        path = self._path(key)
        with explained("write", path):
            self._place(path, lambda descriptor: write_all(descriptor, body), os.replace)

    def create(self, key: str, body: Buffer) -> bool:
        """See `Store.create`: link(2) is the arbiter."""
        path = self._path(key)
        with explained("create", path):
            try:
                self._place(path, lambda descriptor: write_all(descriptor, body), os.link)
            except FileExistsError:
                same = self._holds(path, body)
                if same:  # perhaps the writer crashed before it could sync the name
                    sync_folder(os.path.dirname(path))
                return same
        return True

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        path = self._path(key)
        with explained("look at", path):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _info(key, status) if stat.S_ISREG(status.st_mode) else None

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        limit: int | None = None,
        page: int | None = None,  # noqa: ARG002 - a directory has no pages
    ) -> Iterator[ObjectInfo]:
        """See `Store.list`. Memory: the names of one folder on each level."""
        check_prefix(prefix)
        check_start_after(start_after)
        with explained("list", os.path.join(self.path, prefix)):
            for key, status in itertools.islice(walk(self.path, prefix, start_after), limit):
                yield _info(key, status)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        with explained("list", os.path.join(self.path, prefix)):
            for name in subfolders(self.path, prefix):
                if has_objects(self.path, f"{prefix}{name}/"):
                    yield name

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:  # noqa: ARG002 - as above
        """See `Store.list_level`."""
        folders = list(self.list_folders(prefix))
        with explained("list", os.path.join(self.path, prefix)):
            return Level(folders, [_info(key, status) for key, status in files(self.path, prefix)])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        touched: set[str] = set()
        for key in keys:
            path = self._path(key)
            with explained("delete", path), contextlib.suppress(*_NOT_AN_OBJECT):
                os.unlink(path)
                touched.add(os.path.dirname(path))
        for folder in touched:
            with explained("delete from", folder), contextlib.suppress(FileNotFoundError):
                sync_folder(folder)
            self._folders.prune(folder)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """See `Store.copy`. The kernel copies, sharing blocks where the file system can."""
        if not isinstance(source, LocalStore):
            raise UsageError(f"cannot copy from {source.url} to {self.url}", why="they are different kinds of store")
        _refuse_version(source_version_id)
        path = self._path(key)
        with source._opened(source_key) as (descriptor, _), explained("write", path):  # noqa: SLF001 - same class
            self._place(path, lambda target: _copy(descriptor, target), os.replace)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, os.stat_result]]:
        """Open the object for reading: its descriptor and what fstat(2) says."""
        path = self._path(key)
        with explained("read", path):
            try:
                # O_NONBLOCK: a FIFO that someone put there must not hold the reader for ever.
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing(key) from None
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise self._missing(key)
                yield descriptor, status
            finally:
                os.close(descriptor)

    def _path(self, key: str) -> str:
        check_key(key)
        if key == TEMPORARY_FOLDER or key.startswith(TEMPORARY_FOLDER + "/"):
            raise UsageError(f"{key!r} cannot be a key", why=f"{TEMPORARY_FOLDER} is reserved for temporary files")
        return f"{self.path}/{key}"

    def _missing(self, key: str) -> NotFoundError:
        if not os.path.isdir(self.path):
            return NotFoundError(f"no directory {self.path}", fix="Check the path, or push something to create it")
        return NotFoundError(f"no object {key} in {self.url}")

    def _place(self, path: str, fill: Callable[[int], None], publish: Callable[[str, str], None]) -> None:
        """Write a temporary file with `fill` and give it its name with `publish`, durably. Raises OSError."""
        temporary = self._write_temporary(fill)
        folder = os.path.dirname(path)
        try:
            for left in reversed(range(_PLACING_ATTEMPTS)):
                try:
                    self._folders.ensure(folder)
                    publish(temporary, path)
                    break
                except FileNotFoundError:
                    if not left:
                        raise
                    self._folders.forget()
            with contextlib.suppress(FileNotFoundError):  # deleted again, and the folder with it
                sync_folder(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _write_temporary(self, fill: Callable[[int], None]) -> str:
        self._folders.ensure(self._temporary)
        try:
            return write_temporary(self._temporary, fill)
        except FileNotFoundError:  # someone tidied up: make the folder once more
            self._folders.forget()
            self._folders.ensure(self._temporary)
            return write_temporary(self._temporary, fill)

    def _holds(self, path: str, body: Buffer) -> bool:
        with open(path, "rb") as file:
            size = memoryview(body).nbytes
            return os.fstat(file.fileno()).st_size == size and file.read(size + 1) == body


def _refuse_version(version_id: str | None) -> None:
    if version_id is not None:
        raise UsageError(f"no version {version_id}", why="a local directory keeps no versions of its objects")


def _etag(status: os.stat_result) -> str:
    # The inode as well: two writes of one size may fall into one tick of the file system's clock.
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _compare(etag: str | None, status: os.stat_result, key: str) -> None:
    if etag is not None and etag != _etag(status):
        raise ConflictError(f"{key} has changed", why=f"its identity is {_etag(status)}, not {etag}")


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, status.st_mtime, _etag(status))


def _read(descriptor: int, size: int, byte_range: ByteRange | None) -> bytes:
    offset, end = 0, size
    if byte_range is not None:
        offset, end = byte_range.offset, min(byte_range.offset + byte_range.length, size)
    parts: list[bytes] = []
    while offset < end:
        part = os.pread(descriptor, end - offset, offset)
        if not part:
            break  # it shrank under us: what there is
        parts.append(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _copy(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, _COPY_STEP):
            pass
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY or os.lseek(target, 0, os.SEEK_CUR):
            raise
        os.lseek(source, 0, os.SEEK_SET)
        while part := os.read(source, 1 << 20):
            write_all(target, part)
