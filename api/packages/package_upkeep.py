"""A version checked in its bucket, and fetched into the cache. One part of `Package`."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.api.handles import Handle
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.progress import SILENT, Progress

from .package_entries import PackageEntries

if TYPE_CHECKING:
    from penstock.api.storage.upkeep import VersionCheck, WarmReport

__all__ = ["PackageUpkeep"]


class PackageUpkeep(PackageEntries):
    """What keeps a `Package` whole, and near."""

    __slots__ = ()

    settings: Settings

    @abstractmethod
    def _exactly(self) -> Handle:
        """Return a handle that names this version, whatever its ref leads to by now."""

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
        from penstock.api.storage.upkeep import version_check
        from penstock.repo.verify.verification import verify

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
        from penstock.api.storage.upkeep import warm_report
        from penstock.repo.warm.trace import Trace
        from penstock.repo.warm.warm import warm

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
        from penstock.api.storage.block_cache import clear_cache

        return clear_cache(self.settings)
