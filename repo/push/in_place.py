"""Register objects where they lie: entries that point to them, and nothing copied.

The source is an S3 prefix or a local directory. Each object is read once for its hashes, unless the branch's last
version points to the very same object (the same version, or ETag and size). If an object changes later, reading it
through the dataset fails loudly: the pinned version or ETag is asked for, and every block is checked. Where a server
gives neither, the hashes alone tell, and every push reads such objects anew.

With `identity` objects are not read at all: what a listing says of each is what its entry is pinned by.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes

from msgspec import structs

from penstock.errors import AccessError, ConflictError, UsageError
from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import Extent, External, Kind, NodeRef, TreeEntry, name_problem
from penstock.manifest.hashing import ContentHasher
from penstock.manifest.identity import identity_entry
from penstock.manifest.tree import Tree
from penstock.progress import Stage
from penstock.store.base import ByteRange, ObjectInfo, Store
from penstock.store.keys import is_key
from penstock.store.s3.etags import same_etag

from .directory_walk import EnterDirectory, LeaveDirectory, LocalFile, Skipped, walk_directory
from .file_reader import FilePiece, FileRead, in_order, read_ahead
from .local_attributes import kept_metadata
from .older_state import OlderState

__all__ = ["InPlaceRegistrar", "Registered", "Unreadable", "is_unversioned"]

_READ = 8 << 20
_NO_VERSION = (None, "null")  # the latter: of an object from before its bucket kept versions
_REQUIRE = "--require-versioned"
_IDENTITY = "--identity"


class Registered(NamedTuple):
    """A file or symlink of the source, and all that its entry needs."""

    entry: TreeEntry
    blocks: bytes


class Unreadable(NamedTuple):
    """An object of the source that no entry can be made of: its key, and why."""

    key: str
    why: str


class _Folder(NamedTuple):
    """A folder that the walk stands in: its path, its prefix, and what is still to come."""

    names: tuple[bytes, ...]
    prefix: str
    items: Iterator[tuple[bytes, ObjectInfo | None]]


_Step = EnterDirectory | LeaveDirectory | Registered | Unreadable
_Task = Callable[[], list[_Step]] | list[_Step]


class InPlaceRegistrar:
    """Builds a tree of entries that point into a source. `reading` is told bytes as they are hashed.

    What `parent` has of metadata for a path stays, unless it is not to be kept. With `require_versioned`, objects of
    buckets that keep no versions count as unreadable; with `identity` as well, each is asked for its version.
    """

    def __init__(
        self,
        builder: TreeBuilder,
        parent: Tree | None,
        pool: ThreadPoolExecutor,
        reading: Stage,
        *,
        keep_metadata: bool = True,
        require_versioned: bool = False,
        identity: bool = False,
    ) -> None:
        self._identity = identity
        self._builder = builder
        self._parent = parent
        self._keep_metadata = keep_metadata
        self._require_versioned = require_versioned
        self.unversioned = 0
        """Objects whose bucket keeps no versions, or pinned by ETag alone: once overwritten, they cannot be read."""
        self._pool = pool
        self._reading = reading
        self.files = 0
        self.bytes = 0
        self.skipped: list[Skipped] = []
        self.unpinned = 0
        """Objects whose store gives them neither a version nor an ETag: changes show only by their hashes."""
        self._counting = threading.Lock()
        self.unreadable: list[Unreadable] = []

    def directory(self, top: str) -> NodeRef:
        """Register what is in a local directory; the root of the tree. Raises what `walk_directory` raises."""
        return self._build(self._local(top))

    def objects(self, store: Store) -> NodeRef:
        """Register the objects of a store; the root of the tree.

        Keys that cannot be paths are named in `skipped`, and in `unreadable` what the store does not give out, and
        objects that have the place of a folder: all others are in the tree.
        """
        with closing(in_order(self._tasks(store), self._pool)) as steps:
            return self._build(steps)

    def _build(self, steps: Iterator[_Step]) -> NodeRef:
        older = OlderState(self._parent)  # so that a folder in which nothing changed is not written again
        for step in steps:
            if isinstance(step, EnterDirectory):
                base = older.enter(step.names[-1])
                kept = kept_metadata(older.metadata, b"", b"") if self._keep_metadata else b""
                self._builder.enter(step.names[-1], mtime_ns=step.mtime_ns, metadata=kept, base=base)
            elif isinstance(step, LeaveDirectory):
                older.leave()
                self._builder.leave()
            elif isinstance(step, Unreadable):
                self.unreadable.append(step)
            else:
                if step.entry.is_file:
                    self.files += 1
                    self.bytes += step.entry.size
                before = older.find(step.entry.name) if self._keep_metadata else None
                kept = kept_metadata(before.metadata, b"", b"") if before and before.directory is None else b""
                entry = step.entry if step.entry.metadata == kept else structs.replace(step.entry, metadata=kept)
                self.unversioned += any(map(is_unversioned, entry.extents))
                if step.blocks:
                    self._builder.add_file(entry, step.blocks)
                else:
                    self._builder.add(entry)
        return self._builder.finish()

    def _local(self, top: str) -> Iterator[_Step]:
        with closing(read_ahead(walk_directory(top, self.skipped.append), self._pool)) as steps:
            for step in steps:
                if isinstance(step, FilePiece):
                    self._reading.advance(len(step.data))
                elif isinstance(step, FileRead):
                    self._reading.advance(len(step.data))
                    yield Registered(_local_entry(step), step.blocks)
                else:
                    yield step

    def _tasks(self, store: Store) -> Iterator[tuple[_Task, int]]:
        """Walk the store's folders in tree order, one folder held at a time."""
        older = OlderState(self._parent)
        stack: list[_Folder] = [_Folder((), "", self._level(store, ""))]
        while stack:
            names, prefix, items = stack[-1]
            for name, info in items:
                path = (*names, name)
                if info is None:
                    yield [EnterDirectory(path, 0)], 0
                    below = f"{prefix}{name.decode()}/"
                    older.enter(name)
                    stack.append(_Folder(path, below, self._level(store, below)))
                    break
                known = _unchanged(older.find(name), store, info, identity=self._identity)
                if known is not None and not (
                    self._require_versioned and any(map(is_unversioned, known.entry.extents))
                ):
                    yield [known], 0
                elif self._identity:
                    listed = self._listed(store, name, info)
                    yield [listed] if listed else partial(self._pin, self.identify_object, store, name, info), 0
                else:
                    yield partial(self._pin, self.read_object, store, name, info), min(info.size, _READ)
            else:
                stack.pop()
                if stack:
                    older.leave()
                    yield [LeaveDirectory()], 0

    def _level(self, store: Store, prefix: str) -> Iterator[tuple[bytes, ObjectInfo | None]]:
        """Yield what is directly below a prefix in tree order: names, with None for a folder."""
        level = store.list_level(prefix)
        found: dict[bytes, ObjectInfo | None] = {}
        for name, info in chain(
            ((folder, None) for folder in level.folders),
            ((info.key[len(prefix) :], info) for info in level.objects),
        ):
            raw = name.encode("utf-8", "surrogateescape")
            key = prefix + name
            if info is not None and key == prefix:
                self.unreadable.append(Unreadable(key, "it ends in a slash, and no file can: only folders do"))
            elif problem := name_problem(raw) or ("" if is_key(key) else "it holds characters that no path has"):
                whole = key + ("/" if info is None else "")
                self.skipped.append(Skipped(os.fsencode(whole), f"key that cannot be a path ({problem})"))
            elif raw in found:
                self.unreadable.append(Unreadable(key, f"there are objects below {key}/, so that it would be a folder"))
            else:
                found[raw] = info
        del level
        for raw in sorted(found):
            yield raw, found.pop(raw)

    def _pin(
        self, pin: Callable[[Store, bytes, ObjectInfo], Registered], store: Store, name: bytes, info: ObjectInfo
    ) -> list[_Step]:
        try:
            return [pin(store, name, info)]
        except AccessError as error:
            return [Unreadable(info.key, f"{error.why}. {error.fix}" if error.fix else error.why)]

    def read_object(self, store: Store, name: bytes, info: ObjectInfo, *, exact: bool = False) -> Registered:
        """Read an object, by what a listing said of it; with `exact`, of the very version that is to be read.

        AccessError: it may not be read. ConflictError: it changed meanwhile.
        """
        pinned = info if exact else store.head(info.key)
        if pinned is None or _differ(pinned, info):
            raise _changed(store, info)
        self._demand_version(store, pinned)
        is_pinned = pinned.version_id is not None or pinned.etag is not None
        if not is_pinned and pinned.modified is None and info.size > _READ:
            raise ConflictError(
                f"cannot register {info.key!r} in {store.url}",
                why="the server says neither which version it is nor when it was written: it could change unnoticed "
                "while it is being read",
                fix="Reach the server without the proxy on the way, if there is one, or push the files as a copy.",
            )
        hasher = ContentHasher()
        for offset in range(0, info.size, _READ):
            wanted = ByteRange(offset, min(_READ, info.size - offset))
            body = store.get(info.key, wanted, version_id=pinned.version_id, etag=pinned.etag)
            if len(body) != wanted.length:
                raise _changed(store, info)
            hasher.update(body)
            self._reading.advance(len(body))
        if not is_pinned:
            again = store.head(info.key)
            if again is None or _differ(again, pinned):
                raise _changed(store, info)
            with self._counting:
                self.unpinned += 1
        digest, blocks = hasher.finish()
        external = External(_uri(store, info.key), pinned.version_id, pinned.etag)
        extents = (Extent(external, 0, info.size),) if info.size else ()
        mtime = round((info.modified or 0.0) * 1e9)
        return Registered(TreeEntry(name, Kind.FILE, info.size, digest, mtime, extents=extents), blocks)

    def _listed(self, store: Store, name: bytes, info: ObjectInfo) -> Registered | None:
        """Pin an object by what a listing said of it; None: that is not enough."""
        if self._require_versioned and info.size:
            return None
        try:
            return _identified(store, name, info)
        except UsageError:
            return None

    def identify_object(self, store: Store, name: bytes, info: ObjectInfo, *, exact: bool = False) -> Registered:
        """Pin an object by a look at it, or with `exact` by `info`, which is of the very version; nothing is read.

        Raises as `read_object`.
        """
        pinned = info if exact else store.head(info.key)
        if pinned is None or _differ(pinned, info):
            raise _changed(store, info)
        if info.size:
            self._demand_version(store, pinned)
        try:
            return _identified(store, name, pinned)
        except UsageError as error:
            weak = "its ETag is weak, and may stay the same when bytes change; a version it has none"
            why = weak if pinned.is_weak and pinned.version_id is None else error.why
            raise AccessError(error.what, why=why, fix=f"Have it read once: leave {_IDENTITY} out.") from error

    def _demand_version(self, store: Store, pinned: ObjectInfo) -> None:
        if self._require_versioned and pinned.version_id in _NO_VERSION:
            raise AccessError(
                f"{pinned.key!r} in {store.url} has no version",
                why="its bucket keeps no versions: once it is overwritten, it cannot be read any more",
                fix=f"Turn versioning on and write it anew, push a copy, or leave {_REQUIRE} out.",
            )


