"""What a push did, and what a local directory would be as a version."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.progress import SILENT, Progress

if TYPE_CHECKING:
    from penstock.repo.push import push as transfer
    from penstock.repo.push.directory_walk import Skipped

__all__ = ["DirectoryHash", "PushReport", "SkippedFile", "UnreadableObject", "hash_directory", "push_report", "skipped"]


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """Something in a directory that no version can hold: a socket, a pipe, a device."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class UnreadableObject:
    """An object that was left out of a version, since it could not be read."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did. `commit` is None when nothing changed and the branch stayed where it was.

    `files` and `bytes` are the version's; data and metadata that the bucket did not have were uploaded, in so many
    bytes and objects. Of a push in place, `unpinned` files can be told neither by a version nor by an ETag,
    `unversioned` ones lie in buckets that keep no versions, so that they are lost once they are overwritten, and
    `allowed_folder` is one that data sets in local buckets may read from as of now. `risk`: empty, or why the bucket
    may lose versions. `notes`: of a workspace, what could not be recorded, or is missing.
    """

    handle: str
    tag: str | None
    top_hash: str
    commit: str | None
    changed: bool
    files: int
    bytes: int
    bytes_uploaded: int
    objects_uploaded: int
    metadata_bytes_uploaded: int
    metadata_objects_uploaded: int
    skipped: tuple[SkippedFile, ...]
    unpinned: int
    unversioned: int
    allowed_folder: str | None
    unreadable: tuple[UnreadableObject, ...]
    risk: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectoryHash:
    """The top hash that a directory would have as a version, its files and their bytes, and what would be left out."""

    top_hash: str
    files: int
    bytes: int
    skipped: tuple[SkippedFile, ...]


def hash_directory(
    directory: str | os.PathLike[str], *, modes: bool = False, xattrs: bool = False, progress: Progress = SILENT
) -> DirectoryHash:
    """Return the top hash that a directory would have as a version; nothing is sent, and no bucket is needed.

    Two directories with the same names, bytes, symlinks and executable bits have the same, on any machine. With
    `modes` and `xattrs` that is so if these are the same, too: see `Dataset.push`.

    NotFoundError, AccessError: it cannot be read. ConflictError: a file changed while it was read.

    >>> import penstock
    >>> penstock.hash_directory("photos").top_hash == penstock.Package("demo/photos:v1").top_hash
    False
    """
    from penstock.repo.push.local_attributes import KeptAttributes
    from penstock.repo.push.push import hash_directory as read_and_hash

    top_hash, files, size, left = read_and_hash(os.fspath(directory), progress, KeptAttributes(modes, xattrs))
    return DirectoryHash(top_hash.hex(), files, size, skipped(left))


def skipped(found: Iterable[Skipped]) -> tuple[SkippedFile, ...]:
    """Return what no version can hold as values."""
    return tuple(SkippedFile(os.fsdecode(path), what) for path, what in found)


def push_report(report: transfer.PushOutcome, tag: str | None) -> PushReport:
    """Return what a push did as a value."""
    return PushReport(
        handle=report.handle,
        tag=tag,
        top_hash=report.top_hash.hex(),
        commit=report.commit.hex() if report.commit else None,
        changed=report.commit is not None,
        files=report.files,
        bytes=report.bytes,
        bytes_uploaded=report.bytes_uploaded,
        objects_uploaded=report.objects_uploaded,
        metadata_bytes_uploaded=report.metadata_bytes_uploaded,
        metadata_objects_uploaded=report.metadata_objects_uploaded,
        skipped=skipped(report.skipped),
        unpinned=report.unpinned,
        unversioned=report.unversioned,
        allowed_folder=report.allowed,
        unreadable=tuple(UnreadableObject(key, why) for key, why in report.unreadable),
        risk=report.risk,
    )
