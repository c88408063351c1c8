"""Versions of declared datasets as they lie in a bucket: read row by row, compared, given a new name.

`Version` is one, opened. Whoever has its bucket's session open may read it; nothing is held but what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penstock.manifest.diff import changes
from penstock.manifest.entry import Metadata, NodeRef, TreeEntry
from penstock.manifest.metadata import parse_metadata
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.repo.bucket.object_keys import commit_key, manifest_key
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.bucket_session import BucketSession

from .data_record import RECORDS, DataRecord, decode_record
from .dataset_schema import Schema, read_schema

__all__ = [
    "FolderChange",
    "RecordChange",
    "Version",
    "adopt",
    "folder_changes",
    "open_version",
    "record_changes",
]


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A record that two versions differ in; None on the side that has none."""

    id: str
    old: DataRecord | None
    new: DataRecord | None


@dataclass(frozen=True, slots=True)
class FolderChange:
    """A file in a field's folder that two versions differ in."""

    folder: str
    name: str
    old: TreeEntry | None
    new: TreeEntry | None


@dataclass(frozen=True)
class Version:
    """One version of a dataset, in the bucket of a session."""

    session: BucketSession
    dataset: str
    id: VersionId
    manifest: Manifest

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The version's own metadata."""
        return parse_metadata(self._body(self.manifest.metadata))

    @cached_property
    def schema(self) -> Schema:
        """What it says of its fields. IntegrityError: it is of no dataset as code."""
        return read_schema(self.metadata)

    @property
    def commit(self) -> bytes:
        """The id of its commit."""
        return self.id.known_commit

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self.manifest.root, self.session.load)

    @cached_property
    def _folders(self) -> dict[bytes, NodeRef]:
        return {
            entry.name: entry.directory
            for _, entry in self._tree.children(self.manifest.root)
            if entry.directory is not None
        }

    def _body(self, metadata: Metadata) -> bytes:
        return metadata if isinstance(metadata, bytes) else self.session.nodes.metadata(metadata)

    @cached_property
    def attachments(self) -> NodeRef | None:
        """The directory of what is attached to its commit; None: nothing is."""
        commit = self.id.commit
        return self.session.repository(self.dataset).commit(commit).attachments if commit is not None else None

    def attached(self, name: bytes) -> TreeEntry | None:
        """Return a file that is attached to its commit."""
        found = self._tree.find(self.attachments, name) if self.attachments is not None else None
        return found[0] if found is not None else None

    @property
    def folders(self) -> list[str]:
        """The names of its folders."""
        return [name.decode("utf-8", "surrogateescape") for name in self._folders]

    def folder(self, name: bytes) -> NodeRef | None:
        """Return what is in a folder, None: there is none."""
        return self._folders.get(name)

    def find(self, folder: bytes, name: bytes) -> TreeEntry | None:
        """Return an entry of a folder."""
        directory = self._folders.get(folder)
        found = self._tree.find(directory, name) if directory is not None else None
        return found[0] if found is not None else None

    def files(self, folder: str) -> Iterator[TreeEntry]:
        """Yield the entries of a folder, in byte order."""
        directory = self._folders.get(folder.encode())
        if directory is not None:
            yield from (entry for _, entry in self._tree.children(directory))

    def record(self, identity: str) -> DataRecord | None:
        """Return a record by its id."""
        found = self.find(RECORDS, identity.encode())
        return self._record(found) if found is not None else None

    def records(self) -> Iterator[tuple[str, DataRecord]]:
        """Yield all records by their ids, in order."""
        directory = self._folders.get(RECORDS)
        if directory is not None:
            for _, entry in self._tree.children(directory):
                yield entry.name.decode(), self._record(entry)

    @property
    def count(self) -> int:
        """How many records there are."""
        directory = self._folders.get(RECORDS)
        return directory.entries if directory is not None else 0

    def _record(self, entry: TreeEntry) -> DataRecord:
        return decode_record(self._body(entry.metadata), entry.name.decode("utf-8", "replace"))


def open_version(session: BucketSession, dataset: str, commit: bytes) -> Version:
    """Open a version by its commit. NotFoundError, IntegrityError: it is not there, or not what it was."""
    repository = session.repository(dataset)
    found = repository.commit(commit)
    return Version(session, dataset, VersionId(found.top_hash, commit), repository.manifest(found.top_hash))


def record_changes(old: Version | None, new: Version | None) -> Iterator[RecordChange]:
    """Yield the records that two versions differ in, in order of their ids, in time that goes by how many they are."""
    for name, before, after in _differences(old, new, RECORDS):
        yield RecordChange(
            name.decode("utf-8", "replace"),
            old._record(before) if old is not None and before is not None else None,  # noqa: SLF001  # of this module
            new._record(after) if new is not None and after is not None else None,  # noqa: SLF001  # of this module
        )


def folder_changes(old: Version | None, new: Version | None, folder: str) -> Iterator[FolderChange]:
    """Yield the files of a field that two versions differ in, in order."""
    for name, before, after in _differences(old, new, folder.encode()):
        yield FolderChange(folder, name.decode("utf-8", "surrogateescape"), before, after)


def _differences(
    old: Version | None, new: Version | None, folder: bytes
) -> Iterator[tuple[bytes, TreeEntry | None, TreeEntry | None]]:
    one = old.folder(folder) if old is not None else None
    other = new.folder(folder) if new is not None else None
    either = new if new is not None else old
    if either is None:
        return
    loads = [each.session.load if each is not None else either.session.load for each in (old, new)]
    for change in changes(one, other, loads[0], loads[1]):
        if len(change.path) == 1:
            yield change.path[0], change.old, change.new


def adopt(session: BucketSession, version: Version, dataset: str) -> Version:
    """Return a version as one of another dataset in the same bucket. Its history stays with the old name."""
    store = session.store
    commit, top_hash = version.commit.hex(), version.id.top_hash.hex()
    for key in (manifest_key, commit_key):
        name = top_hash if key is manifest_key else commit
        store.create(key(dataset, name), store.get(key(version.dataset, name)))
    return open_version(session, dataset, version.commit)
