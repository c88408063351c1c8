"""Bring the bytes of a version in the making to its bucket, and let its tree point to them there.

Without a prefix files go into packs, as a push sends them. With one, each file becomes an object of its own below it,
and objects that lie elsewhere on the same server are copied there by it. Data objects of another bucket of ours are
copied by the server as they are where it can, else they are read, checked, and packed.

**Invariant:** the tree's hash stays what it was: what changes is only where bytes lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from urllib.parse import unquote, urlsplit

from blake3 import blake3
from msgspec import structs

from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.manifest.entry import Extent, External, TreeEntry
from penstock.manifest.hashing import ContentHasher
from penstock.manifest.update import Edit
from penstock.progress import Progress
from penstock.repo.bucket import object_keys
from penstock.repo.push.file_reader import in_order
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store
from penstock.store.local import LocalStore
from penstock.store.opening import open_store

from .draft_edits import new_files
from .draft_tree import DraftTree, Path
from .local_source import local_path
from .packed_data import pack_files
from .placed_objects import ObjectPlaces, Placed
from .version_source import brought_objects, key_of_brought, read_brought

__all__ = ["DataSent", "Moved", "push_data"]

Moved = Callable[[Path, int, str | None], None]
"""Is told a file, how many of its bytes were sent or copied for it, and where it is by name, if it is."""

_THREADS = 8


@dataclass(slots=True)
class DataSent:
    """What was done: files looked at, the bytes that went out, files and objects that the server copied.

    `left` are those that stay elsewhere although they were to go below a prefix: nobody has read what is pinned by its
    identity, and a copy by the server is another object, of which nothing proves that it has the same bytes.

    `new_paths` says for each path below which something was asked for whether bytes moved for it.
    """

    files: int = 0
    bytes: int = 0
    objects: int = 0
    copied: int = 0
    left: int = 0
    moved: Moved = field(default=lambda _path, _bytes, _address: None)

    def take(self, path: Path, amount: int, address: str | None = None) -> None:
        """Count a file."""
        self.files += 1
        self.moved(path, amount, address)


def push_data(
    writer: VersionWriter,
    draft: DraftTree,
    progress: Progress,
    moved: Moved,
    *,
    prefix: str | None = None,
    local_only: bool = False,
) -> DataSent:
    """Bring what is new to the writer's bucket, which is held. See `Moved`.

    `prefix`: where objects go, one a file; None: into packs. `local_only`: what lies in other buckets stays there.
    Any of `penstock.errors` may come up: the tree is then as it was, and what was sent is found again.
    """
    sent = DataSent(moved=moved)
    with ExitStack() as stack:
        elsewhere = _Elsewhere(draft, stack)
        if prefix is not None:
            places = ObjectPlaces(writer.session.store, prefix, progress.stage("uploading"))
            mark = draft.frames.mark
            pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "penstock-place"))
            tasks = _tasks(draft, places, elsewhere, mark, sent, local_only=local_only)
            edits = stack.enter_context(closing(in_order(tasks, pool)))
            placed = next(edits, None)
            if placed is not None:
                draft.edit(_counted(placed, edits, sent))
            if sent.files and isinstance(writer.session.store, LocalStore):
                allow_bucket(writer.session.store)
            return sent
        if not local_only:
            copies = _server_copies(draft, elsewhere, writer.session.store, sent)
            first = next(copies, None)
            if first is not None:
                draft.edit(chain((first,), copies))
        with writer.content(draft.base, enter=False) as content:
            open_bucket = None if local_only else elsewhere.open
            pack_files(draft, content, progress.stage("reading"), open_bucket, sent.take)
            sent.bytes, sent.objects = content.sent[True].bytes, content.sent[True].objects
    return sent


def allow_bucket(store: LocalStore) -> None:
    """Have what lies in a local bucket by name be read by its data sets."""
    import os

    from penstock.repo.settings.trust import allow_folder

    allow_folder(os.fsdecode(store.path))


def _counted(
    first: tuple[Path, TreeEntry, Placed], rest: Iterator[tuple[Path, TreeEntry, Placed]], sent: DataSent
) -> Iterator[Edit]:
    def count(each: tuple[Path, TreeEntry, Placed]) -> Edit:
        path, entry, placed = each
        moved = entry.size if placed.sent or placed.copied else 0
        sent.take(path, moved, unquote(placed.external.uri))
        sent.bytes += placed.sent
        sent.objects += bool(placed.sent)
        sent.copied += placed.copied
        return Edit(path, structs.replace(entry, extents=(Extent(placed.external, 0, entry.size),)))

    yield count(first)
    yield from map(count, rest)


def _tasks(
    draft: DraftTree, places: ObjectPlaces, elsewhere: _Elsewhere, mark: str, sent: DataSent, *, local_only: bool
) -> Iterator[tuple[Callable[[], list[tuple[Path, TreeEntry, Placed]]], int]]:
    for path, entry in new_files(draft):
        place = local_path(entry, mark)
        work: Callable[[], Placed] | None = None
        if place is not None:
            work = partial(places.put_file, path, entry, place)
        elif not local_only and brought_objects(entry, mark):
            work = partial(_read_and_put, places, elsewhere, path, entry)
        elif not local_only:
            work = elsewhere.copy_of(places, path, entry)
            sent.left += entry.is_identity or (work is None and elsewhere.has_outside(entry))
        if work is not None:
            yield partial(_done, work, path, entry), 0


def _done(work: Callable[[], Placed], path: Path, entry: TreeEntry) -> list[tuple[Path, TreeEntry, Placed]]:
    return [(path, entry, work())]


def _read_and_put(places: ObjectPlaces, elsewhere: _Elsewhere, path: Path, entry: TreeEntry) -> Placed:
    body = read_brought(entry, 0, entry.size, elsewhere.open)
    hasher = ContentHasher()
    hasher.update(body)
    if hasher.finish()[0] != entry.hash:
        raise ConflictError("data of another bucket is not what it was", fix="Verify the version there.")
    return places.put_bytes(path, entry, body)


class _Elsewhere:
    """Opens other buckets, each once, as entries that point into them are read. Threads of a pool ask it."""

    def __init__(self, draft: DraftTree, stack: ExitStack) -> None:
        assert draft.session is not None
        self._session = draft.session
        self._stack = stack
        self._stores: dict[str, Store] = {}

    def open(self, address: str) -> Store:
        """Return the store of a bucket's address."""
        store = self._stores.get(address)
        if store is None:
            opened = self._session.externals.open(address) if address.startswith("s3://") else open_store(address)
            store = self._stores.setdefault(address, self._stack.enter_context(opened))
        return store

    def has_outside(self, entry: TreeEntry) -> bool:
        """Whether bytes of an entry lie as objects of another bucket."""
        own = self._session.store.url.rstrip("/") + "/"
        return any(isinstance(each.object, External) and not each.object.uri.startswith(own) for each in entry.extents)

    def copy_of(self, places: ObjectPlaces, path: Path, entry: TreeEntry) -> Callable[[], Placed] | None:
        """Return what copies the object that an entry points to, None: it is no whole object of the same server."""
        if len(entry.extents) != 1:
            return None
        extent = entry.extents[0]
        found = extent.object
        if not isinstance(found, External) or not found.uri.startswith("s3://") or extent.offset or entry.is_identity:
            return None
        if found.uri == places.address_of(places.key_of(path)) or not self._session.store.url.startswith("s3://"):
            return None
        parts = urlsplit(found.uri)
        source = self.open(f"s3://{parts.netloc}")
        key = unquote(parts.path.removeprefix("/"))
        return partial(places.copy, path, entry, found, source, key)


