"""What keeping a bucket clean and its versions whole has found: reports of `Bucket.gc` and of `Package.verify`, `warm`.

Sizes are bytes, hashes 64 hex digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from penstock.errors import PenstockError
from penstock.repo.verify.damage import SHOWN_PATHS

if TYPE_CHECKING:
    from penstock.repo.gc import gc_report as gc
    from penstock.repo.verify.verification import VersionReport
    from penstock.repo.warm import warm

__all__ = [
    "SHOWN_PATHS",
    "Amount",
    "DamagedObject",
    "GarbageReport",
    "VersionCheck",
    "WarmReport",
    "garbage_report",
    "version_check",
    "warm_report",
]


@dataclass(frozen=True, slots=True)
class Amount:
    """Objects, and their bytes."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What `Bucket.gc` found and did. `versions` are those that something leads to, `garbage_versions` the others.

    Of these, `let_go` has by dataset those that go by the policy of the dataset while their commits stay, top hash and
    time, the oldest first. `needed` stays; `grace` is garbage too young to go. Of the `garbage`, `due` may go by now,
    the first of the rest in `due_in` seconds, if any was noted; `deleted` is gone. `noncurrent` are versions that the
    bucket keeps of what was deleted or written anew, None where it keeps none or nobody may look; `old_versions`
    those of them that are garbage. The store would not delete `refused`, of which `refusals` names some. `stopped`
    says why not all was deleted.
    """

    bucket: str
    dry_run: bool
    datasets: int
    versions: int
    garbage_versions: int
    let_go: Mapping[str, Sequence[tuple[str, str]]]
    needed: Amount
    grace: Amount
    garbage: Amount
    due: Amount
    due_in: float | None
    deleted: Amount
    keeps_versions: bool
    noncurrent: Amount | None
    old_versions: Amount
    old_versions_deleted: Amount
    refused: Amount
    refusals: tuple[str, ...]
    complete: bool
    stopped: str | None


DamageKind = Literal["missing", "truncated", "changed", "corrupt", "unreadable", "refused"]


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """One damaged object, by its address. `affected` counts paths, of which `paths` holds the first.

    ``refused``: the store does not give it out, and it may be whole.
    """

    object: str
    kind: DamageKind
    why: str
    fix: str
    affected: int
    paths: tuple[str, ...]
    repaired: bool


@dataclass(frozen=True, slots=True)
class VersionCheck:
    """What `Package.verify` looked at, and what is wrong. `sound`: nothing, or nothing any more.

    `refused`: nothing is known to be damaged, but the store did not give out all.
    """

    handle: str
    top_hash: str
    sound: bool
    refused: bool
    deep: bool
    entries: int
    bytes: int
    nodes: int
    objects: int
    bytes_read: int
    damages: tuple[DamagedObject, ...]


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What `Package.warm` did: of `bytes` asked for, `bytes_there` were in the cache and `bytes_warmed` are now.

    A content that several files have is warmed for one of them and there for the others. The store sent `bytes_fetched`
    in `gets` requests, nodes of the tree among it. `files` were looked at, those of equal directories once. Of a trace,
    `gone` paths are not in the version. `stopped` says why not all was done; `damaged` what the store no longer has as
    it was; `refused` what it does not give out; `error` is what ended it. `complete`: none of these.
    """

    handle: str
    top_hash: str
    files: int
    bytes: int
    bytes_there: int
    bytes_warmed: int
    bytes_fetched: int
    gets: int
    gone: int
    complete: bool
    stopped: str | None
    damaged: tuple[str, ...]
    refused: tuple[str, ...]
    error: PenstockError | None


def garbage_report(bucket: str, report: gc.GcReport, *, dry_run: bool) -> GarbageReport:
    """Return what was found in a bucket as a value."""
    return GarbageReport(
        bucket=bucket,
        dry_run=dry_run,
        datasets=report.datasets,
        versions=report.versions,
        garbage_versions=report.garbage_versions,
        let_go=report.let_go,
        needed=_amount(report.needed),
        grace=_amount(report.grace),
        garbage=_amount(report.garbage),
        due=_amount(report.due),
        due_in=report.due_in,
        deleted=_amount(report.deleted),
        keeps_versions=report.keeps_versions,
        noncurrent=_amount(report.noncurrent) if report.noncurrent is not None else None,
        old_versions=_amount(report.old),
        old_versions_deleted=_amount(report.old_deleted),
        refused=_amount(report.refused),
        refusals=tuple(report.refusals),
        complete=not dry_run and not report.stopped and not report.refused.objects,
        stopped=report.stopped or None,
    )


def _amount(amount: gc.ObjectTally) -> Amount:
    return Amount(amount.objects, amount.bytes)


def version_check(handle: str, report: VersionReport, *, deep: bool) -> VersionCheck:
    """Return what a check found as a value."""
    damages = tuple(
        DamagedObject(
            damage.address,
            damage.kind.value,
            damage.why,
            damage.fix,
            damage.affected,
            tuple(damage.paths),
            damage.repaired,
        )
        for damage in report.damages
    )
    return VersionCheck(
        handle=handle,
        top_hash=report.top_hash.hex(),
        sound=report.is_sound,
        refused=report.is_refused,
        deep=deep,
        entries=report.entries,
        bytes=report.bytes,
        nodes=report.nodes,
        objects=report.objects,
        bytes_read=report.bytes_read,
        damages=damages,
    )


def warm_report(handle: str, report: warm.WarmOutcome) -> WarmReport:
    """Return what was fetched ahead as a value."""
    return WarmReport(
        handle=handle,
        top_hash=report.top_hash.hex(),
        files=report.files,
        bytes=report.bytes,
        bytes_there=report.bytes_there,
        bytes_warmed=report.bytes_warmed,
        bytes_fetched=report.bytes_fetched,
        gets=report.gets,
        gone=report.gone,
        complete=not (report.stopped or report.damaged or report.refused or report.error),
        stopped=report.stopped or None,
        damaged=report.damaged,
        refused=report.refused,
        error=report.error,
    )
