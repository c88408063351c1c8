"""Files fetched from wherever they are, each checked: objects of S3, files of this machine, versions, fsspec's URLs.

Of each file it is told what identifies its content, so that it can be seen later, without fetching it, whether it is
still the same: the hash of a file of this machine or of a version; the ETag of an object; what fsspec says.

**Invariant:** every fetch ends within its deadline: the store's, or for fsspec, which has none, that much without a
byte. **Invariant:** what `fetch` returns for is whole: a file that changed while it was read is a ConflictError.

Thread-safe; stores and versions are opened once in each process, and closed by `close`.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

from blake3 import blake3

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import AccessError, ConflictError, NotFoundError, UsageError
from penstock.repo.fetch.externals import remote_above
from penstock.store.base import ObjectInfo, Store
from penstock.store.download import download_object
from penstock.store.durable import write_all
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .file_address import EntryAddress, FileAddress, LocalAddress, ObjectAddress
from .fsspec_files import FsspecFile, FsspecPlaces, PlaceStore

__all__ = ["FetchedFile", "FileSources"]

_STEP = 4 << 20
_DEFAULTS = StoreOptions()


class FetchedFile(NamedTuple):
    """What is known of a file: its bytes, and what identifies its content, if anything does."""

    size: int | None
    identity: str | None


class FileSources:
    """Opens what files are fetched from.

    `options` are for S3 and for datasets; where they are the defaults, an address below one of the settings' remotes
    is reached as that is.
    """

    def __init__(self, options: StoreOptions, settings: Settings) -> None:
        self.options = options
        self.settings = replace(settings, store_options=options) if options != _DEFAULTS else settings
        self._lock = threading.Lock()
        self._stores: dict[str, Store] = {}
        self._packages: dict[Handle, Package] = {}

    def store(self, url: str) -> Store:
        """Return the open store at an address, ``s3://bucket[/prefix]`` or ``file:///dir``."""
        with self._lock:
            store = self._stores.get(url)
            if store is None:
                remotes = self.settings.options_by_address()
                above = remote_above(url, remotes) if self.options == _DEFAULTS else None
                options = remotes[above] if above is not None else self.options
                store = self._stores[url] = open_store(url, options)
        return store

    def place(self, url: str) -> PlaceStore:
        """Return where files are sent to below an address: of a store, or one that fsspec knows."""
        if url.startswith(("s3://", "file://")):
            return self.store(url)
        return FsspecPlaces(url, self.options.deadline)

    def close(self) -> None:
        """Close what is open; it is opened again when it is needed."""
        with self._lock:
            opened: list[Store | Package] = [*self._stores.values(), *self._packages.values()]
            self._stores, self._packages = {}, {}
        for each in opened:
            each.close()

    def __reduce__(self) -> tuple[object, ...]:
        return FileSources, (self.options.portable(), self.settings.portable())

    def fetch(
        self,
        address: FileAddress,
        descriptor: int,
        pool: Executor | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> FetchedFile:
        """Write a file into an open, empty one. `advance` is told of bytes. Raises OSError of what is written."""
        if isinstance(address, ObjectAddress):
            store = self.store(f"s3://{address.bucket}")
            found = download_object(
                store, address.key, descriptor, version_id=address.version_id, pool=pool, advance=advance
            )
            return FetchedFile(found.size, _identity(found))
        if isinstance(address, LocalAddress):
            return _fetch_local(address.path, descriptor, advance)
        if isinstance(address, EntryAddress):
            entry = self._package(address.version).entry(address.handle.subdir)
            for block in entry.blocks():
                write_all(descriptor, block)
                advance(len(block))
            return FetchedFile(entry.size, f"blake3:{entry.hash}")
        return FetchedFile(*FsspecFile(address.url, self.options.deadline).fetch(descriptor, advance))

    def look(self, address: FileAddress) -> FetchedFile:
        """Return what is known of a file without fetching it. NotFoundError: it is not there."""
        if isinstance(address, ObjectAddress):
            store = self.store(f"s3://{address.bucket}")
            if address.version_id is not None:
                found: ObjectInfo | None = store.begin(address.key, 1, version_id=address.version_id).info
            else:
                found = store.head(address.key)
            if found is None:
                raise NotFoundError(f"no object {address}", fix="Check the address.")
            return FetchedFile(found.size, _identity(found))
        if isinstance(address, LocalAddress):
            return _fetch_local(address.path, None, lambda _: None)
        if isinstance(address, EntryAddress):
            entry = self._package(address.version).entry(address.handle.subdir)
            return FetchedFile(entry.size, f"blake3:{entry.hash}")
        return FetchedFile(*FsspecFile(address.url, self.options.deadline).look())

    def _package(self, version: Handle) -> Package:
        with self._lock:
            package = self._packages.get(version)
            if package is None:
                package = self._packages[version] = Package(version, self.settings)
        return package


def _identity(info: ObjectInfo) -> str | None:
    return f"etag:{info.etag}:{info.size}" if info.etag is not None else None


def _fetch_local(path: str, descriptor: int | None, advance: Callable[[int], object]) -> FetchedFile:
    """Copy a file, or only hash it. A link is followed: the caller named it."""
    source = -1
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        before = os.fstat(source)
        if not stat.S_ISREG(before.st_mode):
            kind = "a directory" if stat.S_ISDIR(before.st_mode) else "no file"
            raise UsageError(f"{path!r} is {kind}", fix="Name a file.")
        hasher = blake3()
        size = 0
        while data := _read(source, path, _STEP):
            hasher.update(data)
            size += len(data)
            if descriptor is not None:
                write_all(descriptor, data)
                advance(len(data))
        after = os.fstat(source)
    except (FileNotFoundError, NotADirectoryError) as error:
        if source >= 0:
            raise
        raise NotFoundError(f"no file {path!r}", fix="Check the path.") from error
    except PermissionError as error:
        if source >= 0:
            raise
        raise AccessError(f"cannot read {path!r}", why="permission denied", fix="Give yourself access.") from error
    finally:
        if source >= 0:
            os.close(source)
    if size != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ConflictError(
            f"{path!r} changed while it was read", why="it is still being written", fix="Wait until it is finished."
        )
    return FetchedFile(size, f"blake3:{hasher.hexdigest()}")


def _read(descriptor: int, path: str, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except OSError as error:
        raise AccessError(f"cannot read {path!r}", why=error.strerror or str(error), fix="Check the disk.") from error
