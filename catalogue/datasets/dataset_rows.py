"""The data rows of one dataset: looked up, listed, made of files that are there, changed, and taken out.

Rows are of the branch ``main``. What changes them makes one version, with who and why; what others changed meanwhile is
merged, as always. Blocking, any thread.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import msgspec

from penstock.api.builder.builder import PackageBuilder
from penstock.api.handles import DEFAULT_BRANCH, Handle
from penstock.api.packages.entry import Entry
from penstock.api.packages.package import Package
from penstock.catalogue.orm.dataset import DataRow, DataType, RowPage
from penstock.catalogue.rows.probe import Prober
from penstock.catalogue.rows.probe_messages import Facts, Unknown
from penstock.catalogue.rows.row_index import IndexedRow, RowFilter, RowIndex
from penstock.catalogue.rows.row_metadata import ROW, StoredRow, new_row, stored_row
from penstock.errors import ConflictError, IntegrityError, NotFoundError, PenstockError, UnreadableError, UsageError
from penstock.progress import SILENT, Progress

from .bucket_catalogue import BucketCatalogue
from .dataset_filter import read_cursor, write_cursor
from .given_files import GivenFile, clean_name, fetcher, free_key, group_title, look_into, probed_file, top_paths

__all__ = ["DatasetRows", "ReportedRows", "built_row"]


class ReportedRows(msgspec.Struct, frozen=True):
    """What came of `index`: files that became rows, and those that are none, with why, as far as they are few."""

    added: int
    unknown: dict[str, str]
    top_hash: str


class DatasetRows:
    """The rows of dataset `name` in a bucket. `author` is who changes them."""

    def __init__(self, catalogue: BucketCatalogue, name: str, author: str = "") -> None:
        self._catalogue = catalogue
        self._handle = Handle(catalogue.bucket, name, DEFAULT_BRANCH)
        self._author = author or None
        folder = os.path.join(catalogue.settings.cache_directory, "rows")
        self._index = RowIndex(os.path.join(folder, f"{catalogue.hash_of(name)}.sqlite"), catalogue.storage)

    # Looking

    def _current(self) -> RowIndex:
        """Return the index, with the rows that the branch has now."""
        dataset, before = self._handle.dataset or "", self._index.top_hash()
        if before is not None:  # mostly nothing has changed: that is known without opening the version
            with suppress(NotFoundError):  # it is told in more words when the version is opened
                if self._catalogue.version(dataset, DEFAULT_BRANCH).top_hash.hex() == before:
                    return self._index
        with self.package() as package:
            now = package.top_hash
            if before == now or (before is not None and self._follow(before, package)):
                return self._index
            self._index.replace(None, now, (), _rows(package))
        return self._index

    def _follow(self, before: str, package: Package) -> bool:
        """Change the index by what differs from the version whose rows it has; False: that cannot be compared."""
        handle = Handle(self._handle.bucket, self._handle.dataset, before)
        gone: list[str] = []
        changed: list[str] = []
        try:
            with Package(handle, self._catalogue.settings) as old, old.diff(package) as differences:
                for each in differences.changes():
                    gone.append(each.old_path or each.path)
                    changed.append(each.path)
        except (NotFoundError, PenstockError):  # it may be gone by now
            return False
        # A group's row is its directory's, which is not always told of when only what is in it has changed.
        above = {str(parent) for path in changed for parent in PurePosixPath(path).parents} - {"."}
        entries = (package.find(path) for path in {*changed, *above})
        rows = [row for entry in entries if entry is not None and (row := _row(entry)) is not None]
        return self._index.replace(before, package.top_hash, {*gone, *changed}, rows)

    def is_indexed(self) -> bool:
        """Whether rows were looked up before, so that only what changed since has to be."""
        return self._index.top_hash() is not None

    def page(
        self, wanted: RowFilter | None = None, *, sort: str = "path", limit: int = 100, cursor: str | None = None
    ) -> RowPage:
        """Return a page of the rows that fit. UsageError: there is no such order, or the cursor is of no list."""
        after = read_cursor(cursor, 2) if cursor is not None else None
        place = (after[0], after[1]) if after is not None else None
        rows, total, end = self._current().page(wanted or RowFilter(), sort, limit, place)
        return RowPage(tuple(rows), write_cursor(end) if end is not None else None, total)

    def all(self, wanted: RowFilter | None = None) -> Iterator[DataRow]:
        """Yield all rows that fit, by path."""
        cursor = None
        while True:
            page = self.page(wanted, limit=1000, cursor=cursor)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return

    def find(self, uid: str) -> DataRow:
        """Return a row by its name. NotFoundError: there is none."""
        return self._current().require(uid)

    def find_many(self, uids: Sequence[str]) -> dict[str, DataRow]:
        """Return rows by their names; without those that there are not."""
        return self._current().find(uids)

    def find_sources(self, sources: Sequence[str]) -> dict[str, str]:
        """Return the names of rows by the addresses where they were registered; without those that there are not."""
        return self._current().find_sources(sources)

    def package(self) -> Package:
        """Return the version that the branch has now. It is the caller's to close."""
        return Package(self._handle, self._catalogue.settings)

    # Changing

    def update(
        self, uid: str, *, title: str | None = None, client_metadata: Mapping[str, Any] | None = None
    ) -> DataRow:
        """Change a row's title or metadata, in a new version. NotFoundError: there is no such row."""
        row = self.find(uid)
        with self.package() as package:
            stored = stored_row(package.get_metadata(row.path))
        if stored is None or stored.uid != uid:
            raise NotFoundError(f"no data row {uid!r}", why="it has changed meanwhile")
        if title is not None:
            stored = msgspec.structs.replace(stored, title=title)
        if client_metadata is not None:
            stored = msgspec.structs.replace(stored, client_metadata=dict(client_metadata))
        self._catalogue.dataset(self._handle.dataset or "").set_meta(
            row.path, {ROW: built_row(stored)}, update=True, message=f"Edit {stored.title}", author=self._author
        )
        return self.find(uid)

    def delete(self, uids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Take rows out, in one version; return their names, and those that the dataset does not have.

        Their bytes stay as long as a version has them; what lies elsewhere is never deleted.
        """
        index = self._current()
        found = index.find(dict.fromkeys(uids))
        foreign = [uid for uid in dict.fromkeys(uids) if uid not in found]
        if found:
            builder = self.new_version()
            for path in top_paths(row.path for row in found.values()):
                if path in builder:
                    builder.delete(path)
            count = f"{len(found)} data row{'s' if len(found) > 1 else ''}"
            self.push(builder, f"Delete {count}")
        return list(found), foreign

    def add_file(
        self,
        given: GivenFile,
        *kinds: DataType,
        folder: str = "",
        uid: str = "",
        derived_from: str | None = None,
        frames: int | None = None,
        progress: Progress = SILENT,
    ) -> DataRow:
        """Add one file as a row, in one version. UnreadableError: it is nothing of these kinds.

        With `frames` those of a video are counted. IntegrityError: there are others.
        """
        with Prober() as prober:
            facts = probed_file(prober, given.path, set(kinds), exact=frames is not None)
        if frames is not None and facts.frames != frames:
            raise IntegrityError(f"{given.named!r} has {facts.frames} frames", why=f"{frames} were written")
        builder = self.new_version()
        key = free_key(builder, folder, given.named)
        more = {"client_metadata": given.client_metadata, "derived_from": derived_from}
        stored = new_row(facts, given.title or given.named, dt.datetime.now(dt.UTC), uid=uid, **more)
        builder.set(key, given.path, {ROW: built_row(stored)})
        self.push(builder, f"Add {stored.title}", progress)
        return self.find(stored.uid)

    def add_folder(
        self,
        files: Sequence[GivenFile],
        *,
        folder: str = "",
        named: Callable[[int], str] = lambda _: "",
        progress: Progress = SILENT,
    ) -> list[DataRow]:
        """Add files at their keys, in one version; return the rows of those that are images, videos or DICOM.

        ConflictError: something is there already.
        """
        above = f"{folder.strip('/')}/" if folder.strip("/") else ""
        builder, uids, now = self.new_version(), [], dt.datetime.now(dt.UTC)
        taken = [key for given in files if (key := f"{above}{given.key}") in builder]
        if taken:
            shown = ", ".join(taken[:5]) + (", ..." if len(taken) > 5 else "")
            raise ConflictError(
                f"{len(taken)} of {len(files)} files are there already", why=shown, fix="Add elsewhere."
            )
        looking = progress.stage("looking", total=len(files), unit="items")
        with Prober() as prober:
            for number, given in enumerate(files):
                found = look_into(prober, given.path)
                meta = None
                if isinstance(found, Facts):
                    stored = new_row(found, given.title or given.named, now, uid=named(number))
                    meta = {ROW: built_row(stored)}
                    uids.append(stored.uid)
                builder.set(f"{above}{given.key}", given.path, meta)
                looking.advance(1)
        self.push(builder, f"Add {len(files)} file{'s' if len(files) > 1 else ''}", progress)
        rows = self._current().find(uids)
        return [rows[uid] for uid in uids]

    def add_image_groups(
        self,
        files: Sequence[GivenFile],
        *,
        title: str = "",
        folder: str = "",
        named: Callable[[int], str] = lambda _: "",
        progress: Progress = SILENT,
    ) -> list[DataRow]:
        """Add images as ordered groups, one for each resolution, in one version.

        UnreadableError names each file that is no image; nothing is added then. `named` gives the names of rows.
        """
        by_size: dict[tuple[int | None, int | None], list[tuple[GivenFile, Facts]]] = {}
        for given, facts in self._all_probed(files, {DataType.IMAGE}):
            by_size.setdefault((facts.width, facts.height), []).append((given, facts))
        groups = [
            (group_title(title, size, len(by_size)), members, DataType.IMG_GROUP) for size, members in by_size.items()
        ]
        return self._add_groups(groups, folder, named, progress)

    def add_dicom_series(
        self,
        files: Sequence[GivenFile],
        *,
        title: str = "",
        folder: str = "",
        named: Callable[[int], str] = lambda _: "",
        progress: Progress = SILENT,
    ) -> list[DataRow]:
        """Add DICOM files as one row for each series, in one version. Errors as `add_image_groups`."""
        by_series: dict[str, list[tuple[GivenFile, Facts]]] = {}
        for given, facts in self._all_probed(files, {DataType.DICOM}):
            by_series.setdefault(facts.series, []).append((given, facts))
        groups = [(title or series or "series", members, DataType.DICOM) for series, members in by_series.items()]
        return self._add_groups(groups, folder, named, progress)

    def _add_groups(
        self,
        groups: list[tuple[str, list[tuple[GivenFile, Facts]], DataType]],
        folder: str,
        named: Callable[[int], str],
        progress: Progress,
    ) -> list[DataRow]:
        builder, uids, now = self.new_version(), [], dt.datetime.now(dt.UTC)
        for place, (title, members, kind) in enumerate(groups):
            group = free_key(builder, folder, title)
            names: list[str] = []
            for number, (given, facts) in enumerate(members):
                name = f"{number:06d}-{clean_name(given.named)}"
                builder.set(
                    f"{group}/{name}",
                    given.path,
                    {"image": {"data_sequence": number, "width": facts.width, "height": facts.height}},
                )
                names.append(name)
            first = members[0][1]
            whole = Facts(
                kind.value, first.width, first.height, frames=len(members), is_counted=True, codec=first.codec
            )
            stored = new_row(whole, title, now, uid=named(place), data_sequence=names)
            builder.set_meta(group, {ROW: built_row(stored)})
            uids.append(stored.uid)
        count = f"{len(groups)} group{'s' if len(groups) > 1 else ''}"
        self.push(builder, f"Add {count}", progress)
        found = self._current().find(uids)
        return [found[uid] for uid in uids]

    def _all_probed(self, files: Sequence[GivenFile], kinds: set[DataType]) -> list[tuple[GivenFile, Facts]]:
        if not files:
            raise UsageError("no file is named", fix="Name at least one.")
        found: list[tuple[GivenFile, Facts]] = []
        bad: list[str] = []
        with Prober() as prober:
            for given in files:
                try:
                    found.append((given, probed_file(prober, given.path, kinds)))
                except UnreadableError as error:
                    bad += error.candidates
        if bad:
            raise UnreadableError(f"{len(bad)} of {len(files)} files cannot be added", candidates=bad)
        return found

    def index(self, *, exact: bool = False, progress: Progress = SILENT) -> ReportedRows:
        """Make rows of all files that are images, videos or DICOM and are no rows yet, in one version.

        At most 2 MiB of each are fetched, unless `exact` has videos decoded, those too that are rows already.
        """
        stage = progress.stage("looking")
        metas: dict[str, dict[str, Any]] = {}
        unknown: dict[str, str] = {}
        added, now = 0, dt.datetime.now(dt.UTC)
        with self.package() as package, Prober() as prober:
            for entry in package:
                if not entry.is_file():
                    continue
                metadata = entry.metadata
                before = stored_row(metadata)
                is_old = before is not None and not (exact and before.type is DataType.VIDEO)
                if is_old or "image" in metadata:
                    continue
                facts = prober.probe(entry.size, fetcher(entry, exact), exact=exact)
                stage.advance(1)
                if isinstance(facts, Unknown):
                    if len(unknown) < 1000:
                        unknown[entry.key] = facts.why
                    continue
                row = new_row(facts, entry.name, now)
                if before is not None:
                    kept = ("uid", "title", "created", "client_metadata", "derived_from", "source")
                    row = msgspec.structs.replace(row, **{name: getattr(before, name) for name in kept})
                metas[entry.key] = {ROW: built_row(row)}
                added += 1
            top_hash = package.top_hash
        if metas:
            dataset = self._catalogue.dataset(self._handle.dataset or "")
            made = dataset.set_meta_many(metas, update=True, message=f"Index {added} files", author=self._author)
            top_hash = made.top_hash
        return ReportedRows(added, unknown, top_hash)

    def commit(
        self, files: Mapping[str, str], deleted: Sequence[str], message: str, progress: Progress = SILENT
    ) -> str:
        """Add files by their keys, as they are, and delete others, in one version; return its top hash."""
        with self.new_version() as builder:
            for key in deleted:
                if key in builder:
                    builder.delete(key)
            for key, path in files.items():
                builder.set(key, path)
            self.push(builder, message, progress)
            return builder.top_hash or ""

    def new_version(self) -> PackageBuilder:
        """Return the next version in the making, which holds what the branch has now."""
        return self.package().to_builder()

    def publish(self, builder: PackageBuilder, message: str, progress: Progress = SILENT) -> str:
        """Publish a version whose files all stay where they lie; return its top hash."""
        made = builder.push_manifest(
            message=message,
            author=self._author,
            allow_local_files=True,
            allow_missing_readme=True,
            allow_empty=True,
            progress=progress,
        )
        return made.top_hash

    def push(self, builder: PackageBuilder, message: str, progress: Progress = SILENT) -> None:
        """Publish a version, with the bytes of its files."""
        builder.push(
            message=message, author=self._author, allow_missing_readme=True, allow_empty=True, progress=progress
        )


def built_row(stored: StoredRow) -> dict[str, Any]:
    """Return a row as an entry's metadata keeps it."""
    built = msgspec.to_builtins(stored)
    assert isinstance(built, dict)
    return built


def _row(entry: Entry) -> IndexedRow | None:
    stored = stored_row(entry.metadata)
    return IndexedRow(entry.key, entry.size, entry.hash, stored) if stored is not None else None


def _rows(package: Package) -> Iterator[IndexedRow]:
    for entry in package:
        row = _row(entry)
        if row is not None:
            yield row
