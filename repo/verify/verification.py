"""Verify a version: every node, every object that it needs, and, deep, every byte; straight from the store.

Three walks over the tree. The first reads each node and page of block hashes once and notes of each object how many
of its bytes are needed. Then the objects are looked at, by name and size; deep, a second walk reads their bytes
(`deep_check`). If something is damaged, a third walk counts what it affects (`affected`).

Neither cache nor memory of earlier reads is asked. Memory is bounded but for what is damaged. Blocking.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import msgspec

from penstock.errors import AccessError, ConflictError, NotFoundError, UsageError
from penstock.manifest.entry import PAGE_BLOCKS, DocumentRef, External, Metadata, NodeRef, TreeEntry, block_count
from penstock.manifest.records import Manifest
from penstock.progress import Progress
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.fetch.regions import RESTORE, describe_object
from penstock.repo.gc.mark import DATA_MARK, place_of
from penstock.repo.refs.repository import dataset_of
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.session.file_blocks import FileBlocks
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.store.base import ByteRange, ObjectInfo
from penstock.store.s3.etags import same_etag

from .affected_paths import name_affected
from .damage import Damage, DamageKind, Damages, ObjectName
from .deep_check import DeepCheck
from .repair import Repair
from .stored_nodes import StoredNodes
from .tree_walk import UNREADABLE, Path, Unreadable, walk_leaves

__all__ = ["VersionReport", "verify"]

_THREADS = 8
_HEADS = 200
"""Up to so many objects are looked at one by one; for more the bucket's data objects are listed."""
_EXTERNAL_MARK = "external"


