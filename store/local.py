"""A store in a local directory: an object is a file, its key the path below the root.

Made by `opening.open_store`. Nothing is created or swept before the first write. Writes go through a temporary file
(`durable`); `put` renames it over the object, `create` gives it a name that must be free (`naming`), so both are atomic
against any number of threads and processes, and where the file system has hard links, machines on one NFS. Empty
folders are removed with their last object: as in S3, a folder exists only through what is in it.

The directory itself may be a symbolic link, or lie behind one. Below it none is followed (`beneath`): whoever may write
into a store could else have others read, list, overwrite or delete files that are not in it. What a link stands for
is an AccessError, and not missing.

A crash leaves at most a file in ``.penstock-tmp``, which no listing shows and a later writer removes.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from penstock.errors import ConflictError, NotFoundError, UsageError

from .base import WHOLE_LIMIT, Buffer, ByteRange, Level, ObjectBeginning, ObjectInfo, Store, too_large
from .beneath import READ, closing_folder, is_regular, look_beneath, open_beneath, open_root
from .durable import (
    TEMPORARY_FOLDER,
    DurableFolders,
    check_owner,
    make_root,
    remove_stale,
    write_all,
    write_temporary,
)
from .keys import check_key, check_prefix, check_start_after
from .local_errors import explained
from .local_walk import files, has_objects, subfolders, walk
from .naming import Naming, find_naming

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["LocalStore"]

# A `delete` elsewhere may remove an empty folder between our making it and our naming a file in it.
_PLACING_ATTEMPTS = 20
_COPY_STEP = 1 << 30
_GONE = (FileNotFoundError, NotADirectoryError)
_NOT_AN_OBJECT = (*_GONE, IsADirectoryError)
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
        self._folders = DurableFolders()
        self._naming: Naming | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return LocalStore, (self.path,)

    @property
    def place(self) -> str:
        """See `Store.place`."""
        with explained("look at", self.path):
            return f"{self.url} on device {os.stat(self.path).st_dev}"

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,  # noqa: ARG002 - a file system does not answer with other bytes
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """See `Store.get`. There are no versions: UsageError for a `version_id`."""
        _refuse_version(version_id)
        with self._opened(key) as (descriptor, before):
            _compare(etag, before, key)
            if size not in (None, before.st_size):
                raise ConflictError(f"{self.url}/{key} has changed", why=f"it has {before.st_size} bytes, not {size}")
            if byte_range is None and before.st_size > limit:
                raise too_large(f"{self.url}/{key}", limit)
            body = _read(descriptor, before.st_size, byte_range)
            if etag is not None:
                _compare(etag, os.fstat(descriptor), key)
            return body

    def get_into(self, key: str, offset: int, memory: memoryview) -> int:
        """See `Store.get_into`."""
        with self._opened(key) as (descriptor, _):
            done = 0
            while done < len(memory) and (count := os.preadv(descriptor, [memory[done:]], offset + done)):
                done += count
            return done

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """See `Store.begin`."""
        _refuse_version(version_id)
        with self._opened(key) as (descriptor, status):
            data = _read(descriptor, status.st_size, ByteRange(0, length))
            return ObjectBeginning(_info(key, status), data, None)

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:  # noqa: ARG002
        """See `Store.put_file`: the kernel copies."""
        path = self._path(key)
        with explained("write", path):
            self._place(key, lambda target: _copy_all(descriptor, target, size), _replace)

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`."""
        path = self._path(key)
        with explained("write", path):
            self._place(key, lambda descriptor: write_all(descriptor, body), _replace)

    def create(self, key: str, body: Buffer) -> bool:
        """See `Store.create`: the file system is the arbiter."""
        path = self._path(key)
        with explained("create", path):
            try:
                self._place(key, lambda descriptor: write_all(descriptor, body), self._name)
            except FileExistsError:
                return self._holds(key, body)
        return True

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        path = self._path(key)
        with explained("look at", path):
            try:
                with self._root() as root:
                    status = look_beneath(root, key)
            except _GONE:
                return None
        return _info(key, status) if is_regular(status) else None

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        limit: int | None = None,
        page: int | None = None,  # noqa: ARG002 - a directory has no pages
    ) -> Iterator[ObjectInfo]:
        """See `Store.list`. Memory: the names of one folder on each level, and a descriptor each."""
        check_prefix(prefix)
        check_start_after(start_after)
        with explained("list", os.path.join(self.path, prefix)), self._root_if_there() as root:
            found = walk(root, prefix, start_after) if root is not None else iter(())
            for key, status in itertools.islice(found, limit):
                yield _info(key, status)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        with explained("list", os.path.join(self.path, prefix)), self._root_if_there() as root:
            if root is None:
                return
            for name in subfolders(root, prefix):
                if has_objects(root, f"{prefix}{name}/"):
                    yield name

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:  # noqa: ARG002 - as above
        """See `Store.list_level`."""
        folders = list(self.list_folders(prefix))
        with explained("list", os.path.join(self.path, prefix)), self._root_if_there() as root:
            found = files(root, prefix) if root is not None else ()
            return Level(folders, [_info(key, status) for key, status in found])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. A symbolic link goes itself, and never what it leads to."""
        touched: set[str] = set()
        with contextlib.ExitStack() as stack:
            root: int | None = None
            for key in keys:
                path = self._path(key)
                folder, _, name = key.rpartition("/")
                with explained("delete", path), contextlib.suppress(*_NOT_AN_OBJECT):
                    if root is None:
                        root = stack.enter_context(self._root())
                    with closing_folder(open_beneath(root, folder, os.O_PATH | os.O_DIRECTORY)) as parent:
                        os.unlink(name, dir_fd=parent)
                    touched.add(folder)
            for folder in touched:
                assert root is not None  # something was deleted there
                with explained("delete from", f"{self.path}/{folder}"), contextlib.suppress(FileNotFoundError):
                    _sync(root, folder)
                self._folders.prune(root, folder)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """See `Store.copy`. The kernel copies, sharing blocks where the file system can."""
        if not isinstance(source, LocalStore):
            raise UsageError(f"cannot copy from {source.url} to {self.url}", why="they are different kinds of store")
        _refuse_version(source_version_id)
        path = self._path(key)
        with source._opened(source_key) as (descriptor, _), explained("write", path):  # noqa: SLF001 - same class
            self._place(key, lambda target: _copy(descriptor, target), _replace)

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        """Open the store's own folder. Raises OSError."""
        with closing_folder(open_root(self.path)) as root:
            yield root

    @contextlib.contextmanager
    def _root_if_there(self) -> Iterator[int | None]:
        try:
            root = open_root(self.path)
        except _GONE:
            yield None
            return
        with closing_folder(root):
            yield root

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, os.stat_result]]:
        """Open the object for reading: its descriptor and what fstat(2) says."""
        path = self._path(key)
        with explained("read", path):
            try:
                with self._root() as root:
                    descriptor = open_beneath(root, key, READ)
            except _GONE:
                raise self._missing(key) from None
            with closing_folder(descriptor):
                status = os.fstat(descriptor)
                if not is_regular(status):
                    raise self._missing(key)
                yield descriptor, status

    def _path(self, key: str) -> str:
        check_key(key)
        if key == TEMPORARY_FOLDER or key.startswith(TEMPORARY_FOLDER + "/"):
            raise UsageError(f"{key!r} cannot be a key", why=f"{TEMPORARY_FOLDER} is reserved for temporary files")
        return f"{self.path}/{key}"

    def _missing(self, key: str) -> NotFoundError:
        if not os.path.isdir(self.path):
            return NotFoundError(f"no directory {self.path}", fix="Check the path, or push something to create it")
        return NotFoundError(f"no object {key} in {self.url}")

    def _place(self, key: str, fill: Callable[[int], None], publish: Naming) -> None:
        """Write a temporary file with `fill` and give it its name with `publish`, durably. Raises OSError."""
        folder, _, wanted = key.rpartition("/")
        make_root(self.path)
        with self._root() as root, self._temporary(root) as temporary:
            name = write_temporary(temporary, fill)
            try:
                for left in reversed(range(_PLACING_ATTEMPTS)):
                    try:
                        with closing_folder(self._folders.open(root, folder)) as target:
                            publish(temporary, name, target, wanted)
                            os.fsync(target)
                        break
                    except FileNotFoundError:
                        if not left:
                            raise
                        self._folders.forget()
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=temporary)

    @contextlib.contextmanager
    def _temporary(self, root: int) -> Iterator[int]:
        """Open the folder of temporary files, and before the first write see what it holds and can."""
        try:
            folder = self._folders.open(root, TEMPORARY_FOLDER)
        except FileNotFoundError:  # someone tidied up: make the folder once more
            self._folders.forget()
            folder = self._folders.open(root, TEMPORARY_FOLDER)
        with closing_folder(folder):
            check_owner(root, folder, f"{self.path}/{TEMPORARY_FOLDER}")
            if self._naming is None:
                remove_stale(folder)
                # Before anything is sent, and not when the last name is to be given.
                self._naming = find_naming(folder, self.path)
            yield folder

    def _name(self, folder: int, name: str, target: int, wanted: str) -> None:
        assert self._naming is not None  # `_temporary` has found one
        self._naming(folder, name, target, wanted)

    def _holds(self, key: str, body: Buffer) -> bool:
        """Whether the object that is there is this very one; its name is durable then."""
        size = memoryview(body).nbytes
        with self._root() as root:
            with closing_folder(open_beneath(root, key, READ)) as descriptor:
                status = os.fstat(descriptor)
                if not is_regular(status):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), key)
                same = status.st_size == size and _read(descriptor, size, None) == body
            if same:  # perhaps the writer crashed before it could sync the name
                _sync(root, key.rpartition("/")[0])
        return same


def _replace(folder: int, name: str, target: int, wanted: str) -> None:
    os.replace(name, wanted, src_dir_fd=folder, dst_dir_fd=target)


def _sync(root: int, folder: str) -> None:
    """Make the names in the folder durable."""
    with closing_folder(open_beneath(root, folder, os.O_RDONLY | os.O_DIRECTORY)) as descriptor:
        os.fsync(descriptor)


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


def _copy_all(source: int, target: int, size: int) -> None:
    with open(f"/proc/self/fd/{source}", "rb", buffering=0) as again:  # with a position of its own
        _copy(again.fileno(), target)
    if os.fstat(target).st_size != size:
        raise ConflictError("the file changed while it was copied", why=f"it had {size} bytes", fix="Try it again.")


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