def _server_copies(draft: DraftTree, elsewhere: _Elsewhere, store: Store, sent: DataSent) -> Iterator[Edit]:
    """Have the server copy data objects of other buckets; yield what has files point to the copies."""
    if not store.url.startswith("s3://"):
        return
    copies: dict[External, External | None] = {}
    used: set[External] = set()
    for path, entry in new_files(draft):
        objects = brought_objects(entry, draft.frames.mark)
        for found in objects:
            if found not in copies:
                copies[found] = _copied(found, elsewhere, store)
        if objects and all(copies[found] is not None for found in objects):
            extents = tuple(
                Extent(copies.get(each.object) or each.object, each.offset, each.length)  # type: ignore[arg-type]
                for each in entry.extents
            )
            used.update(objects)
            sent.copied = len(used)
            sent.take(path, entry.size)
            yield Edit(path, structs.replace(entry, extents=extents))


def _copied(found: External, elsewhere: _Elsewhere, store: Store) -> External | None:
    """Copy one data object, if it is not there yet; None: this server cannot."""
    root, key = key_of_brought(found)
    if not root.startswith("s3://"):
        return None
    name = blake3(found.uri.encode()).hexdigest()
    target = f"{object_keys.COPIES}{name[:2]}/{name}"
    there = store.head(target)
    if there is None:
        try:
            store.copy(elsewhere.open(root), key, target)
        except UsageError:  # two servers
            return None
        there = store.head(target)
    if there is None:
        raise PenstockError(f"{target} is not in {store.url}", why="it was written a moment ago")
    return External(f"{store.url.rstrip('/')}/{target}", there.version_id, there.etag)