def _identified(store: Store, name: bytes, info: ObjectInfo) -> Registered:
    etag = info.etag if not info.is_weak else None  # it says nothing of the bytes
    external = External(_uri(store, info.key), info.version_id, etag)
    mtime = round(info.modified * 1e9) if info.modified is not None else None
    return Registered(identity_entry(name, external, info.size, mtime), b"")


def is_unversioned(extent: Extent) -> bool:
    """Whether bytes lie in an S3 object that is gone once it is overwritten."""
    found = extent.object
    return isinstance(found, External) and found.version_id in _NO_VERSION and found.uri.startswith("s3://")


def _uri(store: Store, key: str) -> str:
    return f"{store.url.rstrip('/')}/{quote(key)}"


def _differ(one: ObjectInfo, other: ObjectInfo) -> bool:
    """Say whether two looks at an object show that it changed between them, by all that both say of it."""
    if one.size != other.size:
        return True
    if one.etag and other.etag:
        return not same_etag(one.etag, other.etag)
    # Listings have finer times than the header, which has whole seconds.
    return one.modified is not None and other.modified is not None and int(one.modified) != int(other.modified)


def _changed(store: Store, info: ObjectInfo) -> ConflictError:
    return ConflictError(f"{info.key!r} in {store.url} changed while it was being read", fix="Run it again.")


