"""Copies of a version in directories of this machine: downloaded, held against it, brought up to date.

What is in a directory already is hashed and not fetched again, so that a second download moves nothing and one changed
file moves one file. What the directory's ``.penstockignore`` files leave out of a push is left alone, and not told of.
Nothing is written or removed through symbolic links in it, and no name ever shows a file that is not whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from penstock.errors import AccessError, IntegrityError, UsageError
from penstock.manifest.entry import display_path
from penstock.progress import SILENT, Progress
from penstock.repo.local_copy.choice import EVERYTHING, REQUESTS, Choice, choose

from .package_entries import PackageEntries

if TYPE_CHECKING:
    # Most of what a `Package` is asked writes no files, and loads none of it.
    from penstock.repo.local_copy.copy_task import CopyReport, CopyStep
    from penstock.repo.local_copy.copy_verification import LocalDifference

__all__ = ["REQUESTS", "CopyChange", "DirectoryCheck", "DirectoryDifference", "DownloadReport", "LocalCopies"]

_KEPT = 10_000
"""Paths that a report holds; it counts all."""
_TOLD = {
    "missing": "exists in the manifest {name}, but does not exist locally",
    "extra": "exists locally, but does not exist in the manifest {name}",
    "modified": "exists locally, but contents do not match the manifest {name}",
    "uncompared": "exists locally, but cannot be compared with the manifest {name}: it is pinned by its identity, and "
    "was never read here",
}


@dataclass(frozen=True, slots=True)
class CopyChange:
    """What happened to a path: it was not there, it is another file now, only its mode is another, it is gone."""

    path: str
    change: Literal["fetched", "replaced", "mode", "removed"]


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download or sync did to `directory`, or, after a dry run, would do.

    Of `files` (symlinks among them) with `bytes` in all, `fetched` were not there, `replaced` were others, and `modes`
    were only executable or not where the version says otherwise; `removed` names are gone, directories counting as one.
    The files that were written have `bytes_written`; the store sent `bytes_fetched` in `gets` requests, for what was
    neither there nor in the block cache. `changes` are the first 10,000 of them.
    """

    name: str
    directory: str
    top_hash: str
    dry_run: bool
    files: int
    bytes: int
    fetched: int
    replaced: int
    modes: int
    removed: int
    bytes_written: int
    bytes_fetched: int
    gets: int
    changes: tuple[CopyChange, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.fetched or self.replaced or self.modes or self.removed)


@dataclass(frozen=True, slots=True)
class DirectoryDifference:
    """A path of which a directory is not what the version is.

    ``missing`` here, ``extra`` here, or ``modified``: another content, kind or executable bit. ``uncompared``: a file
    of the same size, of which the version knows no content: it is pinned by its identity, and was never read here.
    """

    path: str
    state: Literal["missing", "extra", "modified", "uncompared"]


@dataclass(frozen=True, slots=True, repr=False)
class DirectoryCheck:
    """Whether a directory is what a version says: true if it is. Shown, it names what differs, and the fix.

    `differences` are the first 10,000. A directory that is missing or extra is one path, with all that is below it.
    """

    name: str
    directory: str
    missing: int
    extra: int
    modified: int
    uncompared: int
    differences: tuple[DirectoryDifference, ...]

    def __bool__(self) -> bool:
        return not (self.missing or self.extra or self.modified or self.uncompared)

    def __repr__(self) -> str:
        if self:
            return "True"
        lines = ["False"]
        for each in self.differences:
            path = os.path.join(self.directory, each.path)
            lines.append(f"{path if path.isprintable() else ascii(path)} {_TOLD[each.state].format(name=self.name)}")
        left = self.missing + self.extra + self.modified + self.uncompared - len(self.differences)
        lines += [f"and {left} more"] if left else []
        fix = f"This can be fixed by calling pkg.force_directory_to_match_manifest({self.directory!r})"
        return "\n".join([*lines, fix])


