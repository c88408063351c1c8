"""Push: a directory becomes the next version of a branch, copied or in place; `hash_directory` sends nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes, urlsplit

from penstock.errors import ConflictError, UnreadableError, UsageError
from penstock.manifest.build import DiscardSink, TreeBuilder
from penstock.manifest.entry import NodeRef
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Progress, Stage
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.bucket.repository import DEFAULT_BRANCH, Repository, dataset_of
from penstock.repo.bucket.write_access import write_access
from penstock.repo.fetch.externals import refuse_fuse
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import Handle, check_ref_name
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import allow_folder
from penstock.repo.write.known_places import KnownPlaces
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship, Published, publish, tag_version
from penstock.repo.write.upload import Upload
from penstock.store.base import Store
from penstock.store.local import LocalStore

from .directory_walk import Skipped, refuse_inside, walk_directory
from .file_reader import FilePiece, FileRead, ReadStep, read_ahead
from .in_place import InPlaceRegistrar, Unreadable
from .local_tree import build_local, threads
from .packer import FilePacker, ParentVersion

__all__ = ["PushReport", "hash_directory", "push", "push_in_place"]


@dataclass(slots=True)
class PushReport:
    """What a push did. `commit` is None when nothing changed and the branch stayed where it was."""

    handle: str
    top_hash: bytes
    commit: bytes | None
    files: int = 0
    bytes: int = 0
    bytes_uploaded: int = 0
    objects_uploaded: int = 0
    metadata_bytes_uploaded: int = 0
    metadata_objects_uploaded: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    unpinned: int = 0
    """Objects registered in place whose store gives them neither a version nor an ETag."""
    allowed: str | None = None
    """The folder that data sets in local buckets may read from now on, because it was registered in place."""
    unreadable: list[Unreadable] = field(default_factory=list)
    risk: str = ""
    """What to warn of, see `Refs.risk`."""


def push(
    directory: str,
    handle: Handle,
    settings: Settings,
    authorship: Authorship,
    progress: Progress,
    tag: str | None = None,
) -> PushReport:
    """Make what is in a directory the next version of ``bucket/dataset[:branch]``.

    Any of `penstock.errors` may come up, CancelledError among them; the branch is then where it was, and what was sent
    already is found again by the next push. Once everything is sent, the push can be cancelled no more.
    """
    with _Push(handle, settings, progress, tag) as pushing, ExitStack() as stack:
        if isinstance(pushing.store, LocalStore):
            refuse_inside(directory, pushing.store.path)
        index = stack.enter_context(pushing.session.locations())
        places = KnownPlaces(pushing.store, index, pushing.parent, pushing.target.top_hash)
        old = ParentVersion(pushing.parent, pushing.session.blocks.hash) if pushing.parent is not None else None
        packer = FilePacker(pushing.builder, pushing.sink, pushing.upload, places, old)
        skipped: list[Skipped] = []
        steps = read_ahead(walk_directory(directory, skipped.append), pushing.pool)
        pushing.begin()
        for step in stack.enter_context(closing(steps)):
            packer.take(step)
            _tell(step, pushing.reading)
        report = pushing.publish(packer.finish(), authorship)
        places.published(report.top_hash)
        report.files, report.bytes, report.skipped = packer.files, packer.bytes, skipped
        return report


def push_in_place(
    source: str,
    handle: Handle,
    settings: Settings,
    authorship: Authorship,
    progress: Progress,
    tag: str | None = None,
    *,
    skip_unreadable: bool = False,
) -> PushReport:
    """Make a version whose entries point to the files of `source` where they lie; nothing but metadata is sent.

    `source` is a directory, ``file:///dir`` or ``s3://bucket[/prefix]``. A bucket that is a remote's address is opened
    as the remote says, any other one as the dataset's own. Errors as `push`.

    UnreadableError: objects of the source cannot be read, or cannot be entries; all of them are named, and nothing is
    published. With `skip_unreadable` they are left out, and named in the report.
    """
    with _Push(handle, settings, progress, tag) as pushing:
        registrar = InPlaceRegistrar(pushing.builder, pushing.parent, pushing.pool, pushing.reading)
        folder = _local_folder(source, pushing.store) if not source.startswith("s3://") else None
        pushing.begin()
        if folder is None:
            with closing(pushing.session.externals.open(source.rstrip("/"))) as store:
                root = registrar.objects(store)
        else:
            root = registrar.directory(folder)
        if registrar.unreadable and not skip_unreadable:
            count = len(registrar.unreadable)
            raise UnreadableError(
                f"{count} object{'' if count == 1 else 's'} of {source} cannot be registered",
                why="nothing was published",
                fix="Mend what is named, or leave it out of the version with --skip-unreadable.",
                candidates=[f"{key}: {why}" for key, why in registrar.unreadable],
            )
        # Before the version is there, so that whoever is told of it can read it.
        newly = folder is not None and not settings.trust.folder_of(f"{folder}/") and allow_folder(folder)
        report = pushing.publish(root, authorship)
        report.unreadable = registrar.unreadable
        report.files, report.bytes, report.skipped = registrar.files, registrar.bytes, registrar.skipped
        report.unpinned = registrar.unpinned
        report.allowed = folder if newly else None
        return report


def _local_folder(source: str, bucket: Store) -> str:
    """Return the directory to register, as entries will name it. UsageError, AccessError: it could not be read."""
    path = unquote_to_bytes(urlsplit(source).path) if source.startswith("file://") else os.fsencode(source)
    folder = os.path.abspath(os.fsdecode(path))
    if not isinstance(bucket, LocalStore):
        raise UsageError(
            f"the files in {folder!r} cannot be registered in {bucket.url}",
            why="a version in a bucket that is not on this machine never leads to files of a machine",
            fix="Push them with their content, without --in-place, or keep the data set in a local directory.",
        )
    refuse_fuse(os.path.realpath(folder))
    return folder


class _Push(ExitStack):
    """What every push needs, opened; closed when the block ends."""

    def __init__(self, handle: Handle, settings: Settings, progress: Progress, tag: str | None) -> None:
        super().__init__()
        dataset = dataset_of(handle)
        if handle.subdir:
            raise UsageError(
                f"cannot push into {handle.subdir!r} of a version",
                fix=f"Push the whole directory: {handle.bucket}/{dataset}[:branch]",
            )
        if tag is not None:
            check_ref_name(tag)
        self._settings, self._bucket = settings, handle.bucket
        with ExitStack() as opening:  # what was opened is closed again, should the rest fail
            self.session = session = opening.enter_context(open_session(handle.bucket, settings))
            self.store = session.store
            self.target = _Target(session.repository(dataset), handle.ref or DEFAULT_BRANCH, tag)
            self.handle = str(replace(handle, ref=self.target.branch))
            self.reading = progress.stage("reading")
            self.upload = opening.enter_context(closing(Upload(self.store, progress.stage("uploading"))))
            self.pool = opening.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
            self.push(opening.pop_all().__exit__)
        self.parent = Tree(self.target.root, session.load) if self.target.root is not None else None
        self.sink = NodePackWriter(lambda key, body: self.upload.send(key, body, data=False))
        self.builder = TreeBuilder(self.sink, self.target.root, session.load)

    def begin(self) -> None:
        """Take the lease under which objects that are there already are built on; a push that ends here left no trace.

        The branch was read before, and nothing else: as long as it has not moved, what it leads to is there.
        """
        self.enter_context(write_access(self.target.repository, LeaseKind.PUSH, self._settings, self._bucket))

    def publish(self, root: NodeRef, authorship: Authorship) -> PushReport:
        """Wait until all is in the bucket, and make the tree with this root the next version."""
        self.sink.flush()
        self.upload.finish()
        manifest = Manifest(self.sink.located(root))
        commit = self.target.publish(manifest, authorship)
        data, metadata = self.upload.sent[True], self.upload.sent[False]
        report = PushReport(self.handle, manifest.top_hash, commit, risk=self.target.repository.refs.risk)
        report.bytes_uploaded, report.objects_uploaded = data.bytes, data.objects
        report.metadata_bytes_uploaded, report.metadata_objects_uploaded = metadata.bytes, metadata.objects
        return report


class _Target:
    """The branch that is pushed to, as it stood when the push began."""

    def __init__(self, repository: Repository, branch: str, tag: str | None) -> None:
        refs = repository.refs
        self.repository = repository
        self.branch = branch
        self.tag = tag
        self.head = refs.head(branch)
        self.top_hash: bytes | None = None
        self.root: NodeRef | None = None
        if self.head is None:
            if refs.tag(branch) is not None:
                raise UsageError(
                    f"{branch!r} is a tag of {repository.dataset!r}", why="tags never move", fix="Push to a branch."
                )
            repository.check_new_name(branch)
        tagged = None
        if tag is not None:
            if tag == branch or refs.head(tag) is not None:
                raise UsageError(
                    f"{tag!r} is a branch of {repository.dataset!r}",
                    why="it would hide a tag of that name",
                    fix="Choose another name for the tag.",
                )
            repository.check_new_name(tag)
            tagged = refs.tag(tag)
        self.tag_is_taken = tagged is not None
        if tagged is not None and (self.head is None or tagged.commit != self.head.record.commit):
            raise self._tag_conflict()
        if self.head is not None and self.head.record.top_hash is not None:
            self.top_hash = bytes.fromhex(self.head.record.top_hash)
            self.root = repository.manifest(self.top_hash).root

    def publish(self, manifest: Manifest, authorship: Authorship) -> bytes | None:
        """Move the branch and make the tag; return the new commit, None where nothing differs."""
        commit = None
        if self.head is not None and self.head.record.commit is not None and self.top_hash == manifest.top_hash:
            published = Published(manifest.top_hash, bytes.fromhex(self.head.record.commit))
            if self.tag is not None:
                self.repository.commit(published.commit)  # is there still, should the branch have moved meanwhile
        else:
            if self.tag_is_taken:  # by the version that the branch has now
                raise self._tag_conflict()
            published = publish(self.repository, self.branch, self.head, manifest, authorship)
            commit = published.commit
        if self.tag is not None:
            tag_version(self.repository, self.tag, published, authorship)
        return commit

    def _tag_conflict(self) -> ConflictError:
        return ConflictError(
            f"tag {self.tag!r} of {self.repository.dataset!r} stands for another version",
            why="tags never move",
            fix="Choose another name.",
        )


def _tell(step: ReadStep, reading: Stage) -> None:
    if isinstance(step, FilePiece | FileRead):
        reading.advance(len(step.data))


def hash_directory(directory: str, progress: Progress) -> tuple[bytes, int, int, list[Skipped]]:
    """Return the top hash that a push of this directory would have, its files, its bytes, and what is left out."""
    found = build_local(directory, DiscardSink(), progress.stage("hashing"))
    return Manifest(found.root).top_hash, found.files, found.bytes, found.skipped
