"""Versions by way of fsspec: ``penstock://bucket/dataset@ref/path``, for pandas, Arrow, DuckDB, zarr and their like.

fsspec finds it by its protocol, so that a URL is all that such a library needs. Without ``@ref`` it is the branch
``main``; ``:ref``, as in a handle, means the same. Symbolic links of a version are followed within it.

**Invariants:** a branch is looked up once, and is that version from then on, also in copies that were pickled;
`invalidate_cache` lets go of it. Listings are not kept here: the nodes that they are made of are, in memory and in the
block cache.

What is written goes to a branch, by way of a builder: all of a transaction as one version, else each call as one.

Synchronous, since what waits in an event loop of its own hangs after a fork. Thread-safe.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.api.packages.entry import Entry
from penstock.api.packages.entry_file import EntryFile
from penstock.api.packages.package import Package
from penstock.api.storage.bucket import Bucket
from penstock.errors import AccessError, NotFoundError, UsageError

from .filesystem_writes import FileWrites, WrittenFile, active_writes, begin_writes, end_writes
from .handles import Handle, as_handle
from .settings import load_settings, remotes

if TYPE_CHECKING:
    from penstock.api.builder.draft_package import DraftPackage

try:
    from fsspec.spec import AbstractFileSystem  # pyright: ignore[reportMissingImports]  # an extra
    from fsspec.transaction import Transaction  # pyright: ignore[reportMissingImports]
except ImportError as missing:
    raise ImportError("this needs fsspec: pip install 'penstock[fsspec]'") from missing

__all__ = ["PenstockFileSystem"]

_Base: Any = AbstractFileSystem
"""Without its signatures, which are not those that its own subclasses have."""

_MOST_LINKS = 40
"""Symbolic links on the way to a file, as Linux has it."""


_Transaction: Any = Transaction


class _VersionTransaction(_Transaction):  # type: ignore[misc]  # fsspec has no types
    """What is written within it becomes one version of each branch, or nothing."""

    def start(self) -> None:
        self.fs._begin_transaction()  # noqa: SLF001  # its own
        super().start()

    def complete(self, commit: bool = True) -> None:
        fs = self.fs
        try:
            super().complete(commit)  # closes what is open still
        except BaseException:
            fs._end_transaction(commit=False)  # noqa: SLF001
            raise
        fs._end_transaction(commit=commit)  # noqa: SLF001


class PenstockFileSystem(_Base):  # type: ignore[misc]  # fsspec has no types
    """Versions in buckets. `config` is a configuration file, the user's by default.

    Writes go to a branch, ``main`` or the one after the ``@``. Within ``with fs.transaction:`` they become one version
    of it at the end, or none if an error leaves the block. Without a transaction each call makes a version: a file that
    is closed, a `put`, `pipe`, `rm`, `mv` or `copy`. Where a push fails, its error, one of `penstock.errors`, comes up.

    >>> import fsspec
    >>> with fsspec.open("penstock://demo/photos@v1/labels.csv", "rt") as lines:
    ...     lines.read()
    'cat,1'
    >>> fsspec.filesystem("penstock").ls("demo/photos@v1", detail=False)
    ['demo/photos@v1/2024', 'demo/photos@v1/labels.csv']
    """

    protocol = "penstock"
    transaction_type = _VersionTransaction
    root_marker = ""

    def __init__(self, config: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(config=config, **{**options, "use_listings_cache": False})
        self._settings = load_settings(config=Path(config) if config is not None else None)
        self._packages: dict[Handle, Package] = {}
        self._owner = os.fspath(config) if config is not None else None
        self._call = threading.local()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        parts = text.removeprefix("penstock://").strip("/").split("/")
        if len(parts) > 1:
            parts[1] = parts[1].replace(":", "@", 1)
        return "/".join(parts)

    def _parsed(self, path: str) -> tuple[Handle, str]:
        bucket, _, rest = self._strip_protocol(path).partition("/")
        dataset, _, key = rest.partition("/")
        name, _, ref = dataset.partition("@")
        return as_handle(Handle(bucket, name, ref or None)), key

    def _found(self, path: str) -> tuple[Package | DraftPackage, str]:
        """Return the version that a path is in, or what is written to its branch just now, and the key in it."""
        handle, key = self._parsed(path)
        writes = self._current_writes()
        written = writes.package(handle) if writes is not None else None
        if written is not None:
            return written, key
        package = self._packages.get(handle)
        if package is None:
            package = self._packages.setdefault(handle, Package(handle, self._settings))
        return package, key

    def _followed(self, path: str) -> Entry:
        """Return the entry at a path, symbolic links followed."""
        package, key = self._found(path)
        for _ in range(_MOST_LINKS):
            found = package.find(key)
            if found is not None and found.kind != "symlink":
                return found
            link = _first_link(package, key)
            if link is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            folder = posixpath.dirname(link.key)
            if link.target.startswith("/") or _climbs(folder, link.target):
                raise FileNotFoundError(errno.ENOENT, f"a link that leads out of {package.name}", path)
            key = posixpath.normpath(f"{folder}/{link.target}/{key[len(link.key) :]}").strip("/").removeprefix(".")
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a path: name, size, type (file or directory), hash, metadata, mtime."""
        path = self._strip_protocol(path)
        if path.count("/") == 0:
            self.ls(path, detail=False)
            return _folder(path)
        with _as_os_errors(path):
            return _told(path, self._followed(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what is in a directory, in a bucket (its datasets), or, of the empty path, the remotes."""
        path = self._strip_protocol(path)
        with _as_os_errors(path):
            if not path:
                found = [_folder(name) for name in remotes(self._settings)]
            elif "/" not in path:
                found = [_folder(f"{path}/{name}") for name in Bucket(path, self._settings).datasets()]
            else:
                found = self._listed(path)
        return found if detail else [each["name"] for each in found]

    def _listed(self, path: str) -> list[dict[str, Any]]:
        top = self._followed(path)
        if not top.is_directory():
            return [_told(path, top)]
        package, _ = self._found(path)
        return [self._told_in(path, entry) for entry in package.ls(top.key)]

    def _told_in(self, folder: str, entry: Entry) -> dict[str, Any]:
        path = f"{folder}/{entry.name}"
        if entry.kind == "symlink":
            try:
                followed = self._followed(path)
            except (NotFoundError, OSError):
                followed = entry
            if not followed.is_directory():  # one that leads to a directory is not gone into: it may be one above
                return {**_told(path, followed), "islink": True}
        return _told(path, entry)

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether there is anything at a path. Raises what else went wrong."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return whether there is a file at a path."""
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def isdir(self, path: str) -> bool:
        """Return whether there is a directory at a path."""
        try:
            return bool(self.info(path)["type"] == "directory")
        except FileNotFoundError:
            return False

    def _open(self, path: str, mode: str = "rb", **_: Any) -> EntryFile | WrittenFile:
        if mode != "rb":
            return self._open_to_write(path, mode)
        with _as_os_errors(path):
            entry = self._followed(path)
            if entry.is_directory():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            return entry.open()

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:
        """Return the bytes of files: of one, or of many by their paths, which are fetched together."""
        paths = self.expand_path(path, recursive=recursive)
        if on_error != "raise" or options or len(paths) < 2:
            return super().cat(path, recursive=recursive, on_error=on_error, **options)
        with _as_os_errors(paths[0]):
            entries = {each: self._followed(each) for each in paths}
            files = {each: entry for each, entry in entries.items() if entry.is_file()}
            together: dict[int, tuple[Package | DraftPackage, list[str]]] = {}
            for each in files:
                package = self._found(each)[0]
                together.setdefault(id(package), (package, []))[1].append(each)
            read: dict[str, bytes] = {}
            for package, names in together.values():
                read.update(zip(names, package.read_many(files[name] for name in names), strict=True))
        return {each: read[each] for each in files}

    def created(self, path: str) -> datetime:
        """Return `modified`: nothing else is known."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when a file was changed last, before it was pushed."""
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def checksum(self, path: str) -> int:
        """Return a number that is the same as long as the content is."""
        return int(self.info(path)["hash"].removeprefix("identity:")[:15], 16)

    def ukey(self, path: str) -> str:
        """Return the hash of the content."""
        return str(self.info(path)["hash"])

    def invalidate_cache(self, path: str | None = None) -> None:  # noqa: ARG002  # branches are looked up anew, all of them
        """Have branches be looked up anew."""
        packages = list(self._packages.values())
        self._packages.clear()
        for package in packages:
            package.close()

    def _current_writes(self) -> FileWrites | None:
        """Return where writes go now: of the transaction, or of the call that this thread is in."""
        return active_writes(self._owner) or getattr(self._call, "writes", None)

    def _begin_transaction(self) -> None:
        begin_writes(self._owner, self._settings)

    def start_transaction(self) -> Any:
        """Begin a transaction that `end_transaction` ends."""
        self._transaction = self.transaction_type(self)
        self._transaction.start()
        return self._transaction

    def _end_transaction(self, *, commit: bool) -> None:
        writes = end_writes(self._owner)
        if writes is not None:
            self._end_writes(writes, commit=commit)

    def _end_writes(self, writes: FileWrites, *, commit: bool) -> None:
        if commit:
            writes.commit()
            self.invalidate_cache()
        else:
            writes.discard()

    @contextmanager
    def _writing(self) -> Iterator[FileWrites]:
        """Give where writes go; outside of a transaction they are a version when the outermost block has ended."""
        current = self._current_writes()
        if current is not None:
            yield current
            return
        writes = self._call.writes = FileWrites(self._settings)
        try:
            yield writes
        except BaseException:
            self._call.writes = None
            writes.discard()
            raise
        self._call.writes = None
        self._end_writes(writes, commit=True)

    def _open_to_write(self, path: str, mode: str) -> WrittenFile:
        if mode not in ("wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: a file is written anew (w, x), or added to (a)")
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        handle, key = self._parsed(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        current = self._current_writes()
        writes = current or FileWrites(self._settings)
        try:
            with _as_os_errors(path):
                writes.check(handle)

            def done(written: str) -> None:
                writes.put(handle, key, written)
                if current is None:
                    self._end_writes(writes, commit=True)

            def dropped() -> None:
                if current is None:
                    writes.discard()

            file = WrittenFile(writes.new_path(), done, dropped)
            if mode == "ab" and self.exists(path):
                with self._open(path) as before:
                    shutil.copyfileobj(before, file)
        except BaseException:
            if current is None:
                writes.discard()
            raise
        return file

    def put(self, lpath: Any, rpath: Any, *arguments: Any, **options: Any) -> Any:
        """Copy local files to a branch: one version, however many there are."""
        with self._writing():
            return super().put(lpath, rpath, *arguments, **options)

    def pipe(self, path: Any, value: Any = None, **options: Any) -> Any:
        """Write bytes to a file, or to many by a dictionary of their paths: one version."""
        with self._writing():
            return super().pipe(path, value, **options)

    def copy(self, path1: Any, path2: Any, *arguments: Any, **options: Any) -> Any:
        """Copy files or directories: one version, and no bytes within a bucket."""
        with self._writing():
            return super().copy(path1, path2, *arguments, **options)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file."""
        entry = self._followed(path1)
        if not entry.is_directory():
            with self._writing() as writes:
                writes.copy(*self._parsed(path2), entry)

    def mv(self, path1: Any, path2: Any, *arguments: Any, **options: Any) -> Any:
        """Give files or directories another path: one version."""
        with self._writing():
            return super().mv(path1, path2, *arguments, **options)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Take out files, and with `recursive` directories: one version."""
        with self._writing():
            if maxdepth is not None:
                super().rm(path, recursive=recursive, maxdepth=maxdepth)
                return
            for each in self.expand_path(path):
                if not recursive and self.isdir(each):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), each)
                self._rm(each)

    def _rm(self, path: str) -> None:
        with self._writing() as writes, _as_os_errors(path):
            writes.remove(*self._parsed(path))

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Do nothing: a directory is there when something is in it."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: a directory is there when something is in it."""

    def rmdir(self, path: str) -> None:
        """Take out a directory that is empty."""
        if self.ls(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._rm(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.storage_args, self.storage_options, dict(self._packages))


def _rebuilt(
    kind: type[PenstockFileSystem], arguments: Sequence[Any], options: dict[str, Any], packages: dict[Handle, Package]
) -> PenstockFileSystem:
    made = kind(*arguments, **options)
    for handle, package in packages.items():
        made._packages.setdefault(handle, package)  # noqa: SLF001  # the other half of __reduce__
    return made


def _first_link(package: Package | DraftPackage, key: str) -> Entry | None:
    """Return the first symbolic link on the way to a key, or at its end."""
    names = key.split("/")
    for depth in range(1, len(names) + 1):
        found = package.find("/".join(names[:depth]))
        if found is None:
            return None
        if found.kind == "symlink":
            return found
    return None


def _climbs(folder: str, target: str) -> bool:
    """Whether a relative target leads above the root from a directory in it."""
    depth = len([name for name in folder.split("/") if name])
    for name in target.split("/"):
        depth += -1 if name == ".." else name not in ("", ".")
        if depth < 0:
            return True
    return False


def _folder(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _told(path: str, entry: Entry) -> dict[str, Any]:
    kinds = {"directory": "directory", "symlink": "link"}
    return {
        "name": path,
        "size": entry.size if not entry.is_directory() else 0,
        "type": kinds.get(entry.kind, "file"),
        "hash": entry.hash,
        "mtime": entry.modified,
        "metadata": entry.metadata,
    }


@contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """Raise what libraries look for where something is missing or refused; what is damaged or gone stays what it is."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error
    except UsageError as error:  # a name that nothing can have
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error
    except AccessError as error:
        raise PermissionError(errno.EACCES, str(error), path) from error
