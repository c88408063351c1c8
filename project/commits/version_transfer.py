"""Versions that go to remotes, and files that come from there.

A version is sent with its history, oldest first, each as what differs from its first parent: only content that the
bucket does not have is uploaded, small files in packs. What is made there is the same commit, by id. Files come as
objects of the local bucket, so that links that are there already lead to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec import structs

from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import IntegrityError, NotFoundError
from penstock.manifest.diff import diff
from penstock.manifest.entry import Kind
from penstock.manifest.metadata import canonical_json
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import Edit
from penstock.progress import SILENT, Progress
from penstock.project.records.data_record import RECORDS, FileValue
from penstock.project.records.file_store import FileStore
from penstock.project.records.kept_work import KeptWork
from penstock.project.records.versions import Version, open_version
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.bucket.object_keys import commit_key, data_key, node_key
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import GivenBytes, VersionEdit, apply_edits
from penstock.repo.refs.repository import DEFAULT_BRANCH, Repository
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.write.authorship import default_author
from penstock.repo.write.publish import Authorship, copy_commit, tag_version
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store

__all__ = ["Fetched", "Sending", "fetch_files", "history_here", "send_version"]

_BATCH = 512


@dataclass(slots=True)
class Sending:
    """What a push of one version did."""

    versions: int = 0
    objects: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Fetched:
    """What a pull of one dataset brought."""

    files: int = 0
    bytes: int = 0


def send_version(
    local: BucketSession,
    files: FileStore,
    kept: KeptWork,
    settings: Settings,
    version: Version,
    remote: str,
    branch: str | None,
    progress: Progress = SILENT,
) -> Sending:
    """Send a version and all that led to it to a remote; then let its `branch` there stand at it.

    Without a branch the version gets a tag instead, for something has to lead to it.

    StoreUnreachableError, AccessError: the remote does not answer, or refuses; the branch has not moved then, and what
    was sent is found by the next try.
    """
    report = Sending()
    with open_session(remote, settings) as session:
        repository = session.repository(version.dataset)
        missing = list(_missing(local, version, repository))
        who = Authorship(default_author(), "", "push")
        at = branch or DEFAULT_BRANCH
        with VersionWriter(session, repository, LeaseKind.PUSH, who, branch=at, progress=progress) as writer:
            writer.check_names()
            stands = writer.head.record.commit if writer.head is not None else None
            if not missing and branch is not None and stands == version.commit:
                return report
            writer.hold()
            for each in missing:
                _send(each, files, kept, writer, report, progress)
            if branch is None:
                tag_version(repository, writer.access, f"version-{version.commit.hex()[:16]}", version.id, who)
            elif stands != version.commit:
                writer.move(version.id)
    return report


def history_here(local: BucketSession, dataset: str, commit: bytes) -> set[bytes]:
    """Return the commits that led to one, as far as they are on this machine, it itself among them."""
    repository = local.repository(dataset)
    found: set[bytes] = set()
    waiting = [commit]
    while waiting:
        each = waiting.pop()
        if each not in found and local.store.head(commit_key(dataset, each.hex())) is not None:
            found.add(each)
            waiting += repository.commit(each).parents
    return found


def _missing(local: BucketSession, version: Version, there: Repository) -> Iterator[Version]:
    """Yield what led to a version and is not in a bucket, each after its parents, it itself last."""
    here = local.repository(version.dataset)
    waiting, order, seen = [version.commit], [], set()
    while waiting:
        commit = waiting.pop()
        if commit in seen or there.store.head(commit_key(there.dataset, commit.hex())) is not None:
            continue
        seen.add(commit)
        record = here.commit(commit)
        order.append((commit, record.parents))
        waiting += record.parents
    placed: set[bytes] = set()
    parents = dict(order)

    stack = [version.commit] if version.commit in parents else []
    while stack:
        commit = stack[-1]
        ahead = [each for each in parents[commit] if each in parents and each not in placed]
        if commit in placed or not ahead:
            stack.pop()
            if commit not in placed:
                placed.add(commit)
                yield open_version(local, version.dataset, commit)
        else:
            stack += ahead


def _send(
    version: Version, files: FileStore, kept: KeptWork, writer: VersionWriter, report: Sending, progress: Progress
) -> None:
    repository, local = writer.repository, version.session
    record = local.repository(version.dataset).commit(version.commit)
    parents = [open_version(writer.session, version.dataset, each) for each in record.parents]
    before = parents[0].manifest if parents else None
    made = apply_edits(
        writer,
        before,
        _edits(version, before, [each.manifest for each in parents], files, kept, writer.session),
        canonical_json(version.metadata),
        progress,
    )
    _send_attachments(version, files, repository.store, report)
    body = local.store.get(commit_key(version.dataset, version.commit.hex()))
    copy_commit(repository, writer.access, made.manifest, body)
    report.versions += 1
    report.objects += made.data.objects
    report.bytes += made.data.bytes


def _send_attachments(version: Version, files: FileStore, there: Store, report: Sending) -> None:
    """Copy what is attached to a version's commit as it is: the commit says where in the bucket it lies."""
    root, here = version.attachments, version.session.store
    if root is None:
        return
    packs = {root.location.pack}
    for _, entry in Tree(root, version.session.load).children(root):
        packs |= {page.location.pack for page in entry.pages}
        for extent in entry.extents:
            key = data_key(extent.object) if isinstance(extent.object, bytes) else ""
            if key and there.head(key) is None:
                with open(files.path_of(bytes(extent.object)), "rb") as stream:  # type: ignore[arg-type]
                    size = os.fstat(stream.fileno()).st_size
                    there.put_file(key, stream.fileno(), size)
                report.objects += 1
                report.bytes += size
    for pack in packs:
        if there.head(node_key(pack)) is None:
            there.put(node_key(pack), here.get(node_key(pack)))