@dataclass(slots=True)
class VersionReport:
    """What was looked at, and what is wrong: first nodes, then objects."""

    handle: str
    top_hash: bytes
    entries: int
    bytes: int
    nodes: int = 0
    objects: int = 0
    bytes_read: int = 0
    damages: list[Damage] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether nothing is known to be damaged, but the store did not give out all."""
        open_ones = [damage for damage in self.damages if not damage.repaired]
        return bool(open_ones) and all(damage.kind is DamageKind.REFUSED for damage in open_ones)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return all(damage.repaired for damage in self.damages)


def verify(
    handle: Handle, settings: Settings, progress: Progress, *, deep: bool = False, repair: str | None = None
) -> VersionReport:
    """Check the version that a handle names. `repair` is a directory whose files may hold what is damaged.

    NotFoundError, AmbiguousError: no such version. IntegrityError: its commit or manifest cannot be read, so there is
    no tree to look at. NotFoundError, UsageError: `repair` is no directory, or the handle names a part of a version.
    """
    dataset = dataset_of(handle)
    if handle.subdir:
        raise UsageError(
            f"cannot verify {handle.subdir!r} alone", fix=f"Name the version: {replace(handle, subdir='')}"
        )
    with ExitStack() as stack:
        session = stack.enter_context(open_session(handle.bucket, settings, cached=False))
        marks = stack.enter_context(Marks())
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "penstock-verify"))
        repository = session.repository(dataset)
        version = repository.resolve(handle.ref)
        if version.commit is not None:
            repository.commit(version.commit)
        manifest = repository.manifest(version.top_hash)
        root = manifest.root
        checking = _Checking(session, marks, pool, progress)
        report = VersionReport(str(handle), version.top_hash, root.entries, root.size)
        repairing = Repair(repair, session.store) if repair is not None else None
        checking.check(manifest, report, repairing, handle, deep=deep)
        return report


class _Checking:
    def __init__(self, session: BucketSession, marks: Marks, pool: Executor, progress: Progress) -> None:
        self._store = session.store
        self._externals = session.externals
        self._marks = marks
        self._pool = pool
        self._checked = progress.stage("checking", unit="items")
        self._nodes = StoredNodes(session.store, session.counts)
        self._deep = DeepCheck(session.regions, marks, progress.stage("reading"))
        self._block_hash = FileBlocks(None, self._nodes, session.regions).hash
        self._damages = Damages()
        self._node_damages: dict[str, Damage] = {}
        self._bad_frames: dict[tuple[bytes, int], Damage] = {}

    def check(
        self, manifest: Manifest, report: VersionReport, repair: Repair | None, handle: Handle, *, deep: bool
    ) -> None:
        """Do all of it."""
        root = manifest.root
        self._note_document(manifest.metadata)
        self._checked.total(root.entries)
        self._check_nodes(root, report)
        self._check_data()
        self._check_externals()
        report.objects = self._marks.count_held(DATA_MARK) + self._marks.count_held(_EXTERNAL_MARK)
        if deep:
            self._marks.forget_visits()
            report.bytes_read = self._deep.check(self._files(root), self._block_hash, self._damages)
        self._damages.settle()
        if self._damages.objects or self._node_damages:
            name_affected(root, self._nodes.load, self._marks, self._damages_of, self._broken)
        if self._damages.objects and repair is not None:
            self._marks.forget_visits()
            for entry in self._files(root):
                repair.want(entry, self._block_hash, self._damages)
            repair.run(self._damages)
        self._name_remedies(handle)
        report.damages = [*self._node_damages.values(), *self._damages.objects.values()]

    def _name_remedies(self, handle: Handle) -> None:
        """Say of each damaged object what to do about it; of what the store refuses, it has said so itself."""
        dataset = replace(handle, ref=None, subdir="")
        for name, damage in self._damages.objects.items():
            if damage.fix or damage.repaired:
                continue
            if isinstance(name, External):
                # What was registered is what is left of the address without a path of the version.
                ends = (path for path in damage.paths if name.uri.endswith(f"/{path}"))
                source = next((name.uri[: -len(path) - 1] for path in ends), "SOURCE")
                damage.fix = (
                    "Put the file back as it was, or make what is there now the next version: "
                    f"penstock push --in-place {source} {dataset}"
                )
            else:
                damage.fix = f"From a directory that still has the files: penstock verify {handle} --deep --repair DIR"
        for damage in self._node_damages.values():
            damage.fix = damage.fix or RESTORE

    def _check_nodes(self, root: NodeRef, report: VersionReport) -> None:
        def visit(ref: NodeRef) -> bool:
            first = self._marks.visit(place_of(ref))
            report.nodes += first
            return first

        def unreadable(_: Path, ref: NodeRef, error: Unreadable) -> None:
            self._broken(ref, error)

        for _, leaf in walk_leaves(root, self._nodes.load, unreadable, visit):
            for at in range(len(leaf)):
                self._note(leaf.entry(at))
            self._checked.advance(len(leaf))

    def _broken(self, ref: NodeRef, error: Unreadable) -> Damage:
        return self._node_damage(ref.location.pack, error)

    def _damages_of(self, entry: TreeEntry) -> list[Damage]:
        found = self._damages.of(entry)
        if self._bad_frames:
            places = [(page.location.pack, page.location.offset) for page in entry.pages]
            if isinstance(entry.metadata, DocumentRef):
                places.append((entry.metadata.location.pack, entry.metadata.location.offset))
            bad = {id(damage): damage for place in places if (damage := self._bad_frames.get(place)) is not None}
            found += bad.values()
        return found

    def _node_damage(self, pack: bytes, error: Unreadable) -> Damage:
        address = f"{self._store.url.rstrip('/')}/{object_keys.node_key(pack)}"
        damage = self._node_damages.get(address)
        if damage is None:
            if isinstance(error, AccessError):
                kind = DamageKind.REFUSED
            else:
                there = self._store.head(object_keys.node_key(pack)) is not None
                kind = DamageKind.UNREADABLE if there else DamageKind.MISSING
            why = error.reason
            fix = error.fix if kind is DamageKind.REFUSED else ""
            damage = self._node_damages[address] = Damage(address, kind, why, fix=fix)
        return damage

    def _note(self, entry: TreeEntry) -> None:
        """Check an entry's document, a file's pages of block hashes, and note how much of which objects it needs."""
        self._note_document(entry.metadata)
        for extent in entry.extents:
            end = extent.offset + extent.length
            if isinstance(extent.object, bytes):
                self._marks.hold(DATA_MARK, [(extent.object, end)])
            else:
                self._marks.hold(_EXTERNAL_MARK, [(msgspec.msgpack.encode(extent.object), end)])
        for number, page in enumerate(entry.pages):
            try:
                self._nodes.page(page, min(PAGE_BLOCKS, block_count(entry.size) - number * PAGE_BLOCKS))
            except UNREADABLE as error:
                damage = self._node_damage(page.location.pack, error)
                self._bad_frames[page.location.pack, page.location.offset] = damage

    def _note_document(self, metadata: Metadata) -> None:
        if not isinstance(metadata, DocumentRef):
            return
        where = metadata.location
        try:
            self._nodes.metadata(metadata)
        except UNREADABLE as error:
            self._bad_frames[where.pack, where.offset] = self._node_damage(where.pack, error)

    def _check_data(self) -> None:
        if self._marks.count_held(DATA_MARK) <= _HEADS:
            wanted = list(self._marks.held(DATA_MARK))
            found = self._pool.map(lambda item: self._store.head(object_keys.data_key(item[0])), wanted)
            for (digest, size), info in zip(wanted, found, strict=True):
                self._compare(digest, size, info)
            return
        listed = self._store.list(object_keys.DATA)
        at = next(listed, None)
        for digest, size in self._marks.held(DATA_MARK):
            key = object_keys.data_key(digest)
            while at is not None and at.key < key:
                at = next(listed, None)
            self._compare(digest, size, at if at is not None and at.key == key else None)

    def _compare(self, name: ObjectName, size: int, info: ObjectInfo | None) -> None:
        address = describe_object(self._store, name)
        if info is None:
            self._damages.whole(name, Damage(address, DamageKind.MISSING, "there is no such object"))
        elif info.size < size:
            why = f"it has {info.size} bytes, and {size} are needed"
            self._damages.whole(name, Damage(address, DamageKind.TRUNCATED, why))
        elif isinstance(name, External) and (why := _change(name, info)):
            self._damages.whole(name, Damage(address, DamageKind.CHANGED, why))

    def _check_externals(self) -> None:
        held = ((msgspec.msgpack.decode(raw, type=External), size) for raw, size in self._marks.held(_EXTERNAL_MARK))
        while batch := [item for _, item in zip(range(_HEADS), held, strict=False)]:
            for (name, size), info in zip(batch, self._pool.map(self._look, batch), strict=True):
                if isinstance(info, AccessError):
                    self._damages.refused(name, describe_object(self._store, name), info)
                elif isinstance(info, ConflictError):
                    damage = Damage(describe_object(self._store, name), DamageKind.CHANGED, info.why or info.what)
                    self._damages.whole(name, damage)
                else:
                    self._compare(name, size, info)

    def _look(self, wanted: tuple[External, int]) -> ObjectInfo | AccessError | ConflictError | None:
        name, size = wanted
        try:
            info = self._externals.head(name)
            if name.version_id is None or (info is not None and info.version_id == name.version_id):
                return info
            # Of an older version of an object only reading it tells something: the last byte that is needed.
            read = self._externals.get(name, ByteRange(size - 1, 1))
            return ObjectInfo(name.uri, size if read else 0, None, name.etag, name.version_id)
        except (AccessError, ConflictError) as error:
            return error
        except NotFoundError:
            return None

    def _files(self, root: NodeRef) -> Iterator[TreeEntry]:
        """Yield the files with content of all that can be read, those of equal directories a single time."""

        def visit(ref: NodeRef) -> bool:
            return self._marks.visit(place_of(ref))

        for _, leaf in walk_leaves(root, self._nodes.load, lambda *_: None, visit):
            for at in range(len(leaf)):
                entry = leaf.entry(at)
                if entry.extents:
                    yield entry


def _change(name: External, info: ObjectInfo) -> str:
    """Say how an object is another one than an entry points to; the empty string when nothing shows it."""
    is_version = name.version_id is not None and name.version_id == info.version_id
    if name.size is not None and info.size != name.size:
        return f"it had {name.size} bytes and has {info.size}"
    if name.etag and info.etag and not same_etag(name.etag, info.etag):
        return f"its ETag was {name.etag} and is {info.etag}"
    if name.size is not None and not is_version and (info.is_weak or not info.etag):
        return "it is pinned by its ETag, and its store gives it none any more, or a weak one"
    return ""
