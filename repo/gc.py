"""Garbage collection: delete what no version needs. Mark and sweep over a whole bucket; docs/design/006-gc.md.

Data and node packs belong to the bucket and not to a dataset, so all datasets are marked. What is unmarked and older
than the grace period is garbage: records of versions that nothing leads to, node packs, data objects. Objects outside
of `.penstock/` are never touched: files that were registered in place stay.

**Order**: garbage commits, children first; manifests; node packs; data. **Invariant**: at any moment, whatever was
deleted so far, every commit in the bucket has its parents and its manifest, and every manifest all of its tree. So
it does not matter where a run is killed, and a writer that finds a record can rely on what the record needs.

Blocking; one thread calls, a few more delete.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from penstock.errors import AccessError
from penstock.manifest.descend import LoadNode
from penstock.store.base import Store

from . import layout
from .leases import HeldLease, leases
from .marking import DATA_MARK, NODE_MARK, mark_trees
from .marks import Marks
from .reachable import DatasetRecords
from .repository import datasets_in
from .sweeping import BusyError, Round, delete_keys, sweep_round

__all__ = ["DAY", "Amount", "GcProgress", "GcReport", "collect"]

DAY = 86400.0
_THREADS = 8
_MOST = 1000
_PREFIXES = {NODE_MARK: layout.NODES, DATA_MARK: layout.DATA}


class GcProgress(Protocol):
    """Told how far it is."""

    def marked(self, entries: int) -> None:
        """Say that so many more entries of versions were looked at."""
        ...

    def deleted(self, objects: int) -> None:
        """Say that so many more objects are gone."""
        ...


@dataclass(slots=True)
class Amount:
    """Objects, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, objects: int, size: int) -> None:
        """Add to both."""
        self.objects += objects
        self.bytes += size


@dataclass(slots=True)
class GcReport:
    """What was found and done. `versions` are those that something leads to; `stopped` says why not all was deleted."""

    datasets: int = 0
    versions: int = 0
    needed: Amount = field(default_factory=Amount)
    grace: Amount = field(default_factory=Amount)
    garbage: Amount = field(default_factory=Amount)
    deleted: Amount = field(default_factory=Amount)
    garbage_versions: int = 0
    stopped: str = ""


