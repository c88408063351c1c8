"""Push: a local directory becomes the next version of a branch. Also `hash_directory`, the same with nothing sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Protocol

from penstock.cache import LocationIndex
from penstock.errors import ConflictError, UsageError
from penstock.manifest.build import DiscardSink, TreeBuilder
from penstock.manifest.entry import Entry, Kind, NodeRef
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.store.opening import open_store

from .blocks import Blocks
from .counters import Counters
from .handle import Handle, check_ref_name
from .nodes import NodePackWriter, Nodes
from .packing import Packer, Parent
from .places import KnownPlaces
from .publish import Authorship, Published, publish, tag_version
from .reading import FileRead, Piece, ReadStep, read_ahead
from .repository import DEFAULT_BRANCH, Repository, dataset_of
from .settings import Settings
from .snapshot import Externals, open_cache
from .source import EnterDirectory, LeaveDirectory, Skipped, walk_directory
from .upload import Upload

__all__ = ["Progress", "PushReport", "hash_directory", "push"]


class Progress(Protocol):
    """Told how far a push is. Called from several threads."""

    def read(self, files: int, size: int) -> None:
        """Say that so many more files and bytes were read and hashed."""
        ...

    def sent(self, size: int) -> None:
        """Say that so many more bytes are in the bucket."""
        ...


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


def _threads() -> int:
    return min(16, 2 * (os.cpu_count() or 1))


def push(
    directory: str,
    handle: Handle,
    settings: Settings,
    authorship: Authorship,
    progress: Progress,
    tag: str | None = None,
) -> PushReport:
    """Make what is in a directory the next version of ``bucket/dataset[:branch]``.

    Any of `penstock.errors` may come up; the branch is then where it was, and what was sent already is found again
    by the next push.
    """
    dataset = dataset_of(handle)
    if handle.subdir:
        raise UsageError(
            f"cannot push into {handle.subdir!r} of a version",
            fix=f"Push the whole directory: {handle.bucket}/{dataset}[:branch]",
        )
    if tag is not None:
        check_ref_name(tag)
    url, options = settings.locate_bucket(handle.bucket)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(url, options)))
        target = _Target(Repository(store, dataset), handle.ref or DEFAULT_BRANCH, tag)
        cache = stack.enter_context(closing(open_cache(settings)))
        index = stack.enter_context(closing(LocationIndex(settings.cache_directory, settings.cache_size)))
        externals = stack.enter_context(closing(Externals(settings, options)))
        upload = stack.enter_context(closing(Upload(store, progress.sent)))
        pool = stack.enter_context(ThreadPoolExecutor(_threads(), "penstock-read"))
        counters = Counters()
        nodes = Nodes(store, cache, counters)
        parent = None
        if target.root is not None:
            blocks = Blocks(store, cache, nodes, externals, counters)
            parent = Parent(Tree(target.root, nodes.load), blocks.hash)
        sink = NodePackWriter(lambda key, body: upload.send(key, body, data=False))
        places = KnownPlaces(store, index, parent.tree if parent is not None else None, target.top_hash)
        packer = Packer(TreeBuilder(sink, target.root, nodes.load), sink, upload, places, parent)
        skipped: list[Skipped] = []
        steps = stack.enter_context(closing(read_ahead(walk_directory(directory, skipped.append), pool)))
        for step in steps:
            packer.take(step)
            _tell(step, progress.read)
        root = packer.finish()
        sink.flush()
        upload.finish()
        manifest = Manifest(sink.located(root))
        commit = target.publish(manifest, authorship)
        places.published(manifest.top_hash)
        data, metadata = upload.sent[True], upload.sent[False]
        return PushReport(
            str(replace(handle, ref=target.branch)),
            manifest.top_hash,
            commit,
            packer.files,
            packer.bytes,
            data.bytes,
            data.objects,
            metadata.bytes,
            metadata.objects,
            skipped,
        )


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


def _tell(step: ReadStep, told: Callable[[int, int], None]) -> None:
    if isinstance(step, Piece):
        told(0, len(step.data))
    elif isinstance(step, FileRead):
        told(1, len(step.data))


def hash_directory(directory: str, progress: Callable[[int, int], None]) -> tuple[bytes, int, int, list[Skipped]]:
    """Return the top hash that a push of this directory would have, its files, its bytes, and what is left out.

    `progress` is told more files and bytes as they are hashed.
    """
    skipped: list[Skipped] = []
    builder = TreeBuilder(DiscardSink())
    files = size = 0
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_threads(), "penstock-read"))
        steps = stack.enter_context(closing(read_ahead(walk_directory(directory, skipped.append), pool)))
        for step in steps:
            if isinstance(step, EnterDirectory):
                builder.enter(step.names[-1])
            elif isinstance(step, LeaveDirectory):
                builder.leave()
            elif isinstance(step, FileRead):
                target = step.data if step.file.kind is Kind.SYMLINK else b""
                builder.add(Entry(step.file.names[-1], step.file.kind, step.size, step.hash, target=target))
                if step.file.kind is not Kind.SYMLINK:
                    files += 1
                    size += step.size
            _tell(step, progress)
    return Manifest(builder.finish()).top_hash, files, size, skipped
