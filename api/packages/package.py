"""One version of a dataset, read: what is in it, without mounting it. Only what is asked for is fetched.

Reads go through the block cache that mounts use too, and every byte is verified. What only some methods need is
imported by those: to list a directory is to load no code that compares, checks or pushes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from penstock.api.handles import Handle, as_handle, dataset_alone, format_size, handle_text
from penstock.api.per_process import PerProcess
from penstock.api.settings import Settings
from penstock.errors import PenstockError, UsageError
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot

from .document_names import DocumentNames
from .entry import Entry
from .listing import html_table, text_table
from .meant_version import MeantVersion, open_meant
from .package_export import PackageExport
from .package_history import PackageHistory
from .package_lineage import PackageLineage
from .package_questions import PackageQuestions
from .package_similarity import PackageSimilarity
from .package_subsets import PackageSubsets
from .package_upkeep import PackageUpkeep

if TYPE_CHECKING:
    from penstock import PackageBuilder
    from penstock.manifest.records import Manifest
    from penstock.repo.refs.repository import VersionId

    from .shard import Shard

__all__ = ["Package", "open_package", "pinned_package"]

_OF_BUILDERS = frozenset(("add", "delete", "move", "move_dir_contents", "set", "set_meta")) | {
    "build_manifest",
    "push",
    "push_data",
    "push_data_and_manifest",
    "push_manifest",
}


class Package(
    DocumentNames,
    PackageHistory,
    PackageLineage,
    PackageQuestions,
    PackageSimilarity,
    PackageSubsets,
    PackageExport,
    PackageUpkeep,
):
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
    _meant: MeantVersion
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
        self._begin(handle, settings or Settings.load(), MeantVersion(None, tag, hash))

    def _begin(self, handle: Handle, settings: Settings, meant: MeantVersion) -> None:
        for name, value in (
            ("handle", handle),
            ("settings", settings),
            ("_meant", meant),
            ("_opened", PerProcess(partial(open_meant, handle, settings, meant))),
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

    def shards(self, count: int) -> list[Shard]:
        """Divide the files among `count` workers, by bytes, so that no two fetch from one pack; in tree order.

        There are fewer shards where there are fewer packs, none of nothing. A shard is pickled in a few bytes, and read
        by whoever has it. The same version is divided alike every time.

        >>> import penstock
        >>> for shard in penstock.Package("demo/photos").shards(4):  # it was pushed twice: it has two packs
        ...     print([(entry.key, data) for entry, data in shard.read()])
        [('2024/cat.jpg', b'cat'), ('labels.csv', b'cat,1')]
        [('2024/dog.jpg', b'dog')]
        """
        from penstock.repo.read.shard_files import numbered_files, shard_files
        from penstock.repo.read.shard_plan import plan_shards, total_weight

        from .shard import Shard

        if count < 1:
            raise UsageError(f"{count} shards", fix="Ask for one, or more.")
        snapshot = self._snapshot
        weight = total_weight(snapshot.root.entries, snapshot.root.size)
        planned = plan_shards(shard_files(numbered_files(snapshot)), count, weight)
        return [
            Shard(self, number, len(planned), each.files, each.bytes, each.runs)
            for number, each in enumerate(planned, 1)
        ]

    def close(self) -> None:
        """Close what is open. Whoever uses the package again opens the same version again."""
        self._opened.close()

    def _exactly(self) -> Handle:
        """Return a handle that names this version, whatever its ref leads to by now."""
        pin = self._meant.pin
        if pin is None:
            return self.handle
        return replace(self.handle, ref=(pin.version.commit or pin.version.top_hash).hex())

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
        return pinned_package(handle, settings, Pin(version, manifest, None, manifest.root, manifest.metadata))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it as a handle of the version that it is, which is looked up now if it was not yet."""
        return pinned_package, (self.handle, self.settings, self._pin)

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


def pinned_package(handle: Handle, settings: Settings, pin: Pin) -> Package:
    """Return the package that a handle was found to name once; nothing is asked for that."""
    package = Package.__new__(Package)
    package._begin(handle, settings, MeantVersion(pin))  # noqa: SLF001  # the other half of __reduce__
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
