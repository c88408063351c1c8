"""A version in the making: where it is to go, what it was made from, and its tree, which every step changes at once.

    put_local, put_objects…   entries come in; single ones wait, and are written many at a time
    settle                    what waits is written, and files of it are read: the tree has all of it
    send_data                 bytes go to the bucket; the hash stays
    publish                   nodes and the version follow; what comes of it is the next base

**Invariants.** A step that raises leaves the draft as it was, but for what waits: that may have been read. `state` says
all that another process needs to go on, once `frames.sync` has returned. One thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from penstock.errors import PenstockError, UsageError
from penstock.manifest.entry import Metadata, NodeRef, TreeEntry, display_path
from penstock.manifest.merge import Choose
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.fetch.externals import Externals
from penstock.repo.push.directory_walk import Skipped
from penstock.repo.push.edits import LocalFiles
from penstock.repo.push.metadata_edits import replaced_metadata
from penstock.repo.refs.ref_names import branch_head
from penstock.repo.refs.repository import DEFAULT_BRANCH, VersionId, dataset_of
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.landing import Landed
from penstock.repo.write.publish import Authorship, stands_at
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.local import LocalStore

from .data_push import DataSent, Moved, allow_bucket, push_data
from .draft_edits import new_files
from .draft_tree import DraftTree, Path
from .frame_file import FrameFile
from .local_source import draft_directory, file_edits, local_path, points_here
from .object_source import draft_many, draft_object, draft_objects
from .publication import check_data, land_draft
from .version_source import brought_entry, draft_version
from .waiting_entries import Found, WaitingEntries

__all__ = ["Draft", "DraftOrigin", "DraftState"]

_MOST_FOLDERS = 1000


class DraftOrigin(msgspec.Struct, frozen=True):
    """A version of a dataset in the bucket that parts of the draft came from by reference."""

    dataset: str
    top_hash: bytes


class DraftState(msgspec.Struct, frozen=True):
    """All that a draft is, beside its frames. `base` is what it is compared with, of the version `parent`."""

    bucket: str | None = None
    dataset: str | None = None
    branch: str | None = None
    base: Manifest | None = None
    parent: VersionId | None = None
    base_dataset: str | None = None
    is_looked: bool = False
    root: NodeRef | None = None
    metadata: Metadata = b""
    origins: tuple[DraftOrigin, ...] = ()


class Draft:
    """One version in the making. `frames` keep its tree; `state` is where it goes on from."""

    def __init__(self, settings: Settings, frames: FrameFile, state: DraftState) -> None:
        self.settings = settings
        self.frames = frames
        self.bucket = state.bucket
        self.dataset = state.dataset
        self.branch = state.branch
        self.parent = state.parent
        self.skipped: list[Skipped] = []
        self.unpinned = 0
        self.risk = ""
        self._looked = state.is_looked
        self._origins = set(state.origins)
        self._session = open_session(state.bucket, settings) if state.bucket is not None else None
        self._base_dataset = state.base_dataset
        metadata = state.metadata if state.root is not None else None
        self._local_files = LocalFiles()
        self._stand_on(DraftTree(frames, self._session, state.base, state.root, metadata))

    @property
    def session(self) -> BucketSession:
        """The bucket that the version goes to, opened. UsageError: it has none yet."""
        if self._session is None:
            if self.bucket is None:
                raise UsageError("the version has no name yet", fix='Name it: "bucket/dataset".')
            self._session = self.tree.session = open_session(self.bucket, self.settings)
        return self._session

    def state(self) -> DraftState:
        """Return what it is, with nothing waiting."""
        self.settle()
        return DraftState(
            self.bucket,
            self.dataset,
            self.branch,
            self.tree.base,
            self.parent,
            self._base_dataset if self.tree.base is not None else None,
            self._looked,
            self.tree.root,
            self.tree.metadata,
            tuple(sorted(self._origins, key=lambda each: (each.dataset, each.top_hash))),
        )

    def begin_from(self, handle: Handle, manifest: Manifest, version: VersionId) -> None:
        """Stand on a version: it is what the draft is compared with, and what it is made from."""
        self.bucket, self.dataset = handle.bucket, dataset_of(handle)
        self.parent, self._looked, self._base_dataset = version, True, self.dataset
        self._stand_on(DraftTree(self.frames, self.session, manifest))

    def _stand_on(self, tree: DraftTree) -> None:
        self.tree = tree
        self._waiting = WaitingEntries(tree)

    # What comes in

    def put_local(self, path: Path, source: str, metadata: bytes = b"") -> None:
        """Put a local file at a key; it is read by `settle`. Errors as `local_file`, ConflictError as `check_place`."""
        file = self._local_files.find(path, source, metadata)
        self._waiting.check_place(path)
        self._put(path, file)

    def _put(self, path: Path, found: Found) -> None:
        self._waiting.put(path, found)
        if self._waiting.is_full:
            self.settle()

    def settle(self, progress: Progress = SILENT) -> None:
        """Write what waits, and read the files among it. Errors as `file_reader.read_ahead`: then it waits still."""
        if not self._waiting:
            return
        self.tree.edit(file_edits(self._waiting.edits(), self.frames, progress.stage("hashing")))
        self._waiting.clear()

    def find(self, path: Path) -> Found | None:
        """Return what is at a key, though it may wait still: of a directory, how much it holds may be older."""
        return self._waiting.find(path)

    def set_metadata(self, path: Path, metadata: bytes) -> None:
        """Set what users say of what is at a key, or of the version. NotFoundError: nothing is there."""
        found = self.find(path) if path else self.tree
        if found is None:
            found = self.tree.require(path)  # raises
        metadata = replaced_metadata(self.tree.read_metadata(found.metadata), metadata)
        if not path:
            self.tree.set_metadata(path, metadata)
            return
        self._waiting.describe(path, metadata)
        if self._waiting.is_full:
            self.settle()

    def remove(self, path: Path) -> None:
        """Take out what is at a key, with all below it. NotFoundError: there is nothing."""
        if not self._waiting.remove(path):
            self.settle()
            self.tree.remove(path)
        elif self._waiting.is_full:
            self.settle()

    def move(self, source: Path, target: Path, *, overwrite: bool = False) -> None:
        """Give what is at a key another one. Errors as `DraftTree.move`."""
        if not self._waiting.move(source, target, overwrite=overwrite):
            self.settle()
            self.tree.move(source, target, overwrite=overwrite)
        elif self._waiting.is_full:
            self.settle()

    def put_directory(self, path: Path, directory: str, choose: Choose | None, progress: Progress) -> None:
        """Put what is in a local directory at a key. Errors as `draft_directory` and `DraftTree.graft`."""
        self.settle(progress)
        root, skipped = draft_directory(directory, self.frames, progress.stage("hashing"))
        self.tree.graft(path, root, choose)
        self.skipped += skipped

    def put_objects(
        self, path: Path, address: str, choose: Choose | None, progress: Progress, *, identity: bool = False
    ) -> None:
        """Put the objects below a prefix of S3 at a key, where they lie. Errors as `draft_objects`."""
        self.settle(progress)
        there = self.tree.find(path)
        known = Tree(there.directory, self.tree.load) if there is not None and there.directory is not None else None
        with ExitStack() as stack:
            externals = self._externals(address, stack)
            root, skipped, unpinned = draft_objects(
                address, externals, self.frames, known, progress.stage("hashing"), identity=identity
            )
        self.tree.graft(path, root, choose)
        self.skipped += skipped
        self.unpinned += unpinned

    def put_object(
        self, path: Path, address: str, metadata: bytes, progress: Progress, *, identity: bool = False
    ) -> None:
        """Put one object of S3 at a key, where it lies. Errors as `draft_object`, ConflictError as `check_place`."""
        self._waiting.check_place(path)
        with ExitStack() as stack:
            externals = self._externals(address, stack)
            stage = progress.stage("hashing")
            entry = draft_object(address, path, externals, self.frames, stage, identity=identity)
        self._put(path, msgspec.structs.replace(entry, metadata=metadata))

    def put_many_objects(
        self, objects: Sequence[tuple[Path, str, bytes]], progress: Progress, *, identity: bool = False
    ) -> dict[Path, PenstockError]:
        """Put objects of S3 at keys, with metadata, where they lie; return what is wrong with those that are not."""
        problems: dict[Path, PenstockError] = {}
        with ExitStack() as stack:
            externals = self._externals(objects[0][1], stack) if objects else self.session.externals
            wanted = [(path, address) for path, address, _ in objects]
            found = draft_many(wanted, externals, self.frames, progress.stage("hashing"), identity=identity)
            for (path, _, metadata), entry in zip(objects, found, strict=True):
                try:
                    if isinstance(entry, PenstockError):
                        raise entry
                    self._waiting.check_place(path)
                    self._put(path, msgspec.structs.replace(entry, metadata=metadata))
                except PenstockError as error:
                    problems[path] = error
        return problems

    def _externals(self, address: str, stack: ExitStack) -> Externals:
        if self.bucket is not None:
            return self.session.externals
        name = address.removeprefix("s3://").partition("/")[0]
        return stack.enter_context(open_session(f"s3://{name}", self.settings, cached=False)).externals

    def put_version(
        self,
        path: Path,
        session: BucketSession,
        origin: DraftOrigin,
        entry: TreeEntry,
        choose: Choose | None,
        metadata: bytes | None = None,
    ) -> None:
        """Put an entry of another version at a key, a directory merged with what is there. No byte of a file moves."""
        if self.bucket is None:
            self.bucket = session.bucket
        here = self.session.store.url == session.store.url
        source = DraftTree(self.frames, session)
        if metadata is not None:
            entry = msgspec.structs.replace(entry, metadata=metadata)
        if entry.directory is not None:
            root = entry.directory if here else draft_version(self.frames, source, entry.directory)
            if not here:
                entry = msgspec.structs.replace(entry, metadata=source.read_metadata(entry.metadata))
            self.settle()
            self.tree.graft(path, root, choose, entry if path else None)
        else:
            self._waiting.check_place(path)
            self._put(path, entry if here else brought_entry(self.frames, source, entry))
        if here:
            self._origins.add(origin)

    # What goes out

    def find_local(self) -> Path | None:
        """Return a file whose bytes lie on this machine alone; None when there is none."""
        self.settle()
        return next((path for path, entry in new_files(self.tree) if points_here(entry, self.frames.mark)), None)

    def look(self) -> None:
        """Look once where the branch stands that the version is to go to: whoever moves it from then on is merged with.

        A branch that is a tag, or no ref at all but a hash, is not meant: ``main`` is.
        """
        if self._looked or self.dataset is None:
            return
        repository = self.session.repository(self.dataset)
        head = branch_head(repository, self.branch or DEFAULT_BRANCH)
        self.parent = stands_at(head) if head is not None else None
        self._looked = True

    def send_data(
        self,
        authorship: Authorship,
        progress: Progress,
        moved: Moved,
        prefix: str | None,
        *,
        local_only: bool,
    ) -> DataSent:
        """Bring the bytes of what is new to the bucket. Errors as `push_data`."""
        self.settle(progress)
        with self._writer(authorship, None, progress, LeaseKind.PUSH) as writer:
            writer.hold()
            return push_data(writer, self.tree, progress, moved, prefix=prefix, local_only=local_only)

    def publish(
        self,
        authorship: Authorship,
        progress: Progress,
        *,
        tag: str | None,
        choose: Choose | None,
        allow_local: bool,
        fresh: FrameFile,
    ) -> Landed:
        """Make it the next version of its branch, and what comes of it the next base; `fresh` frames follow.

        MergeConflictError, ConflictError: others changed the same meanwhile, or the tag is taken; see `land_draft`.
        """
        self.settle(progress)
        self.look()
        with self._writer(authorship, tag, progress, LeaseKind.PUSH) as writer:
            writer.check_names()
            writer.hold(self.parent)
            for origin in self._origins:
                writer.session.repository(origin.dataset).manifest(origin.top_hash)  # what it refers to is there still
            check_data(self.tree)
            if allow_local and (path := self.find_local()) is not None:
                store = writer.session.store
                if not isinstance(store, LocalStore):
                    raise UsageError(
                        f"a version in {store.url} cannot point to files of this machine",
                        why=f"nobody could read {display_path(path)!r}: a bucket elsewhere leads to no file here",
                        fix="Push the data first.",
                    )
                self._allow_folders()
            landed = land_draft(writer, self.tree, self.parent, choose)
            self.risk = writer.risk
        self.parent, self._looked, self._base_dataset = landed.published, True, self.dataset
        self._origins.clear()
        self.frames.close()
        self.frames = fresh
        self._stand_on(DraftTree(fresh, self.session, landed.manifest))
        return landed

    def _allow_folders(self) -> None:
        from penstock.repo.settings.trust import allow_folder

        folders: set[str] = set()
        for _, entry in new_files(self.tree):
            place = local_path(entry, self.frames.mark)
            if place is not None:
                folders.add(os.fsdecode(os.path.dirname(place)))
            if len(folders) > _MOST_FOLDERS:
                raise UsageError(
                    "the version points to files in too many folders of this machine",
                    why=f"each has to be noted as one that data sets may read from, and there are over {_MOST_FOLDERS}",
                    fix="Push the data first.",
                )
        for folder in sorted(folders):
            allow_folder(folder)

    def go_to(self, bucket: str, dataset: str, branch: str | None) -> None:
        """Name the dataset and branch that it goes to; into another bucket all of it goes entry by entry."""
        if self.dataset == dataset and self.bucket == bucket and self.branch == branch:
            return
        self.settle()
        if self.bucket is not None and bucket != self.bucket:
            session = open_session(bucket, self.settings)
            if self._session is not None and session.store.url != self._session.store.url:
                root = draft_version(self.frames, self.tree, self.tree.root)
                metadata = self.tree.read_metadata(self.tree.metadata)
                self._stand_on(DraftTree(self.frames, session, None, root, metadata))
                self.parent, self._origins, self._base_dataset = None, set(), None
            if self._session is not None:
                self._session.close()
            self._session = self.tree.session = session
        elif self.dataset is not None and self.dataset != dataset and self.tree.base is not None:
            # Of another dataset in the same bucket: by reference, under the lease of the push.
            assert self._base_dataset is not None
            self._origins.add(DraftOrigin(self._base_dataset, self.tree.base.top_hash))
            self._stand_on(DraftTree(self.frames, self.session, None, self.tree.root, self.tree.metadata))
            self.parent, self._base_dataset = None, None
        if self.dataset != dataset or self.branch != branch:
            self._looked = self.dataset == dataset and self._looked
        self.bucket, self.dataset, self.branch = bucket, dataset, branch

    def _writer(self, authorship: Authorship, tag: str | None, progress: Progress, kind: LeaseKind) -> VersionWriter:
        if self.dataset is None:
            raise UsageError("the version has no name yet", fix='Name it: "bucket/dataset".')
        return VersionWriter(
            self.session,
            self.session.repository(self.dataset),
            kind,
            authorship,
            branch=self.branch or DEFAULT_BRANCH,
            tag=tag,
            progress=progress,
        )

    def branch_of(self, name: str) -> bool:
        """Whether the dataset has a branch of this name."""
        assert self.dataset is not None
        return self.session.repository(self.dataset).refs.head(name) is not None

    def allow_named_objects(self) -> None:
        """Have data sets read what lies in the bucket by name, where that is on this machine."""
        if isinstance(self.session.store, LocalStore):
            allow_bucket(self.session.store)

    def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self.frames.close()
