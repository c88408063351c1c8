"""What a version is, where it comes from, and what differs from it. One part of `Package`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from penstock.errors import AccessError
from penstock.manifest.entry import split_path
from penstock.progress import SILENT, Progress

from .entry import Entry, EntryKind, kind_name
from .entry_file import EntryFile
from .package_entries import PackageEntries

if TYPE_CHECKING:
    from penstock.api.datasets.versions import Revision
    from penstock.manifest.entry import TreeEntry
    from penstock.manifest.records import Commit
    from penstock.repo.history.comparison import Contents

    from .comparison import Comparison

__all__ = ["PackageHistory", "PackageInfo"]

_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class PackageInfo:
    """What is known of a version, and of the entry at `path` in it: `kind`, `entries` below it, `bytes`, `hash`.

    `commit`, `author`, `time` and `message` are None, and `parents` and `environment` empty, where the version was
    named by its top hash. `branches` and `tags` are the dataset's, None where they may not be listed.
    """

    path: str
    dataset: str
    bucket: str
    title: str
    description: str
    top_hash: str
    commit: str | None
    kind: EntryKind
    entries: int
    bytes: int
    hash: str
    author: str | None
    time: str | None
    message: str | None
    parents: Sequence[str]
    environment: Mapping[str, str]
    branches: Sequence[str] | None
    tags: Sequence[str] | None


class PackageHistory(PackageEntries):
    """What a `Package` says of its version, and holds against others."""

    __slots__ = ()

    @property
    def top_hash(self) -> str:
        """The hash of all that the version contains, 64 hex digits."""
        return self._snapshot.top_hash.hex()

    @property
    def commit(self) -> str | None:
        """The id of its commit, 64 hex digits; None where it was named by its top hash."""
        commit_id = self._snapshot.commit_id
        return commit_id.hex() if commit_id is not None else None

    def info(self, path: str = "") -> PackageInfo:
        """Return what the version is, what the entry at a path is, and which refs the dataset has.

        >>> import penstock
        >>> info = penstock.Package("demo/photos:v1").info()
        >>> info.entries, info.bytes, info.message
        (3, 8, 'first batch')
        """
        snapshot = self._snapshot
        entry = snapshot.find(path)
        commit = snapshot.commit()
        refs = snapshot.repository.refs
        try:
            # None of them waits for another: far away, each is some round trips.
            with ThreadPoolExecutor(_TOGETHER, "penstock-info") as pool:
                title, tagged = pool.submit(refs.info), pool.submit(lambda: tuple(refs.tags()))
                names = tuple(refs.branches())
                branches = tuple(name for name, head in zip(names, pool.map(refs.head, names), strict=True) if head)
                said, tags = title.result(), tagged.result()
        except AccessError:  # they are listed, which whoever may read objects need not be allowed
            said, branches, tags = None, None, None
        return PackageInfo(
            path=path,
            dataset=snapshot.dataset,
            bucket=snapshot.bucket_url,
            title=said.title if said else "",
            description=said.description if said else "",
            top_hash=self.top_hash,
            commit=self.commit,
            kind=kind_name(entry),
            entries=entry.entries,
            bytes=entry.size,
            hash=entry.shown_hash,
            author=commit.author if commit else None,
            time=commit.time if commit else None,
            message=commit.message if commit else None,
            parents=tuple(each.hex() for each in commit.parents) if commit else (),
            environment=commit.environment if commit else {},
            branches=branches,
            tags=tags,
        )

    def revision(self) -> Revision:
        """Return what the version's commit says.

        Named by its top hash, a version is the newest one with that content in the history of a branch or tag.
        NotFoundError: there is none.

        >>> import penstock
        >>> penstock.Package("demo/photos:v1").revision().message
        'first batch'
        """
        from penstock.api.datasets.versions import revision_of

        return revision_of(*self._commit())

    def changes(self) -> Comparison:
        """Compare the version with its first parent: what it changed.

        >>> import penstock
        >>> penstock.Package("demo/photos").changes().counts().added
        1
        """
        from penstock.repo.history.comparison import Contents

        from .comparison import Comparison

        snapshot = self._snapshot
        repository, session = snapshot.repository, snapshot.session
        commit = self._commit()[1]
        root = None
        if commit.parents:
            parent = repository.commit(commit.parents[0])
            root = repository.manifest(parent.top_hash).root
        before = Contents(root, session.load, session.load_many)
        after = replace(before, root=snapshot.manifest.root)
        return Comparison(before, after, top_hash=self.top_hash, files=(self._open_file, self._open_file))

    def diff(self, other: Self | str | os.PathLike[str], path: str = "", *, progress: Progress = SILENT) -> Comparison:
        """Compare the version with another one, at and below `path`, or with what a push of a directory would make.

        A directory on this machine is read and hashed, which `progress` is told of; nothing is sent. It has no
        metadata, so that makes no difference then.

        >>> import penstock
        >>> old, new = penstock.Package("demo/photos:v1"), penstock.Package("demo/photos")
        >>> [(each.change, each.path) for each in old.diff(new).changes()]
        [('added', '2024/dog.jpg')]
        >>> new.diff("photos")
        {'added': [], 'modified': [], 'deleted': [], 'hash': '...'}
        """
        from .comparison import Comparison, of_directory

        if not isinstance(other, PackageHistory):
            return of_directory(self._contents(), os.fspath(other), split_path(path), progress, self._open_file)
        with ThreadPoolExecutor(1, "penstock-diff") as pool:  # each is six requests, one after the other
            looking = pool.submit(other._contents)  # noqa: SLF001  # of the same class
            here = self._contents()
            there = looking.result()
            files = (self._open_file, other._open_file)  # noqa: SLF001  # of the same class
            return Comparison(here, there, split_path(path), top_hash=other.top_hash, files=files)

    def _open_file(self, names: tuple[bytes, ...], entry: TreeEntry) -> BinaryIO:
        """Open a file of the version, or of another one in its bucket."""
        return cast("BinaryIO", EntryFile(Entry(self, names, entry)))

    def _contents(self) -> Contents:
        from penstock.repo.history.comparison import Contents

        snapshot = self._snapshot
        return Contents(snapshot.root, snapshot.session.load, snapshot.session.load_many, snapshot.known_hash)

    def _commit(self) -> tuple[bytes, Commit]:
        from penstock.repo.history.log import find_published

        repository = self._snapshot.repository
        commit_id = self._snapshot.commit_id or find_published(repository, self.top_hash).known_commit
        return commit_id, repository.commit(commit_id)
