"""One version of a dataset, read: what is in it, without mounting it. Only what is asked for is fetched.

Reads go through the block cache that mounts use too, and every byte is verified. What only some methods need is
imported by those: to list a directory is to load no code that compares, checks or pushes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from penstock.errors import AccessError, NotFoundError, PenstockError, UsageError
from penstock.manifest.entry import split_path
from penstock.progress import SILENT, Progress
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot, open_snapshot

from .block_cache import clear_cache
from .document_names import DocumentNames
from .entry import Entry, EntryKind, kind_name
from .handles import Handle, as_handle, dataset_alone, format_size, handle_text
from .listing import html_table, text_table
from .package_questions import PackageQuestions
from .package_subsets import PackageSubsets
from .package_tables import PackageTables
from .per_process import PerProcess
from .settings import Settings

if TYPE_CHECKING:
    from penstock import PackageBuilder
    from penstock.manifest.records import Commit, Manifest
    from penstock.repo.history.comparison import Contents
    from penstock.repo.refs.repository import VersionId

    from .comparison import Comparison
    from .upkeep import VersionCheck, WarmReport
    from .versions import Revision

__all__ = ["Package", "PackageInfo", "open_package"]


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


class _Meant:
    """Which version a package is, once that was looked up: it stays that one whatever its ref leads to later.

    What was asked for as a `tag` or a `hash` has to be one then.
    """

    def __init__(self, pin: Pin | None, tag: str | None = None, hash: str | None = None) -> None:  # noqa: A002  # its name
        self.pin = pin
        self._tag = tag
        self._hash = hash

    def check(self, snapshot: Snapshot) -> None:
        version = snapshot.version
        if self._tag is not None:
            record = snapshot.repository.refs.tag(self._tag)
            if record is None or record.top_hash != version.top_hash.hex():
                raise NotFoundError(
                    f"{self._tag!r} is no tag of {snapshot.dataset!r}",
                    fix="Name a branch in the handle, after a colon.",
                )
        if self._hash is not None:
            names = [each.hex() for each in (version.commit, version.top_hash) if each is not None]
            if not any(name.startswith(self._hash.lower()) for name in names):
                raise NotFoundError(
                    f"{self._hash!r} is no version's hash in {snapshot.dataset!r}",
                    fix="Give 7 digits of a top hash or commit id; `penstock log` lists them.",
                )


def _open(handle: Handle, settings: Settings, meant: _Meant) -> Snapshot:
    snapshot = open_snapshot(str(handle), settings, pin=meant.pin)
    if meant.pin is None:
        try:
            meant.check(snapshot)
        except BaseException:
            snapshot.close()
            raise
        meant.pin = snapshot.pin
    snapshot.session.nodes.begin_narrow()
    return snapshot


_OF_BUILDERS = frozenset(("add", "delete", "move", "move_dir_contents", "set", "set_meta")) | {
    "build_manifest",
    "push",
    "push_data",
    "push_data_and_manifest",
    "push_manifest",
}


class Package(DocumentNames, PackageQuestions, PackageSubsets, PackageTables):
    """A version, named ``bucket/dataset[:ref][/subdir]``: immutable, and a handle.

    The version is looked up when a method first needs it; from then on it is that one, also in copies that were
    pickled and in processes that were forked. What is open is closed by `close`, at the end of a ``with``, or at the
    process's end. With a subdir, paths are within that directory. `settings` are the user's by default.

    `tag` or `hash` (of the top hash or commit id, 7 digits or more) name the version where the handle does not.

    UsageError: the handle is not valid, or names the version twice. NotFoundError: it names a bucket; from the methods:
    it names nothing, and what is near is named.

    >>> import penstock
    >>> package = penstock.Package("demo/photos", tag="v1")
    >>> len(package), "labels.csv" in package, "2024/dog.jpg" in package
    (3, True, False)
    >>> [entry.key for entry in package]
    ['2024', '2024/cat.jpg', 'labels.csv']
    >>> package["labels.csv"].read()
    b'cat,1'
    """

    __slots__ = ("_meant", "_opened", "handle", "settings")

    handle: Handle
    settings: Settings
    _meant: _Meant
    _opened: PerProcess[Snapshot]

    def __init__(
        self,
        name: str | Handle,
        settings: Settings | None = None,
        *,
        tag: str | None = None,
        hash: str | None = None,  # noqa: A002  # what it is
    ) -> None:
        handle = as_handle(name)
        dataset_alone(handle)
        named = [each for each in (handle.ref, tag, hash) if each is not None]
        if len(named) > 1:
            raise UsageError(f"{handle} names a version twice", why=" and ".join(named), fix="Name it once.")
        if named and handle.ref is None:
            handle = replace(handle, ref=named[0])
        self._begin(handle, settings or Settings.load(), _Meant(None, tag, hash))

    def _begin(self, handle: Handle, settings: Settings, meant: _Meant) -> None:
        for name, value in (
            ("handle", handle),
            ("settings", settings),
            ("_meant", meant),
            ("_opened", PerProcess(partial(_open, handle, settings, meant))),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: a Package never changes")

    if not TYPE_CHECKING:  # else every name would be an attribute to whoever checks types

        def __getattr__(self, name: str) -> NoReturn:
            if name in _OF_BUILDERS:
                raise AttributeError(f"Package has no method {name}(): a version never changes, builders make new ones")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def name(self) -> str:
        """The handle that it was named by."""
        return str(self.handle)

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
            said = refs.info()
            branches = tuple(name for name in refs.branches() if refs.head(name) is not None)
            tags = tuple(refs.tags())
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
            hash=entry.hash.hex(),
            author=commit.author if commit else None,
            time=commit.time if commit else None,
            message=commit.message if commit else None,
            parents=commit.parents if commit else (),
            environment=commit.environment if commit else {},
            branches=branches,
            tags=tags,
        )

    def to_builder(self) -> PackageBuilder:
        """Return a builder that holds what this does, to make the next version of its branch, or ``main``, from it.

        Of a directory of a version, what is in it, and no name. NotFoundError: the version was never published.

        >>> import penstock
        >>> builder = penstock.Package("demo/photos").to_builder()
        >>> builder.name, len(builder)
        ('demo/photos', 4)
        """
        from penstock import PackageBuilder  # by its public name: its module is built on this one

        # Its own half; to pyright, which meets this file under two names, the argument is of another class.
        return PackageBuilder._of(self)  # pyright: ignore[reportArgumentType]  # noqa: SLF001

    def as_package_builder(self) -> PackageBuilder:
        """Return the same as `to_builder`."""
        return self.to_builder()

    def close(self) -> None:
        """Close what is open. Whoever uses the package again opens the same version again."""
        self._opened.close()

    def revision(self) -> Revision:
        """Return what the version's commit says.

        Named by its top hash, a version is the newest one with that content in the history of a branch or tag.
        NotFoundError: there is none.

        >>> import penstock
        >>> penstock.Package("demo/photos:v1").revision().message
        'first batch'
        """
        from .versions import revision_of

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
            parent = repository.commit(bytes.fromhex(commit.parents[0]))
            root = repository.manifest(bytes.fromhex(parent.top_hash)).root
        before = Contents(root, session.load, session.load_many)
        return Comparison(before, replace(before, root=snapshot.manifest.root), top_hash=self.top_hash)

    def diff(
        self, other: Package | str | os.PathLike[str], path: str = "", *, progress: Progress = SILENT
    ) -> Comparison:
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

        if not isinstance(other, Package):
            return of_directory(self._contents(), os.fspath(other), split_path(path), progress)
        with ThreadPoolExecutor(1, "penstock-diff") as pool:  # each is six requests, one after the other
            looking = pool.submit(other._contents)  # noqa: SLF001  # of the same class
            there = looking.result()
            return Comparison(self._contents(), there, split_path(path), top_hash=other.top_hash)

    def verify(
        self, *, deep: bool = False, repair: str | os.PathLike[str] | None = None, progress: Progress = SILENT
    ) -> VersionCheck:
        """Check that the version is in its bucket as it was published: every node is read, every object looked at.

        `deep`: every byte is read from the store and hashed, too. `repair` is a directory whose files, found by their
        hashes, make damaged or missing data anew.

        NotFoundError: there is no such version. IntegrityError: its commit or manifest cannot be read, so that there is
        no tree to look at. UsageError: it is only a directory of a version.

        >>> import penstock
        >>> check = penstock.Package("demo/photos").verify(deep=True)
        >>> check.sound, check.bytes_read
        (True, 11)
        """
        from penstock.repo.verify.verification import verify

        from .upkeep import version_check

        place = os.fspath(repair) if repair is not None else None
        report = verify(self._exactly(), self.settings, progress, deep=deep, repair=place)
        return version_check(self.name, report, deep=deep)

    def warm(
        self,
        paths: Sequence[str] = (),
        *,
        trace: str | os.PathLike[str] | None = None,
        progress: Progress = SILENT,
    ) -> WarmReport:
        """Fetch what lies at some paths and below them, by default all, into the cache before it is read.

        What is there is not fetched again, and nothing is evicted for it: when the cache is full, it ends and keeps
        what it has. `trace`: a file that a mount has recorded; what it lists is fetched, in that order. What was warmed
        can be mounted and read while the store cannot be reached. What goes wrong on the way is in the report.

        NotFoundError: there is no such version, or path in it. AccessError: the cache does not work, or the store
        refuses the version. StoreUnreachableError: it cannot be looked up. UsageError: both `paths` and a `trace`.

        >>> import penstock
        >>> penstock.Package("demo/photos").warm(["2024"]).bytes
        6
        """
        from penstock.repo.warm.trace import Trace
        from penstock.repo.warm.warm import warm

        from .upkeep import warm_report

        if trace is not None and paths:
            raise UsageError("paths and a trace exclude each other", fix="Leave one out.")
        listed = Trace(os.fspath(trace)) if trace is not None else None
        return warm_report(self.name, warm(self._exactly(), paths, self.settings, progress, trace=listed))

    def cache(self, key: str = "", *, progress: Progress = SILENT) -> WarmReport:
        """Fetch what lies at a key and below it into the cache, so that reading it asks no store: `warm` of one path.

        >>> import penstock
        >>> penstock.Package("demo/photos").cache("2024/cat.jpg").files
        1
        """
        return self.warm([key], progress=progress)

    def clear_cache(self) -> int:
        """Empty the block cache, which all packages and mounts of the user share, and return the bytes it had.

        Whatever was in it is fetched again when it is read: that costs time, never data.
        """
        return clear_cache(self.settings)

    def _exactly(self) -> Handle:
        """Return a handle that names this version, whatever its ref leads to by now."""
        pin = self._meant.pin
        if pin is None:
            return self.handle
        return replace(self.handle, ref=(pin.version.commit or pin.version.top_hash).hex())

    def _contents(self) -> Contents:
        from penstock.repo.history.comparison import Contents

        snapshot = self._snapshot
        return Contents(snapshot.root, snapshot.session.load, snapshot.session.load_many)

    def _commit(self) -> tuple[bytes, Commit]:
        from penstock.repo.history.log import find_published

        repository = self._snapshot.repository
        commit_id = self._snapshot.commit_id or find_published(repository, self.top_hash).known_commit
        return commit_id, repository.commit(commit_id)

    @property
    def _snapshot(self) -> Snapshot:
        return self._opened.get()

    @property
    def _pin(self) -> Pin:
        """Which version it is, looked up now if it was not yet."""
        return self._meant.pin or self._snapshot.pin

    def _within(self, key: str) -> str:
        """Return how a path in it is told: as a handle, where that can be said."""
        if not key:
            return self.name
        whole = handle_text(self.handle)
        return f"{whole}/{'/'.join(filter(None, (self.handle.subdir, key)))}"

    @classmethod
    def _at(cls, handle: Handle, settings: Settings, version: VersionId, manifest: Manifest) -> Package:
        """Return the package of a version that was just made."""
        return _unpickled(handle, settings, Pin(version, manifest, None, manifest.root, manifest.metadata))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it as a handle of the version that it is, which is looked up now if it was not yet."""
        return _unpickled, (self.handle, self.settings, self._pin)

    def __repr__(self) -> str:
        if not self._opened.is_open:  # to be shown must not wait for a store
            return f"Package({self.name!r})"
        return text_table("Package", self._facts(), self._shown())

    def _repr_html_(self) -> str:
        snapshot = self._snapshot
        size = f"{snapshot.root.entries:,} entries, {format_size(snapshot.root.size)}"
        return html_table(f"Package {self.name}", [*self._facts(), ("content", size)], self._shown())

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("name", self.name), ("top hash", self.top_hash)]
        return facts if self.commit is None else [*facts, ("commit", self.commit)]

    def _shown(self) -> Iterator[Entry]:
        try:
            yield from self.ls()
        except PenstockError:  # what cannot be loaded now is not shown
            return


def _unpickled(handle: Handle, settings: Settings, pin: Pin) -> Package:
    package = Package.__new__(Package)
    package._begin(handle, settings, _Meant(pin))  # noqa: SLF001  # the other half of __reduce__
    return package


def open_package(name: str | Handle, settings: Settings | None = None) -> Package:
    """Open the version that a handle ``bucket/dataset[:ref][/subdir]`` names: a `Package`, looked up at once.

    UsageError: the handle is not valid. NotFoundError: it names nothing; what is near is named. AccessError,
    StoreUnreachableError: the store refuses, or does not answer.

    >>> import penstock
    >>> with penstock.open("demo/photos:v1") as package:
    ...     package.read("2024/cat.jpg")
    b'cat'
    """
    package = Package(name, settings)
    package._snapshot  # noqa: B018, SLF001  # errors come up here, not at the first read
    return package
