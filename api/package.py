"""One version of a dataset, read: what is in it, without mounting it. Only what is asked for is fetched.

Reads go through the block cache that mounts use too, and every byte is verified.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from penstock.errors import AccessError, UsageError
from penstock.manifest import entry as tree
from penstock.manifest.entry import split_path
from penstock.manifest.records import Commit
from penstock.progress import SILENT, Progress
from penstock.repo.history.comparison import Contents
from penstock.repo.history.log import find_published
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.verify.verification import verify
from penstock.repo.warm.trace import Trace
from penstock.repo.warm.warm import warm

from .comparison import Comparison, of_directory
from .entry import Entry, EntryKind, PhysicalKey, kind_name
from .handles import Handle, as_handle, dataset_alone, handle_text
from .per_process import PerProcess
from .settings import Settings
from .upkeep import VersionCheck, WarmReport, version_check, warm_report
from .versions import Revision, revision_of

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
    """Which version a package is, once that was looked up: it stays that one whatever its ref leads to later."""

    def __init__(self, pin: Pin | None) -> None:
        self.pin = pin


def _open(handle: Handle, settings: Settings, meant: _Meant) -> Snapshot:
    snapshot = open_snapshot(str(handle), settings, pin=meant.pin)
    if meant.pin is None:
        meant.pin = snapshot.pin
    return snapshot


class Package:
    """A version, named ``bucket/dataset[:ref][/subdir]``: immutable, and a handle.

    The version is looked up when a method first needs it; from then on it is that one, also in copies that were
    pickled and in processes that were forked. What is open is closed by `close`, at the end of a ``with``, or at the
    process's end. With a subdir, paths are within that directory. `settings` are the user's by default.

    UsageError: the handle is not valid. NotFoundError: it names a bucket; from the methods: it names nothing, and what
    is near is named.

    >>> import penstock
    >>> package = penstock.Package("demo/photos:v1")
    >>> [entry.key for entry in package.ls(recursive=True)]
    ['2024', '2024/cat.jpg', 'labels.csv']
    >>> package.read("labels.csv")
    b'cat,1'
    """

    __slots__ = ("_meant", "_opened", "handle", "settings")

    def __init__(self, name: str | Handle, settings: Settings | None = None) -> None:
        handle = as_handle(name)
        dataset_alone(handle)
        self._begin(handle, settings or Settings.load(), None)

    def _begin(self, handle: Handle, settings: Settings, pin: Pin | None) -> None:
        self.handle = handle
        self.settings = settings
        self._meant = _Meant(pin)
        self._opened = PerProcess(partial(_open, handle, settings, self._meant))

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

    def entry(self, path: str) -> Entry:
        """Return the entry at a path; the empty path is the root. NotFoundError names what is near."""
        return Entry(self, split_path(path), self._snapshot.find(path))

    def ls(
        self, path: str = "", *, recursive: bool = False, limit: int | None = None, after: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of a directory in byte order of their names, or, `recursive`, all below it in tree order.

        At most `limit` of them, from behind the name `after` of that directory on. A path of a file yields that. What
        is not asked for is not fetched: of ten million entries, a page costs what a page is.

        UsageError: `after` together with `recursive`.

        >>> import penstock
        >>> [entry.name for entry in penstock.Package("demo/photos").ls(limit=2)]
        ['2024', 'labels.csv']
        """
        return islice(self._ls(path, recursive, after), limit)

    def _ls(self, path: str, recursive: bool, after: str | None) -> Iterator[Entry]:
        snapshot = self._snapshot
        names = split_path(path)
        entry = snapshot.find(path)
        if entry.directory is None:
            yield Entry(self, names, entry)
            return
        if recursive:
            if after is not None:
                raise UsageError(
                    "--after with --recursive", why="it names an entry of one directory", fix="Leave one out."
                )
            for more, below in snapshot.tree.walk(entry.directory):
                yield Entry(self, names + more, below)
            return
        behind = split_path(after)[-1:] if after is not None else ()
        for _, below in snapshot.tree.children(entry.directory, after=behind[0] if behind else None):
            yield Entry(self, (*names, below.name), below)

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Yield the bytes of a file in pieces of at most 1 MiB, each verified. UsageError: it is no file."""
        return self.entry(path).blocks()

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, all in memory. UsageError: it is no file."""
        return self.entry(path).read()

    def physical_keys(self, path: str) -> list[PhysicalKey]:
        """Say where the bytes of a file lie, in their order."""
        return self.entry(path).physical_keys

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
        return revision_of(*self._commit())

    def changes(self) -> Comparison:
        """Compare the version with its first parent: what it changed.

        >>> import penstock
        >>> penstock.Package("demo/photos").changes().counts().added
        1
        """
        snapshot = self._snapshot
        repository, session = snapshot.repository, snapshot.session
        commit = self._commit()[1]
        root = None
        if commit.parents:
            parent = repository.commit(bytes.fromhex(commit.parents[0]))
            root = repository.manifest(bytes.fromhex(parent.top_hash)).root
        before = Contents(root, session.load, session.load_many)
        return Comparison(before, replace(before, root=snapshot.manifest.root))

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
        """
        if not isinstance(other, Package):
            return of_directory(self._contents(), os.fspath(other), split_path(path), progress)
        with ThreadPoolExecutor(1, "penstock-diff") as pool:  # each is six requests, one after the other
            looking = pool.submit(other._contents)  # noqa: SLF001  # of the same class
            return Comparison(self._contents(), looking.result(), split_path(path))

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
        if trace is not None and paths:
            raise UsageError("paths and a trace exclude each other", fix="Leave one out.")
        listed = Trace(os.fspath(trace)) if trace is not None else None
        return warm_report(self.name, warm(self._exactly(), paths, self.settings, progress, trace=listed))

    def _exactly(self) -> Handle:
        """Return a handle that names this version, whatever its ref leads to by now."""
        pin = self._meant.pin
        if pin is None:
            return self.handle
        return replace(self.handle, ref=(pin.version.commit or pin.version.top_hash).hex())

    def _contents(self) -> Contents:
        snapshot = self._snapshot
        return Contents(snapshot.root, snapshot.session.load, snapshot.session.load_many)

    def _commit(self) -> tuple[bytes, Commit]:
        repository = self._snapshot.repository
        commit_id = self._snapshot.commit_id or find_published(repository, self.top_hash).commit
        return commit_id, repository.commit(commit_id)

    def _entry_blocks(self, entry: tree.Entry, key: str) -> Iterator[memoryview]:
        """Yield the bytes of one of its entries; for `Entry`, which knows its own."""
        if not entry.is_file:
            raise UsageError(
                f"{self._within(key)} is a {kind_name(entry)}", fix="Name a file; `penstock ls` shows what there is."
            )
        return self._snapshot.read(entry)

    def _entry_places(self, entry: tree.Entry) -> list[PhysicalKey]:
        """Say where the bytes of one of its entries lie; for `Entry`, which knows its own."""
        return [PhysicalKey(**place) for place in self._snapshot.physical(entry)]  # type: ignore[arg-type]  # by name

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
        return f"Package({self.name!r})"


def _unpickled(handle: Handle, settings: Settings, pin: Pin) -> Package:
    package = Package.__new__(Package)
    package._begin(handle, settings, pin)  # noqa: SLF001  # the other half of __reduce__
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
