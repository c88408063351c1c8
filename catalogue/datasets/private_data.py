"""Data registered where it lies, in the store of a remote: looked into, pinned by what its store says, not copied.

Of each object at most 2 MiB are read, so that nothing proves what it holds: a version or ETag that is another one later
is an error to whoever reads it. Some are looked at together. All that is good becomes one version.

**Invariant:** what is asked for lies in the store of the remote that was named, whatever an address says. Called again
with the same names of rows, nothing is registered a second time.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec

from penstock.api.builder.builder import PackageBuilder
from penstock.api.settings import Remote, Settings
from penstock.catalogue.orm.dataset import CloudIntegration, DataType, PrivateDataReport
from penstock.catalogue.rows.probe import Prober
from penstock.catalogue.rows.probe_messages import Facts, Unknown
from penstock.catalogue.rows.row_metadata import ROW, StoredRow, new_row
from penstock.errors import CancelledError, NotFoundError, PenstockError, UnreadableError, UsageError
from penstock.progress import SILENT, Progress, Stage
from penstock.store.base import ByteRange, Store

from .bucket_catalogue import named_hash
from .dataset_rows import DatasetRows, built_row
from .given_files import free_key
from .private_spec import PrivateItem, PrivateSpec, SourceAddress, locate

__all__ = ["add_private_data", "integrations"]

_TOGETHER = 8
_GROUPS = (DataType.IMG_GROUP, DataType.DICOM)


def integrations(settings: Settings) -> list[CloudIntegration]:
    """Return the remotes of the settings."""
    remotes = settings.remotes
    return [CloudIntegration(name, f"{name} ({remotes[name].url})") for name in sorted(remotes)]


class _Found(msgspec.Struct, frozen=True):
    """An item whose objects were looked into: they are what it says."""

    item: PrivateItem
    objects: tuple[tuple[SourceAddress, Facts], ...]


class _Looker:
    """Looks into objects of one store, some at a time, each thread with a process of its own."""

    def __init__(self, store: Store, looking: Stage, stack: ExitStack) -> None:
        self._store = store
        self._looking = looking
        self._own = threading.local()
        self._stack = stack
        self._lock = threading.Lock()

    def _prober(self) -> Prober:
        found: Prober | None = getattr(self._own, "prober", None)
        if found is None:
            found = self._own.prober = Prober()
            with self._lock:
                self._stack.enter_context(found)
        return found

    def look(self, item: PrivateItem, places: Sequence[SourceAddress]) -> _Found | str:
        """Return what an item is, or why it is not what it is said to be."""
        wanted = DataType.IMAGE if item.kind is DataType.IMG_GROUP else item.kind
        found = []
        for place in places:
            try:
                facts = self._facts(place.key)
            except CancelledError:
                raise
            except PenstockError as error:
                return _words(error)
            if isinstance(facts, Unknown) or DataType(facts.kind) is not wanted:
                why = facts.why if isinstance(facts, Unknown) else f"it is of the kind {facts.kind}"
                return f"{place.address} is no {wanted.value}: {why}"
            found.append((place, facts))
            self._looking.advance(1)
        return _Found(item, tuple(found))

    def _facts(self, key: str) -> Facts | Unknown:
        info = self._store.head(key)
        if info is None:
            raise NotFoundError(f"no object {key!r} in {self._store.url}", fix="Check the address.")

        def fetch(offset: int, length: int) -> bytes:
            return self._store.get(key, ByteRange(offset, length), etag=info.etag)

        return self._prober().probe(info.size, fetch)


def add_private_data(
    rows: DatasetRows,
    settings: Settings,
    integration: str,
    spec: PrivateSpec,
    *,
    ignore_errors: bool = False,
    named: Callable[[str], str] = lambda _: "",
    progress: Progress = SILENT,
) -> PrivateDataReport:
    """Register data in one version. `named` gives names of rows by the places of items; empty: new ones.

    UnreadableError names each item that cannot be registered, and why: nothing is registered then, but with
    `ignore_errors`, when the report names them. NotFoundError: there is no such remote.
    """
    if integration not in settings.remotes:
        known = ", ".join(sorted(settings.remotes)) or "none"
        raise NotFoundError(f"no integration {integration[:100]!r}", why=f"there is {known}", fix="penstock remote add")
    errors = dict(spec.errors)
    wanted, present, before = _new_items(rows, settings.remotes[integration], spec, errors, named)
    with ExitStack() as stack:
        store = stack.enter_context(settings.open_bucket(integration))
        pool = stack.enter_context(ThreadPoolExecutor(_TOGETHER, "penstock-look"))
        count = sum(len(places) for _, places in wanted)
        looker = _Looker(store, progress.stage("looking", total=count, unit="items"), stack)
        found: list[_Found] = []
        for (item, _), done in zip(wanted, pool.map(lambda each: looker.look(*each), wanted), strict=True):
            if isinstance(done, str):
                errors[item.place] = done
            else:
                found.append(done)
    registration = _Registration(rows, settings, named)
    if not errors or ignore_errors:
        registration.register(found, errors, progress)
    if errors and not ignore_errors:
        total = len(spec.items) + len(spec.errors)
        raise UnreadableError(
            f"{len(errors)} of {total} items cannot be registered",
            why="nothing was registered",
            fix="Mend what is named, or have errors ignored.",
            candidates=[f"{place}: {why}" for place, why in sorted(errors.items())],
        )
    top_hash = registration.push(progress)
    return PrivateDataReport((*before, *registration.added), tuple(present), errors, top_hash)


def _new_items(
    rows: DatasetRows,
    remote: Remote,
    spec: PrivateSpec,
    errors: dict[str, str],
    named: Callable[[str], str],
) -> tuple[list[tuple[PrivateItem, list[SourceAddress]]], list[str], list[str]]:
    """Return what is not registered yet, and names of rows that are, by others and by this very call, made before.

    What cannot be registered goes into `errors`.
    """
    located: list[tuple[PrivateItem, list[SourceAddress]]] = []
    for item in spec.items:
        try:
            located.append((item, [locate(url, remote) for url in item.urls]))
        except UsageError as error:
            errors[item.place] = _words(error)
    known = rows.find_sources([_source(places) for _, places in located])
    wanted, present, before = [], [], []
    seen: set[str] = set()
    for item, places in located:
        source = _source(places)
        if (uid := known.get(source)) is not None:
            if uid == named(item.place):
                before.append(uid)
            elif spec.skip_duplicate_urls:
                present.append(uid)
            else:
                errors[item.place] = f"{places[0].address} is row {uid} already. Set skip_duplicate_urls to skip it."
        elif source in seen:
            if not spec.skip_duplicate_urls:
                errors[item.place] = f"{places[0].address} stands here twice. Set skip_duplicate_urls to skip it."
        else:
            wanted.append((item, places))
        seen.add(source)
    return wanted, present, before


def _source(places: Sequence[SourceAddress]) -> str:
    """Return what a row keeps as the address where it was registered."""
    if len(places) == 1:
        return places[0].address
    return f"group:{named_hash('source', *(place.address for place in places))}"


class _Registration:
    """One version in the making."""

    def __init__(self, rows: DatasetRows, settings: Settings, named: Callable[[str], str]) -> None:
        self._rows = rows
        self._settings = settings
        self._named = named
        self._builder: PackageBuilder | None = None
        self._now = dt.datetime.now(dt.UTC)
        self.added: list[str] = []

    def register(self, found: Sequence[_Found], errors: dict[str, str], progress: Progress) -> None:
        """Put what was found into the version; what cannot be put there goes into `errors`."""
        if not found:
            return
        builder = self._builder = self._rows.new_version()
        taken: set[str] = set()
        objects: dict[str, tuple[str, Mapping[str, Any] | None]] = {}
        owners: dict[str, str] = {}
        groups: dict[str, tuple[str, StoredRow]] = {}
        single: dict[str, StoredRow] = {}
        for each in found:
            for number, (place, members, suffix) in enumerate(_parts(each)):
                uid = self._named(each.item.place + (suffix if number else ""))
                if each.item.kind in _GROUPS:
                    title = (each.item.title or each.item.place) + suffix
                    folder = free_key(builder, "", title, taken)
                    names = []
                    for number, (where, facts) in enumerate(members):
                        name = f"{number:06d}-{where.name}"
                        size = {"data_sequence": number, "width": facts.width, "height": facts.height}
                        objects[f"{folder}/{name}"] = where.address, {"image": size}
                        owners[f"{folder}/{name}"] = each.item.place
                        names.append(name)
                    row = self._row(each, members[0][1], title, uid, place, names)
                    groups[folder] = each.item.place, row
                else:
                    where, facts = members[0]
                    row = self._row(each, facts, each.item.title or where.name, uid, place, [])
                    key = free_key(builder, "", where.name, taken)
                    objects[key] = where.address, {ROW: built_row(row)}
                    owners[key] = each.item.place
                    single[key] = row
        self._put(builder, objects, owners, errors, progress)
        for folder, (place, row) in groups.items():
            if place in errors:
                if folder in builder:
                    builder.delete(folder)
            else:
                builder.set_meta(folder, {ROW: built_row(row)})
                self.added.append(row.uid)
        for key, row in single.items():
            if owners[key] not in errors:
                self.added.append(row.uid)

    def _row(self, found: _Found, facts: Facts, title: str, uid: str, source: str, names: list[str]) -> StoredRow:
        if names:
            kind = found.item.kind.value
            facts = Facts(kind, facts.width, facts.height, frames=len(names), is_counted=True, codec=facts.codec)
        more = {"client_metadata": found.item.client_metadata, "data_sequence": names, "source": source}
        return new_row(facts, title, self._now, uid=uid, **more)

    def _put(
        self,
        builder: PackageBuilder,
        objects: dict[str, tuple[str, Mapping[str, Any] | None]],
        owners: dict[str, str],
        errors: dict[str, str],
        progress: Progress,
    ) -> None:
        far = {key: said for key, said in objects.items() if said[0].startswith("s3://")}
        for key, error in builder.set_objects(far, identity=True, progress=progress).items():
            errors.setdefault(owners[key], _words(error))
        for key, (path, meta) in objects.items():
            if key in far:
                continue
            if self._settings.trust.folder_of(path) is None:
                fix = "Name a folder above it in the settings: [trust] local = [...]."
                errors.setdefault(owners[key], f"{path} lies in no folder that data sets may read from. {fix}")
                continue
            try:
                builder.set(key, path, meta)
            except PenstockError as error:
                errors.setdefault(owners[key], _words(error))

    def push(self, progress: Progress) -> str:
        """Publish the version, if there is anything new in it; return the hash of what the branch has then."""
        if self._builder is None or not self.added:
            with self._rows.package() as package:
                return package.top_hash
        count = f"{len(self.added)} row{'s' if len(self.added) > 1 else ''}"
        return self._rows.publish(self._builder, f"Register {count} where they lie", progress)


def _parts(found: _Found) -> list[tuple[str, list[tuple[SourceAddress, Facts]], str]]:
    """Return the groups that an item becomes, one for each resolution: source, members, what its title ends in."""
    whole = _source([place for place, _ in found.objects])
    if found.item.kind is not DataType.IMG_GROUP:
        return [(whole, list(found.objects), "")]
    by_size: dict[tuple[int | None, int | None], list[tuple[SourceAddress, Facts]]] = {}
    for place, facts in found.objects:
        by_size.setdefault((facts.width, facts.height), []).append((place, facts))
    if len(by_size) == 1:
        return [(whole, list(found.objects), "")]
    parts = [(members, f"-{size[0]}x{size[1]}") for size, members in by_size.items()]
    return [(whole if number == 0 else f"{whole}{end}", members, end) for number, (members, end) in enumerate(parts)]


def _words(error: PenstockError) -> str:
    parts = [error.what, error.why]
    said = ": ".join(part for part in parts if part)
    return f"{said}. {error.fix}" if error.fix else said
