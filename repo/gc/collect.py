"""Garbage collection: delete what no version needs. Mark and sweep over a whole bucket; docs/design/006-gc.md.

Data and node packs belong to the bucket and not to a dataset, so all datasets are marked. What is unmarked and older
than the grace period is garbage: records of versions that nothing leads to, node packs, data objects. Objects outside
of `.penstock/` are never touched: files that were registered in place stay.

Nothing is deleted on the word of one listing. The bucket's listings and its clock are tried first (`proof`), refs are
looked for in two ways (`record_listing`), and what a run finds it only notes (`notes`): it is *due* when a later run
finds it again and it was noted the grace period ago. Without a grace period all garbage is due at once, and whoever
calls is asked before anything goes.

Blocking; one thread calls, a few more delete.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from penstock.errors import AccessError
from penstock.manifest.descend import LoadNode
from penstock.progress import Progress
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.bucket.leases import now
from penstock.repo.bucket.proof import StoreClock, prove_store
from penstock.store.base import Store

from .collection import Collection
from .gc_report import GcReport, ObjectTally
from .notes import Notes, forget_notes

__all__ = ["DAY", "GcReport", "ObjectTally", "collect", "forget_notes"]

DAY = 86400.0
_THREADS = 8


def collect(
    store: Store,
    load: LoadNode,
    progress: Progress,
    *,
    grace: float = DAY,
    delete: bool = False,
    old_versions: bool = False,
    without_refs: bool = False,
    agree: Callable[[GcReport], bool] | None = None,
    patience: float = 60.0,
    lease_seconds: float | None = None,
) -> GcReport:
    """Find the garbage of a bucket that is older than `grace` seconds, by the store's clock.

    With `delete`, note it and delete what is due; with no grace period, all of it, if `agree` says so of the report.
    `old_versions`: in a bucket that keeps versions, those of garbage as well. `without_refs`: the bucket is meant to
    hold no branch and no tag. `load` loads nodes of the bucket. `patience` is for how many seconds writers are waited
    for; `lease_seconds` for how long the bucket is closed to them should this be killed.

    IntegrityError: a version is damaged, or the bucket's listings or clocks cannot be trusted, so nothing can be told
    from garbage, and nothing was deleted since. ConflictError: there are objects, and no ref. AccessError: the bucket
    may not be written.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "penstock-gc"))
        marks = stack.enter_context(Marks())
        clock = _proven(store, required=delete)
        notes = Notes(store, marks)
        collection = Collection(store, load, marks, pool, clock, grace, progress)
        report = collection.find(notes.refs, without_refs=without_refs, old_versions=old_versions)
        if not delete:
            return report
        if grace > 0:
            notes.remember_refs(collection.refs(), clock.said)
            notes.drop_outdated()
            notes.note_garbage(clock.said)
            if report.due_in is None and report.garbage.objects > report.due.objects:
                report.due_in = grace
        elif agree is not None and not agree(report):
            report.stopped = "nobody agreed"
            return report
        collection.sweep(report, patience, lease_seconds, old_versions=old_versions)
        notes.drop_outdated()
        return report


def _proven(store: Store, *, required: bool) -> StoreClock:
    """Return the store's clock, once its listings were tried.

    Whoever may only read gets this machine's clock, where nothing is going to be deleted.
    """
    try:
        return prove_store(store)
    except AccessError:
        if required:
            raise
        return StoreClock(time.time(), now())
