"""Push: a directory becomes the next version of a branch, copied or in place; `hash_directory` sends nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes, urlsplit

from penstock.errors import UnreadableError, UsageError
from penstock.manifest.build import DiscardSink, TreeBuilder
from penstock.manifest.entry import Metadata, NodeRef
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Progress, Stage
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.fetch.externals import refuse_fuse
from penstock.repo.refs.repository import DEFAULT_BRANCH, dataset_of
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import allow_folder
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store
from penstock.store.local import LocalStore

from .directory_total import total_told
from .directory_walk import Skipped, refuse_inside, walk_directory
from .file_reader import FilePiece, FileRead, ReadStep, read_ahead
from .in_place import InPlaceRegistrar, Unreadable
from .local_attributes import NOTHING, KeptAttributes, kept_metadata
from .local_tree import build_local, threads
from .packer import FilePacker

__all__ = ["PushOutcome", "hash_directory", "push", "push_in_place"]


@dataclass(slots=True)
class PushOutcome:
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
    unversioned: int = 0
    """Objects registered in place in buckets that keep no versions: once overwritten, they cannot be read any more."""
    allowed: str | None = None
    """The folder that data sets in local buckets may read from now on, because it was registered in place."""
    unreadable: list[Unreadable] = field(default_factory=list)
    risk: str = ""
    """What to warn of, see `WriteAccess.risk`."""


def push(
    directory: str,
    handle: Handle,
    settings: Settings,
    authorship: Authorship,
    progress: Progress,
    tag: str | None = None,
    kept: KeptAttributes = NOTHING,
    without: frozenset[bytes] = frozenset(),
    *,
    drop_metadata: bool = False,
) -> PushOutcome:
    """Make what is in a directory the next version of ``bucket/dataset[:branch]``, but what is called as in `without`.

    Metadata of the branch stays, of the dataset and of paths that are still there, unless it is to be dropped.

    Any of `penstock.errors` may come up, CancelledError among them; the branch is then where it was, and what was sent
    already is found again by the next push. Once everything is sent, the push can be cancelled no more.
    """
    with _Push(handle, settings, authorship, progress, tag, drop_metadata) as pushing:
        if isinstance(pushing.store, LocalStore):
            refuse_inside(directory, pushing.store.path)
        packer = FilePacker(
            pushing.builder,
            pushing.content,
            pushing.parent,
            pushing.session.blocks.hash,
            keep_metadata=not drop_metadata,
        )
        skipped: list[Skipped] = []
        walk = walk_directory(directory, skipped.append, kept, without)
        steps = read_ahead(walk, pushing.pool, pushing.content.foresee)
        pushing.writer.hold()
        if progress.is_shown:
            pushing.enter_context(total_told(directory, pushing.reading, without))
        with closing(steps):
            for step in steps:
                packer.take(step)
                _tell(step, pushing.reading)
        report = pushing.publish(packer.finish())
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
    require_versioned: bool = False,
    identity: bool = False,
    drop_metadata: bool = False,
) -> PushOutcome:
    """Make a version whose entries point to the files of `source` where they lie; nothing but metadata is sent.

    `source` is a directory, ``file:///dir``, ``s3://bucket[/prefix]`` or ``remote[/prefix]``. A bucket that is a
    remote's address is opened as the remote says, any other one as the dataset's own. Errors as `push`.

    UnreadableError: objects of the source cannot be read, or cannot be entries; all of them are named, and nothing is
    published. With `skip_unreadable` they are left out, and named in the report. With `require_versioned`, those that
    lie in buckets that keep no versions are among them.

    With `identity`, objects are not read, but pinned by what their store says of them; a directory is refused.
    """
    source = _address_of(source, settings)
    if identity and not source.startswith("s3://"):
        raise UsageError(
            f"{source!r} cannot be registered by identity",
            why="only a store says which object is which: of a file in a directory, its bytes alone do",
            fix="Leave --identity out, or name s3://bucket/prefix.",
        )
    with _Push(handle, settings, authorship, progress, tag, drop_metadata) as pushing:
        registrar = InPlaceRegistrar(
            pushing.builder,
            pushing.parent,
            pushing.pool,
            pushing.reading,
            keep_metadata=not drop_metadata,
            require_versioned=require_versioned,
            identity=identity,
        )
        folder = _local_folder(source, pushing.store) if not source.startswith("s3://") else None
        pushing.writer.hold()
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
        pushing.writer.note_pins(registrar.unpinned, registrar.unversioned)
        report = pushing.publish(root)
        report.unreadable = registrar.unreadable
        report.files, report.bytes, report.skipped = registrar.files, registrar.bytes, registrar.skipped
        report.unpinned, report.unversioned = registrar.unpinned, registrar.unversioned
        report.allowed = folder if newly else None
        return report


def _address_of(source: str, settings: Settings) -> str:
    """Return a source whose remote is named as its address; a directory that is there is one."""
    name, _, prefix = source.rstrip("/").partition("/")
    remote = settings.remotes.get(name)
    if remote is None or os.path.lexists(source):
        return source
    return "/".join(filter(None, (remote.url, prefix)))


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
    """What every push needs, opened; closed when the block ends.

    The branch is read before the lease is taken, and nothing else: as long as it has not moved, what it leads to is
    there. A push that ends before that left no trace.
    """

    def __init__(
        self,
        handle: Handle,
        settings: Settings,
        authorship: Authorship,
        progress: Progress,
        tag: str | None,
        drop_metadata: bool,
    ) -> None:
        super().__init__()
        dataset = dataset_of(handle)
        if handle.subdir:
            raise UsageError(
                f"cannot push into {handle.subdir!r} of a version",
                fix=f"Push the whole directory: {handle.bucket}/{dataset}[:branch]",
            )
        with ExitStack() as opening:  # what was opened is closed again, should the rest fail
            self.session = session = opening.enter_context(open_session(handle.bucket, settings))
            self.store = session.store
            self.writer = writer = opening.enter_context(
                VersionWriter(
                    session,
                    session.repository(dataset),
                    LeaseKind.PUSH,
                    authorship,
                    branch=handle.ref or DEFAULT_BRANCH,
                    tag=tag,
                    progress=progress,
                )
            )
            self.handle = str(replace(handle, ref=writer.branch))
            writer.check_names()
            base = writer.base()
            self.reading = progress.stage("reading")
            self.content = opening.enter_context(writer.content(base))
            self.pool = opening.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
            self.push(opening.pop_all().__exit__)
        kept = base is not None and not drop_metadata
        self._metadata: Metadata = kept_metadata(base.metadata, b"", b"") if base is not None and kept else b""
        root = base.root if base is not None else None
        self.parent = Tree(root, session.load) if root is not None else None
        self.builder = TreeBuilder(self.content, root, session.load)

    def publish(self, root: NodeRef) -> PushOutcome:
        """Wait until all is in the bucket, and make the tree with this root the next version."""
        writer, sent = self.writer, self.content.sent
        landed = writer.publish(self.content.finish(root, self._metadata))
        writer.tag_version(landed.published)
        return PushOutcome(
            self.handle,
            landed.published.top_hash,
            landed.published.commit if landed.changed else None,
            bytes_uploaded=sent[True].bytes,
            objects_uploaded=sent[True].objects,
            metadata_bytes_uploaded=sent[False].bytes,
            metadata_objects_uploaded=sent[False].objects,
            risk=writer.risk,
        )


def _tell(step: ReadStep, reading: Stage) -> None:
    if isinstance(step, FilePiece | FileRead):
        reading.advance(len(step.data))


def hash_directory(
    directory: str, progress: Progress, kept: KeptAttributes = NOTHING
) -> tuple[bytes, int, int, list[Skipped]]:
    """Return the top hash that a push of this directory would have, its files, its bytes, and what is left out."""
    found = build_local(directory, DiscardSink(), progress.stage("hashing"), kept)
    return Manifest(found.root).top_hash, found.files, found.bytes, found.skipped