def collect(
    store: Store,
    load: LoadNode,
    progress: GcProgress,
    *,
    grace: float = DAY,
    delete: bool = False,
    patience: float = 60.0,
    lease_seconds: float | None = None,
) -> GcReport:
    """Find the garbage of a bucket that is older than `grace` seconds, by the store's clock; delete it with `delete`.

    `load` loads nodes of the bucket. `patience` is for how many seconds writers are waited for; `lease_seconds` for
    how long the bucket is closed to them should this be killed. IntegrityError: a version is damaged, so nothing can
    be told from garbage, and nothing was deleted since. AccessError: the bucket may not be written.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "penstock-gc"))
        marks = stack.enter_context(Marks())
        collection = _Collection(store, load, marks, pool, _store_time(store, required=delete) - grace, progress.marked)
        collection.mark()
        report = collection.find()
        if delete:
            collection.sweep(report, progress.deleted, patience, lease_seconds)
        return report


def _store_time(store: Store, *, required: bool) -> float:
    """Return what the store's clock says: the time of an object that is made for that.

    Whoever may only read gets this machine's time, where nothing is going to be deleted.
    """
    key = layout.PROBES + secrets.token_hex(16)
    try:
        store.put(key, b"")
        try:
            info = store.head(key)
        finally:
            store.delete([key])
    except AccessError:
        if required:
            raise
        return time.time()
    if info is None or info.modified is None:
        raise AccessError(
            f"nobody can say how old the objects in {store.url} are",
            why=f"an object that was just written {'is not there' if info is None else 'has no Last-Modified'}",
            fix="Reach the server without the proxy on the way, if there is one",
        )
    return info.modified


class _Collection:
    """One run. `cutoff` is the time, by the store's clock, before which an object has to be written to be garbage."""

    def __init__(
        self,
        store: Store,
        load: LoadNode,
        marks: Marks,
        pool: ThreadPoolExecutor,
        cutoff: float,
        marked: Callable[[int], None],
    ) -> None:
        self._store = store
        self._load = load
        self._marks = marks
        self._pool = pool
        self._cutoff = cutoff
        self._marked = marked
        self._datasets: dict[str, DatasetRecords] = {}

    def mark(self, held: tuple[HeldLease, ...] | None = None) -> None:
        """Mark what refs, leases and young records lead to by now; what was marked before costs nothing."""
        held = tuple(leases(self._store)) if held is None else held
        for name in datasets_in(self._store):
            records = self._datasets.get(name)
            if records is None:
                records = self._datasets[name] = DatasetRecords(self._store, name, self._pool)
            records.look(self._cutoff, held)
            mark_trees(records.new_trees(), self._load, self._marks, self._marked)

    def find(self) -> GcReport:
        """List all objects, note those that are garbage, and count."""
        report = GcReport(datasets=len(self._datasets))
        for kind, prefix in _PREFIXES.items():
            for info in self._store.list(prefix):
                digest = layout.digest_of(prefix, info.key)
                if digest is None:
                    continue  # no object of ours
                if self._marks.is_held(kind, digest):
                    report.needed.add(1, info.size)
                elif not info.is_older(self._cutoff):
                    report.grace.add(1, info.size)
                else:
                    self._marks.add_garbage(kind, (digest, info.size))
                    report.garbage.add(1, info.size)
        for records in self._datasets.values():
            report.versions += len(records.manifests)
            report.garbage_versions += len(records.garbage_manifests)
            for found in (records.garbage_commits, records.garbage_manifests):
                report.garbage.add(len(found), sum(found.values()))
        return report

    def sweep(
        self, report: GcReport, told: Callable[[int], None], patience: float, lease_seconds: float | None
    ) -> None:
        """Delete in rounds until nothing is left, or somebody writes for longer than one waits."""
        limits = {} if lease_seconds is None else {"seconds": lease_seconds}
        left = True
        try:
            while left:
                self.mark()  # most of what is new, while others still may write
                with sweep_round(self._store, patience, **limits) as alone:
                    self.mark(alone.held)
                    left = self._delete_some(alone, report, told)
                    while left and alone.lasts:
                        left = self._delete_some(alone, report, told)
        except BusyError as error:
            report.stopped = f"{error.what}: {error.why}"

    def _delete_some(self, alone: Round, report: GcReport, told: Callable[[int], None]) -> bool:
        """Delete what is next in order; whether there was anything."""
        alone.check()
        for records in self._datasets.values():
            if names := records.childless_garbage()[:_MOST]:
                sizes = [records.garbage_commits[name] for name in names]
                self._delete([layout.commit_key(records.dataset, name) for name in names], sizes, report, told)
                for name in names:
                    del records.garbage_commits[name]
                return True
        for records in self._datasets.values():
            if names := sorted(records.garbage_manifests)[:_MOST]:
                sizes = [records.garbage_manifests[name] for name in names]
                self._delete([layout.manifest_key(records.dataset, name) for name in names], sizes, report, told)
                for name in names:
                    del records.garbage_manifests[name]
                return True
        for kind, to_key in ((NODE_MARK, layout.node_key), (DATA_MARK, layout.data_key)):
            if found := self._marks.garbage(kind, _MOST):
                self._delete([to_key(digest) for digest, _ in found], [size for _, size in found], report, told)
                self._marks.drop_garbage(kind, [digest for digest, _ in found])
                return True
        return False

    def _delete(self, keys: list[str], sizes: list[int], report: GcReport, told: Callable[[int], None]) -> None:
        delete_keys(self._store, keys, self._pool, told)
        report.deleted.add(len(keys), sum(sizes))
