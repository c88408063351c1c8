"""Objects that entries point to because their bytes were left where they lay: whether they may be read, and how.

An address comes from the data set, and so perhaps from an enemy. What may be read is the rule in `trust`; how:

- Files by descriptors, following no link below the allowed folder, and nothing but regular files. Never from a file
  system that a program serves (FUSE): it may be the very mount that is being read, and reading may change things there.
  Which it is the table of mounts says, before anything is touched.
- Objects of S3 with the options of the user's remote that has this address, or one above it; else with those of the
  data set's own bucket, but never as one who pays.

**Invariant:** every call ends by the deadline of those options, and a place that does not answer holds up nobody but
its own readers (`lanes`). Places are few, whatever a data set says: mounts, remotes, and all other buckets as one.

Blocking, thread-safe. Stores are opened when they are needed, and kept open.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

from penstock.errors import AccessError, IntegrityError, NotFoundError
from penstock.manifest.entry import External
from penstock.repo.settings.trust import Trust
from penstock.store.base import ByteRange, ObjectInfo, Store
from penstock.store.keys import is_key
from penstock.store.mount_table import KernelMount, mount_of
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .lanes import Lane, Lanes
from .regions import ReadExternal

__all__ = ["Externals", "place_of", "refuse_fuse"]

_T = TypeVar("_T")

_SLOWEST = 128 << 10
"""Bytes a second: what an S3 store may take for a body, on top of its deadline; as in the store itself."""
_FRESH = 1.0
_SLACK = 5.0
"""Seconds that an S3 store, which keeps its own deadline, may overrun it by before it is left alone."""


def place_of(uri: str, remotes: Mapping[str, StoreOptions]) -> tuple[str, bool]:
    """Return what an address has in common with all that will not answer when it does not, and whether it is a file.

    IntegrityError: as `Externals.get`.
    """
    scheme, name, key = _parse(uri)
    if scheme == "file":
        return _file_system(mount_of(f"/{key}")), True
    return remote_above(f"s3://{name}/{key}", remotes) or "the store of another bucket", False


def _file_system(mount: KernelMount | None) -> str:
    return f"the file system at {mount.mountpoint if mount is not None else '/'}"


def remote_above(url: str, remotes: Mapping[str, StoreOptions]) -> str | None:
    """Return the longest address of a remote that is `url` or lies above it."""
    above = [address for address in remotes if f"{url}/".startswith(f"{address}/")]
    return max(above, key=len, default=None)


def refuse_fuse(path: str) -> KernelMount | None:
    """Return the mount that a path (absolute) lies in. AccessError: a program serves it. Touches nothing."""
    mount = mount_of(path)
    if mount is not None and mount.is_fuse:
        raise AccessError(
            f"{path!r} cannot be read where it lies",
            why=f"{mount.mountpoint} is served by a program ({mount.fstype}), which may not answer",
            fix="Push the files with their content, without --in-place.",
        )
    return mount


def _parse(uri: str) -> tuple[str, str, str]:
    """Return scheme, host and path of an address, the path as a key is. IntegrityError: it is none."""
    refusal = IntegrityError(f"{uri!r} is no address of an object", fix="Push the data set anew.")
    try:
        parts = urlsplit(uri)
        key = unquote(parts.path.removeprefix("/"), errors="surrogateescape")
        good = is_key(key) and not (parts.query or parts.fragment) and parts.scheme in ("file", "s3")
    except ValueError as error:
        raise refusal from error
    if not good or (parts.scheme == "file") == bool(parts.netloc):
        raise refusal
    return parts.scheme, parts.netloc, key


class _Place(NamedTuple):
    """How an object is reached: in which lane, by when, and where; `folder` is the allowed one that a file is in."""

    lane: Lane
    seconds: float
    root: str
    options: StoreOptions
    key: str
    folder: str | None = None


class Externals:
    """What the entries of the data sets of one bucket may point to. `url` and `options` are the bucket's."""

    def __init__(self, url: str, options: StoreOptions, remotes: Mapping[str, StoreOptions], trust: Trust) -> None:
        self._url = url.rstrip("/")
        self._options = options
        self._remotes = remotes
        self._trust = trust
        self._lanes = Lanes()
        self._reals: dict[str, tuple[str, float]] = {}
        self._stores: dict[tuple[str, StoreOptions], Store] = {}
        self._lock = threading.Lock()

    def get(self, found: External, wanted: ByteRange) -> bytes:
        """Return a range of an object. AccessError: it is not to be read; else as `Store.get`."""
        place = self._place(found.uri, wanted.length)
        return place.lane.call(place.seconds, lambda: self._get(place, found, wanted))

    def start(self, found: External, length: int, read: Callable[[ReadExternal], _T]) -> Future[_T]:
        """Have a thread call `read`, which reads `length` bytes of one object with the function that it is given.

        This returns at once; whoever waits sees to the deadline. Raises as `get`.
        """
        place = self._place(found.uri, length)
        return place.lane.start(place.seconds, lambda: read(lambda found, wanted: self._get(place, found, wanted)))

    def head(self, found: External) -> ObjectInfo | None:
        """Return what is known of an object. AccessError: it is not to be read; else as `Store.head`."""
        place = self._place(found.uri, 0)
        return place.lane.call(place.seconds, lambda: self._head(place))

    def server_of(self, found: External) -> str:
        """Return which server is asked for an object, without asking it. AccessError: it is not to be read."""
        return self._store(self._place(found.uri, 0)).place

    def open(self, url: str, key: str = "") -> Store:
        """Open a bucket as entries that point to a key of it are read; it is the caller's to close."""
        return open_store(url, self._options_of(f"{url}/{key}" if key else url))

    def remote_of(self, url: str) -> str | None:
        """Return the address of the remote that says how a place is reached; None: the data set's own options do."""
        return remote_above(url, self._remotes)

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()

    def _place(self, uri: str, length: int) -> _Place:
        """Return how an object is reached, without touching anything. AccessError: it is not to be read."""
        scheme, name, key = _parse(uri)
        if scheme == "file":
            folder, rest, mount = self._allowed(uri, f"/{key}")
            lane = self._lanes.lane(_file_system(mount))
            return _Place(lane, self._options.deadline, f"file://{quote(folder)}", self._options, rest, folder)
        options = self._allowed_bucket(name, key)
        lane = self._lanes.lane(place_of(uri, self._remotes)[0])
        return _Place(lane, options.deadline + length / _SLOWEST + _SLACK, f"s3://{name}", options, key)

    def _store(self, place: _Place) -> Store:
        """Open the store of a place, in its lane: to follow the links that lead to a folder may wait, too."""
        if place.folder is not None:
            real = self._real(place.folder)
            if real != place.folder:
                refuse_fuse(os.path.join(real, place.key))
        with self._lock:
            store = self._stores.get((place.root, place.options))
            if store is None:
                store = self._stores[place.root, place.options] = open_store(place.root, place.options)
        return store

    def _real(self, folder: str) -> str:
        """Follow the links that lead to an allowed folder, which only its owner changes: once a second at most."""
        now = time.monotonic()
        real, since = self._reals.get(folder, ("", 0.0))
        if not real or now - since > _FRESH:
            real = os.path.realpath(folder)
            self._reals[folder] = (real, now)
        return real

    def _get(self, place: _Place, found: External, wanted: ByteRange) -> bytes:
        with self._told(place):
            # Without a hash to hold the bytes against, the answer has to say which object it is of.
            is_checked = found.size is None
            return self._store(place).get(
                place.key,
                wanted,
                checked=is_checked,
                version_id=found.version_id,
                etag=found.etag,
                size=found.size,
            )

    def _head(self, place: _Place) -> ObjectInfo | None:
        with self._told(place):
            return self._store(place).head(place.key)

    @contextmanager
    def _told(self, place: _Place) -> Iterator[None]:
        """Say of an object that the data set's own options do not reach how to give the bucket other ones.

        A bucket of a remote has options that the user chose, and what is wrong with those the store says.
        """
        try:
            yield
        except (AccessError, NotFoundError) as error:
            bucket = place.root.removeprefix("s3://")
            is_missing = isinstance(error, NotFoundError) and not error.what.startswith("no bucket")
            if place.folder is not None or is_missing or remote_above(f"{place.root}/{place.key}", self._remotes):
                raise
            if f"{self._url}/".startswith(f"{place.root}/"):
                raise
            raise type(error)(
                error.what,
                why=f"{error.why or 'it is refused'}; it was asked for as the data set's own bucket is",
                fix=f"Say how: penstock remote add {bucket} {place.root} --endpoint-url URL --profile NAME",
            ) from error

    def _allowed(self, uri: str, path: str) -> tuple[str, str, KernelMount | None]:
        """Return the allowed folder that a file lies in, its path below it, and the mount that it lies in."""
        if not self._url.startswith("file://"):
            raise AccessError(
                f"{uri} is not read",
                why="it is a file of this machine, and the data set comes from a bucket that is not",
                fix="Do not trust the data set, unless you know who wrote it and why.",
            )
        folder = self._trust.folder_of(path)
        if folder is None:
            raise AccessError(
                f"{uri} is not read",
                why="it lies in no folder that data sets may read from on this machine",
                fix='If it is meant to be read, name a folder above it in the settings: [trust] local = ["/dir"].',
            )
        return folder, path.removeprefix(folder.rstrip("/") + "/"), refuse_fuse(path)

    def _allowed_bucket(self, name: str, key: str) -> StoreOptions:
        """Return how to open an S3 bucket; AccessError when the settings do not name it."""
        if not (self._trust.allows_bucket(name) or f"{self._url}/".startswith(f"s3://{name}/")):
            raise AccessError(
                f"s3://{name} is not read",
                why="the settings name the buckets that data sets may read from, and it is none of them",
                fix=f"If it is meant to be read, add {name!r} to buckets in [trust].",
            )
        return self._options_of(f"s3://{name}/{key}")

    def _options_of(self, url: str) -> StoreOptions:
        remote = remote_above(url, self._remotes)
        if remote is not None:
            return self._remotes[remote]
        return replace(self._options, request_payer=False)
