"""Versions by way of fsspec: ``penstock://bucket/dataset@ref/path``, for pandas, Arrow, DuckDB, zarr and their like.

fsspec finds it by its protocol, so that a URL is all that such a library needs. Without ``@ref`` it is the branch
``main``; ``:ref``, as in a handle, means the same. Symbolic links of a version are followed within it.

**Invariants:** a branch is looked up once, and is that version from then on, also in copies that were pickled;
`invalidate_cache` lets go of it. Listings are not kept here: the nodes that they are made of are, in memory and in the
block cache.

Synchronous, since what waits in an event loop of its own hangs after a fork. Thread-safe.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from penstock.api.packages.entry import Entry
from penstock.api.packages.entry_file import EntryFile
from penstock.api.packages.package import Package
from penstock.api.storage.bucket import Bucket
from penstock.errors import AccessError, NotFoundError, UsageError

from .handles import Handle, as_handle
from .settings import load_settings, remotes

try:
    from fsspec.spec import AbstractFileSystem  # pyright: ignore[reportMissingImports]  # an extra
except ImportError as missing:
    raise ImportError("this needs fsspec: pip install 'penstock[fsspec]'") from missing

__all__ = ["PenstockFileSystem"]

_Base: Any = AbstractFileSystem
"""Without its signatures, which are not those that its own subclasses have."""

_MOST_LINKS = 40
"""Symbolic links on the way to a file, as Linux has it."""


class PenstockFileSystem(_Base):  # type: ignore[misc]  # fsspec has no types
    """Versions in buckets, read only. `config` is a configuration file, the user's by default.

    >>> import fsspec
    >>> with fsspec.open("penstock://demo/photos@v1/labels.csv", "rt") as lines:
    ...     lines.read()
    'cat,1'
    >>> fsspec.filesystem("penstock").ls("demo/photos@v1", detail=False)
    ['demo/photos@v1/2024', 'demo/photos@v1/labels.csv']
    """

    protocol = "penstock"
    root_marker = ""

    def __init__(self, config: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(config=config, **{**options, "use_listings_cache": False})
        self._settings = load_settings(config=Path(config) if config is not None else None)
        self._packages: dict[Handle, Package] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        parts = text.removeprefix("penstock://").strip("/").split("/")
        if len(parts) > 1:
            parts[1] = parts[1].replace(":", "@", 1)
        return "/".join(parts)

    def _found(self, path: str) -> tuple[Package, str]:
        """Return the version that a path is in, and the key in it."""
        bucket, _, rest = self._strip_protocol(path).partition("/")
        dataset, _, key = rest.partition("/")
        name, _, ref = dataset.partition("@")
        handle = as_handle(Handle(bucket, name, ref or None))
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

    def _open(self, path: str, mode: str = "rb", **_: Any) -> EntryFile:
        if mode != "rb":
            self._refuse(path)
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
            together: dict[int, tuple[Package, list[str]]] = {}
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

    def _refuse(self, path: Any, *_: Any, **__: Any) -> NoReturn:
        raise OSError(
            errno.EROFS,
            "versions never change, and fsspec makes no new ones here yet: write to a local directory and push it",
            os.fspath(path) if not isinstance(path, Sequence) or isinstance(path, str) else ", ".join(path),
        )

    mkdir = makedirs = rmdir = rm = rm_file = touch = cp_file = copy = mv = pipe_file = put_file = _refuse
    _rm = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.storage_args, self.storage_options, dict(self._packages))


def _rebuilt(
    kind: type[PenstockFileSystem], arguments: Sequence[Any], options: dict[str, Any], packages: dict[Handle, Package]
) -> PenstockFileSystem:
    made = kind(*arguments, **options)
    for handle, package in packages.items():
        made._packages.setdefault(handle, package)  # noqa: SLF001  # the other half of __reduce__
    return made


def _first_link(package: Package, key: str) -> Entry | None:
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
