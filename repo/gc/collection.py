"""One run of `gc`: what it has marked, what it found, and the order in which it deletes.

**Order**: garbage commits, children first; manifests; parts; node packs; data. **Invariant**: at any moment, whatever
was deleted so far, every commit in the bucket has its parents and its manifest, and every manifest all of its tree. So
it does not matter where a run is killed, and a writer that finds a record can rely on what the record needs. What is
not due is kept in the same way: a commit that stays keeps its parents, its manifest and its tree.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from penstock.errors import AccessError, ConflictError
from penstock.manifest.descend import LoadNode
from penstock.manifest.records import format_time
from penstock.progress import Progress
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.bucket.leases import HeldLease, leases
from penstock.repo.bucket.proof import StoreClock
from penstock.store.base import Store

from .gc_report import GcReport, ObjectTally
from .mark import DATA_MARK, NODE_MARK, PART_MARK, mark_trees
from .old_versions import OldObject, OldVersions, delete_old, kind_of
from .record_listing import DatasetListing, check_heads, check_remembered, list_records
from .roots import DatasetRecords
from .sweep import BusyError, Round, delete_keys, sweep_round

__all__ = ["Collection"]

_MOST = 1000
_NAMED = 20
"""Versions that the store would not delete, at most, that are named."""
_OLD_AT_ONCE = 10_000
_PREFIXES = {PART_MARK: object_keys.PARTS, NODE_MARK: object_keys.NODES, DATA_MARK: object_keys.DATA}
_KEYS = {PART_MARK: object_keys.part_key, NODE_MARK: object_keys.node_key, DATA_MARK: object_keys.data_key}
"""By kind, in the order in which they go."""


class Collection:
    """One run over a bucket. An object is garbage if it was written more than `grace` seconds before `clock` began."""

    def __init__(
        self,
        store: Store,
        load: LoadNode,
        marks: Marks,
        pool: Executor,
        clock: StoreClock,
        grace: float,
        progress: Progress,
    ) -> None:
        self._store = store
        self._load = load
        self._marks = marks
        self._pool = pool
        self._clock = clock
        self._grace = grace
        self._cutoff = clock.said - grace
        self._marking = progress.stage("marking", unit="items")
        self._deleting = progress.stage("deleting", unit="items")
        self._datasets: dict[str, DatasetRecords] = {}
        self._refs: set[str] = set()

    def refs(self) -> set[str]:
        """Return the keys of the records that say where branches stand, and of tags."""
        return self._refs

    def find(self, remembered: Iterable[str], *, without_refs: bool, old_versions: bool) -> GcReport:
        """Mark, list all objects, put those that are garbage down in the marks, and count.

        `remembered` are keys of refs that earlier runs saw. Raises as `gc.collect`.
        """
        self._refs = set(remembered)
        self._mark(tuple(leases(self._store)), first=True)
        report = GcReport(datasets=len(self._datasets))
        report.versions = sum(len(records.manifests) for records in self._datasets.values())
        report.garbage_versions = sum(len(records.garbage_manifests) for records in self._datasets.values())
        for dataset, records in sorted(self._datasets.items()):
            commits = sorted(records.let_go().values(), key=lambda commit: commit.time)
            if commits:
                report.let_go[dataset] = [(commit.top_hash.hex(), commit.time) for commit in commits]
        for records in self._datasets.values():
            for kind, found in _record_kinds(records):
                for name, size in found.items():
                    self._add_garbage(report, kind, name, size)
        for kind, prefix in _PREFIXES.items():
            for info in self._store.list(prefix):
                digest = object_keys.digest_of(prefix, info.key)
                if digest is None:
                    continue  # no object of ours
                if self._marks.is_held(kind, digest):
                    report.needed.add(1, info.size)
                elif not info.is_older(self._cutoff):
                    report.grace.add(1, info.size)
                else:
                    self._add_garbage(report, kind, digest, info.size)
        if not self._refs and not without_refs and report.garbage.objects:
            raise _no_refs(self._store, report)
        self._count_versions(report, old_versions=old_versions)
        return report

    def _add_garbage(self, report: GcReport, kind: str, digest: bytes, size: int) -> None:
        is_due = self._grace <= 0
        if not is_due and (since := self._marks.noted_since(kind, digest)) is not None:
            wait = since - self._cutoff
            is_due = wait < 0
            if not is_due and (report.due_in is None or wait < report.due_in):
                report.due_in = wait
        report.garbage.add(1, size)
        if is_due:
            report.due.add(1, size)
        self._marks.add_garbage(kind, (digest, size), due=is_due)

    def _count_versions(self, report: GcReport, *, old_versions: bool) -> None:
        keeps = self._store.version_policy().keeps
        if keeps is False:
            return
        found = self._old_versions()
        try:
            for old in found:
                report.old.add(*old.amount())
        except AccessError:
            if old_versions:
                raise
        else:
            report.noncurrent = found.noncurrent
        report.keeps_versions = keeps is True or found.noncurrent.objects > 0

    def _old_versions(self) -> OldVersions:
        cutoff = self._cutoff if self._grace > 0 else None
        return OldVersions(self._store, cutoff, self._is_needed)

    def _is_needed(self, kind: str, digest: bytes) -> bool:
        """Whether an object is needed, or kept for now. `kind` as in the marks."""
        if kind in _PREFIXES:
            return self._marks.is_held(kind, digest)
        folder, _, dataset = kind.partition("/")
        records = self._datasets.get(dataset)
        return records is not None and records.needs(folder, digest)

    def _is_missed(self, key: str) -> bool:
        named = kind_of(key)
        return named is not None and self._is_needed(*named)

    def sweep(self, report: GcReport, patience: float, lease_seconds: float | None, *, old_versions: bool) -> None:
        """Delete what is due, in rounds, until nothing is left, or somebody writes for longer than one waits."""
        for records in self._datasets.values():
            commits, manifests = (self._marks.due(kind) for kind, _ in _record_kinds(records))
            records.keep_what_is_not_due(commits, manifests)
        limits = {} if lease_seconds is None else {"seconds": lease_seconds}
        try:
            left = True
            while left:
                with self._round(patience, limits) as alone:
                    left = self._delete_some(alone, report)
                    while left and alone.lasts:
                        left = self._delete_some(alone, report)
            if report.noncurrent is not None:  # each left a version, and a marker
                report.noncurrent.add(2 * report.deleted.objects, report.deleted.bytes)
            if old_versions and report.keeps_versions:
                self._delete_old(report, patience, limits)
        except BusyError as error:
            report.stopped = error.reason

    @contextmanager
    def _round(self, patience: float, limits: dict[str, float]) -> Iterator[Round]:
        self._mark(tuple(leases(self._store)))  # most of what is new, while others still may write
        with sweep_round(self._store, self._clock, patience, **limits) as alone:
            self._mark(alone.held)
            yield alone

    def _mark(self, held: tuple[HeldLease, ...], *, first: bool = False) -> None:
        """Mark what refs, leases and young records lead to by now; what was marked before costs nothing."""
        found = list_records(self._store, self._pool, self._cutoff)
        check_remembered(self._store, self._pool, self._refs, found)
        if first:
            check_heads(self._store, self._pool, found)
        self._refs = {key for listing in found.values() for key in listing.refs()}
        for name in found.keys() | self._datasets.keys():
            records = self._datasets.get(name)
            if records is None:
                records = self._datasets[name] = DatasetRecords(self._store, name, self._pool)
            records.look(found.get(name, DatasetListing()), self._cutoff, self._clock.now(), held)
            mark_trees(records.new_trees(), self._load, self._marks, self._marking)

    def _delete_some(self, alone: Round, report: GcReport) -> bool:
        """Delete what is next in order; whether there was anything."""
        alone.check()
        for records in self._datasets.values():
            if names := records.childless_garbage()[:_MOST]:
                kind, found = f"commits/{records.dataset}", records.garbage_commits
                self._delete_records(kind, found, names, report)
                return True
        for records in self._datasets.values():
            if names := sorted(records.garbage_manifests)[:_MOST]:
                kind, found = f"manifests/{records.dataset}", records.garbage_manifests
                self._note_gone(records, names)
                self._delete_records(kind, found, names, report)
                return True
        for kind, to_key in _KEYS.items():
            if garbage := self._marks.garbage(kind, _MOST):
                self._delete([to_key(digest) for digest, _ in garbage], [size for _, size in garbage], report)
                self._marks.drop_garbage(kind, [digest for digest, _ in garbage])
                return True
        return False

    def _note_gone(self, records: DatasetRecords, names: list[bytes]) -> None:
        """Say of versions that go while their commits stay that it was the policy, and no damage."""
        time = format_time(dt.datetime.fromtimestamp(self._clock.now(), dt.UTC))
        body = msgspec.json.format(msgspec.json.encode({"penstock": 1, "time": time}), indent=1)
        kept = records.let_go()
        keys = [object_keys.gone_key(records.dataset, name.hex()) for name in names if name in kept]
        list(self._pool.map(lambda key: self._store.put(key, body), keys))

    def _delete_records(self, kind: str, found: dict[bytes, int], names: list[bytes], report: GcReport) -> None:
        folder, _, dataset = kind.partition("/")
        prefix = f"{object_keys.dataset_prefix(dataset)}{folder}/"
        self._delete([prefix + name.hex() for name in names], [found[name] for name in names], report)
        self._marks.drop_garbage(kind, names)
        for name in names:
            del found[name]

    def _delete(self, keys: list[str], sizes: list[int], report: GcReport) -> None:
        delete_keys(self._store, keys, self._pool, self._deleting)
        report.deleted.add(len(keys), sum(sizes))

    def _delete_old(self, report: GcReport, patience: float, limits: dict[str, float]) -> None:
        """Delete old versions that are garbage: found while others write, looked at again when they do not."""
        report.old = ObjectTally()
        stuck = ""
        found = self._old_versions()
        for batch in _batches(found):
            with self._round(patience, limits) as alone:
                alone.check()
                still = [old for old in batch if not (old.is_deleted and self._is_missed(old.key))]
                # Of a key with many versions the marker comes in a later batch: it stays if one of them stayed.
                still = [replace(old, marker=None) if old.key == stuck else old for old in still]
                refused = delete_old(self._store, still)
            for old in still:
                report.old.add(*old.amount())
            stuck = next((version.key for version in refused if version.key == batch[-1].key), "")
            report.refused.add(len(refused), sum(version.size for version in refused))
            room = max(0, _NAMED - len(report.refusals))
            report.refusals += [f"{version.key}: {why}" for version, why in list(refused.items())[:room]]
        report.old_deleted.add(report.old.objects - report.refused.objects, report.old.bytes - report.refused.bytes)
        report.noncurrent = found.noncurrent
        report.noncurrent.add(-report.old_deleted.objects, -report.old_deleted.bytes)


def _batches(found: OldVersions) -> Iterator[list[OldObject]]:
    batch: list[OldObject] = []
    count = 0
    for old in found:
        batch.append(old)
        count += old.amount()[0]
        if count >= _OLD_AT_ONCE:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _no_refs(store: Store, report: GcReport) -> ConflictError:
    count = report.garbage.objects
    return ConflictError(
        f"there is no branch and no tag in {store.url}, and there are {count} objects that nobody needs",
        why="either that is so, or this server hides what needs them",
        fix="Nothing was deleted. If that is so on purpose, because the datasets were removed by hand or a first push "
        "was cut off, add --without-refs.",
    )


def _record_kinds(records: DatasetRecords) -> tuple[tuple[str, dict[bytes, int]], tuple[str, dict[bytes, int]]]:
    return (
        (f"commits/{records.dataset}", records.garbage_commits),
        (f"manifests/{records.dataset}", records.garbage_manifests),
    )