def _unchanged(old: TreeEntry | None, store: Store, info: ObjectInfo, *, identity: bool) -> Registered | None:
    """Return the old entry when it points to this very object, so that it need not be read again.

    One that is pinned by its identity was never read: it is enough only where `identity` is.
    """
    if old is None or not old.is_file or old.size != info.size or len(old.extents) != 1 or old.pages:
        return None
    external = old.extents[0].object
    if old.is_identity and (info.is_weak or not identity):
        return None
    if not isinstance(external, External) or external.uri != _uri(store, info.key):
        return None
    return Registered(old, old.blocks) if same_etag(external.etag, info.etag) else None


def _local_entry(read: FileRead) -> TreeEntry:
    file: LocalFile = read.file
    name = file.names[-1]
    if file.kind is Kind.SYMLINK:
        return TreeEntry(name, file.kind, read.size, read.hash, file.mtime_ns, target=read.data)
    path = os.path.abspath(file.path)
    if not is_key(os.fsdecode(path).lstrip("/")):
        raise UsageError(
            f"{os.fsdecode(path)!r} cannot be registered in place",
            why="its name is not UTF-8, or holds control characters, which no address may",
            fix="Push it without --in-place, or rename it.",
        )
    extents = (Extent(External(f"file://{quote_from_bytes(path)}"), 0, read.size),) if read.size else ()
    return TreeEntry(name, file.kind, read.size, read.hash, file.mtime_ns, extents=extents)