def _edits(
    version: Version,
    before: Manifest | None,
    others: list[Manifest],
    files: FileStore,
    kept: KeptWork,
    there: BucketSession,
) -> Iterator[VersionEdit]:
    known = {before.root.hash: before.root} if before is not None else {}
    root = next(iter(known.values()), None)
    trees = [Tree(each.root, there.load) for each in others]
    for change in diff(root, version.manifest.root, there.load, version.session.load):
        new = change.new
        if new is None:
            yield Edit(change.path, None, missing_ok=True)
        elif new.directory is not None:
            if change.old is None or change.old.directory is None:
                yield Edit(change.path, structs.replace(new, directory=None))
        elif change.path[0] == RECORDS or not new.size:
            body = new.metadata if isinstance(new.metadata, bytes) else version.session.nodes.metadata(new.metadata)
            yield GivenBytes(change.path, b"", metadata=body)
        else:
            body = new.metadata if isinstance(new.metadata, bytes) else version.session.nodes.metadata(new.metadata)
            yield _file(change.path, new.hash, new.size, body, trees, files, kept)


def _file(
    path: tuple[bytes, ...],
    digest: bytes,
    size: int,
    metadata: bytes,
    trees: list[Tree],
    files: FileStore,
    kept: KeptWork,
) -> VersionEdit:
    value = FileValue(digest.hex(), size, "")
    stored = kept.stored(value)
    if stored is not None and kept.has_file(value):
        place = os.fsencode(files.path_of(stored.object))
        return LocalFile(path, place, Kind.FILE, size, os.stat(place).st_mtime_ns, metadata)
    for tree in trees:
        try:
            entry = tree.resolve(path)[1]
        except NotFoundError:
            continue
        if entry.hash == digest:
            return Edit(path, structs.replace(entry, metadata=metadata))
    shown = b"/".join(path).decode("utf-8", "replace")
    raise NotFoundError(
        f"the file {shown} is not here, so that it cannot be sent",
        why="it was fetched from another place, or its object was deleted",
        fix="git datasets pull",
    )


def fetch_files(
    files: FileStore, kept: KeptWork, settings: Settings, version: Version, remote: str, progress: Progress = SILENT
) -> Fetched:
    """Fetch the files of a version that are not here. IntegrityError: what came is not what it was to be."""
    report = Fetched()
    stage = progress.stage("fetching")
    with Package(f"{remote}/{version.dataset}:{version.commit.hex()}", settings) as package:
        for batch in _batches(_absent(version, kept)):
            for key, body in zip(batch, package.read_many(list(batch)), strict=True):
                _take(files, kept, key, batch[key], body)
                report.files += 1
                report.bytes += len(body)
                stage.advance(len(body))
        files.make_durable()
    return report


def _absent(version: Version, kept: KeptWork) -> Iterator[tuple[str, bytes]]:
    for each in version.schema.fields:
        if each.is_file:
            for entry in version.files(each.name):
                if not kept.has_file(FileValue(entry.hash.hex(), entry.size, "")):
                    yield f"{each.name}/{entry.name.decode('utf-8', 'surrogateescape')}", entry.hash


def _batches(found: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, bytes]]:
    batch: dict[str, bytes] = {}
    for key, digest in found:
        batch[key] = digest
        if len(batch) == _BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _take(files: FileStore, kept: KeptWork, key: str, digest: bytes, body: bytes) -> None:
    place = os.path.join(files.folder, f"fetched-{os.getpid()}")
    with open(place, "wb") as stream:
        stream.write(body)
    taken = files.take(place, "", move=True)
    if taken.value.hash != digest.hex():
        raise IntegrityError(f"{key} is not what its version says", fix="penstock verify tells more.")
    kept.store(taken)