class LocalCopies(PackageEntries):
    """What a `Package` does with directories."""

    __slots__ = ()

    def download(
        self,
        directory: str | os.PathLike[str],
        *,
        paths: Sequence[str] = (),
        include: Sequence[str] = (),
        jobs: int = REQUESTS,
        progress: Progress = SILENT,
    ) -> DownloadReport:
        """Write the version's files into a directory, which is made if it is not there.

        Files with the right content are left; others are replaced, whatever they were. What the version does not have
        stays: `sync` removes it. `paths` are those to take, with all below them; `include` are patterns as in ignore
        files, such as ``*.jpg``, one of which has to fit. At most `jobs` requests are on their way at once. Cut off,
        it goes on where it was when it is called again.

        NotFoundError: the version has no such path. ConflictError: a directory is where a file belongs, or the other
        way round. AccessError: the disk is full or may not be written; or the store refuses some files. IntegrityError:
        it does not have some as they were. Those are named, and all others are there then.

        >>> import penstock
        >>> package = penstock.open("demo/photos:v1")
        >>> package.download("copy").fetched
        2
        >>> bool(package.download("copy"))
        False
        """
        return self._copied(directory, choose(paths, include), paths, jobs=jobs, progress=progress)

    def sync(
        self,
        directory: str | os.PathLike[str],
        *,
        delete: bool = False,
        dry_run: bool = False,
        jobs: int = REQUESTS,
        progress: Progress = SILENT,
        tell: Callable[[CopyChange], None] | None = None,
    ) -> DownloadReport:
        """Have a directory hold what the version holds: as `download`, and with `delete` nothing else.

        With `delete`, what the version does not have is removed, and what is in the way of it. With `dry_run` nothing
        is changed. `tell` is called with each change as it is made. Errors as `download`; UsageError: to delete is
        refused in a home directory or the root of the file system.

        >>> import penstock
        >>> old, new = penstock.Package("demo/photos:v1"), penstock.Package("demo/photos")
        >>> new.download("copy").fetched
        3
        >>> old.sync("copy", delete=True).changes
        (CopyChange(path='2024/dog.jpg', change='removed'),)
        """
        place = os.fspath(directory)
        if delete and os.path.realpath(place) in {"/", os.path.realpath(os.path.expanduser("~"))}:
            raise UsageError(
                f"{place!r} is not cleared", why="all that you have may be in there", fix="Name a directory of its own."
            )
        return self._copied(
            place, EVERYTHING, (), jobs=jobs, progress=progress, delete=delete, dry_run=dry_run, tell=tell
        )

    def verify_directory(self, directory: str | os.PathLike[str], *, progress: Progress = SILENT) -> DirectoryCheck:
        """Hold a directory against the version: every file is read and hashed. True if it is the same.

        Metadata and times make no difference. NotFoundError: there is no such directory.

        >>> import penstock
        >>> penstock.Package("demo/photos:v1").verify_directory("photos")
        False
        photos/2024/dog.jpg exists locally, but does not exist in the manifest demo/photos:v1
        This can be fixed by calling pkg.force_directory_to_match_manifest('photos')
        >>> penstock.Package("demo/photos").verify_directory("photos")
        True
        """
        counts = {"missing": 0, "extra": 0, "modified": 0, "uncompared": 0}
        kept: list[DirectoryDifference] = []
        for each in self.directory_differences(directory, progress=progress):
            counts[each.state] += 1
            if len(kept) < _KEPT:
                kept.append(each)
        return DirectoryCheck(self.name, os.fspath(directory), **counts, differences=tuple(kept))

    def directory_differences(
        self, directory: str | os.PathLike[str], *, progress: Progress = SILENT
    ) -> Iterator[DirectoryDifference]:
        """Yield what `verify_directory` finds, in tree order, as it is found."""
        from penstock.repo.local_copy.copy_verification import differences
        from penstock.repo.local_copy.local_directory import LocalDirectory

        with closing(LocalDirectory(os.fspath(directory))) as local:
            stage = progress.stage("comparing", total=self._snapshot.root.size)
            for each in differences(self._snapshot, local, stage):
                yield _as_difference(each)

    def _copied(
        self,
        directory: str | os.PathLike[str],
        choice: Choice,
        paths: Sequence[str],
        *,
        jobs: int,
        progress: Progress,
        delete: bool = False,
        dry_run: bool = False,
        tell: Callable[[CopyChange], None] | None = None,
    ) -> DownloadReport:
        from penstock.repo.local_copy.copy_task import CopyTask
        from penstock.repo.local_copy.local_directory import LocalDirectory

        if jobs < 1:
            raise UsageError(f"{jobs} jobs", why="one is the least", fix="Ask for 1 or more.")
        snapshot, place = self._snapshot, os.fspath(directory)
        wanted = [snapshot.find(path) for path in paths] or [snapshot.find("")]
        kept: list[CopyChange] = []

        def note(change: CopyStep) -> None:
            value = CopyChange(change.path, change.what)
            if len(kept) < _KEPT:
                kept.append(value)
            if tell is not None:
                tell(value)

        total = sum(entry.size for entry in wanted) if not choice.globs else None
        with closing(LocalDirectory(place, make=not dry_run)) as local:
            stage = progress.stage("comparing" if dry_run else "downloading", total=total)
            task = CopyTask(snapshot, local, choice, stage, requests=jobs, delete=delete, dry_run=dry_run, tell=note)
            report = task.run()
        if report.lost:
            raise _incomplete(self.name, report)
        return _as_report(self.name, place, snapshot.top_hash, report, dry_run, kept)


def _incomplete(name: str, report: CopyReport) -> IntegrityError | AccessError:
    files = "a file" if report.lost == 1 else f"{report.lost} files"
    what = f"{files} of {name} could not be downloaded; all others were"
    why = "; ".join(report.reasons[:5]) + ("; and more" if report.lost > 5 else "")
    if report.damaged:
        repair = "`penstock verify --deep --repair DIR` puts damaged data back from local files."
        return IntegrityError(what, why=why, fix=repair)
    return AccessError(what, why=why, fix="`penstock doctor` says what may be read.")


def _as_report(
    name: str, directory: str, top_hash: bytes, report: CopyReport, dry_run: bool, changes: Sequence[CopyChange]
) -> DownloadReport:
    return DownloadReport(
        name,
        directory,
        top_hash.hex(),
        dry_run,
        report.files,
        report.bytes,
        report.fetched,
        report.replaced,
        report.modes,
        report.removed,
        report.bytes_written,
        report.bytes_fetched,
        report.gets,
        tuple(changes),
    )


def _as_difference(found: LocalDifference) -> DirectoryDifference:
    return DirectoryDifference(display_path(found.names), found.state)
