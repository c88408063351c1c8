"""``penstock gc``: delete from a bucket what no version needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from penstock.api.handles import Handle, format_size
from penstock.api.storage.bucket import Bucket
from penstock.api.storage.upkeep import Amount, GarbageReport
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.errors import UsageError

__all__ = ["DURATION", "gc"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])?")


class _DurationType(click.ParamType[float]):
    """``24h``, ``90m``, ``7d``, ``30``: seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002  # click asks
        if not isinstance(value, str):
            return value
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise UsageError(f"{value[:60]!r} is no duration", fix="Write for example 24h, 90m or 7d")
        return float(match[1]) * _UNITS[match[2] or "s"]


DURATION = _DurationType()


@click.command(
    "gc",
    cls=Command,
    examples=(
        "penstock gc demo",
        "penstock gc demo --delete                # notes what it finds; the same a day later deletes it",
        "penstock gc s3://my-bucket --delete --grace 7d",
        "penstock gc demo --delete --versions     # of a bucket that keeps versions, old ones too",
        "penstock gc demo --forget",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--delete/--dry-run", "delete", default=False, help="Record garbage, and delete what is due (default: only report)."
)
@click.option(
    "--grace",
    type=DURATION,
    default="24h",
    show_default=True,
    metavar="TIME",
    help="Keep objects that are younger, or were recorded more recently: 90m, 24h, 7d. With 0s everything is deleted "
    "at once, without recording it first.",
)
@click.option(
    "--wait",
    "patience",
    type=DURATION,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for running pushes and commits.",
)
@click.option("--versions", "old_versions", is_flag=True, help="Also delete old object versions of garbage.")
@click.option("--without-refs", is_flag=True, help="Confirm that the bucket has no branches or tags.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting everything at once.")
@click.option("--forget", is_flag=True, help="Only drop the records of earlier runs.")
@pass_invocation
def gc(
    invocation: Invocation,
    handle: Handle,
    delete: bool,
    grace: float,
    patience: float,
    old_versions: bool,
    without_refs: bool,
    yes: bool,
    forget: bool,
) -> None:
    """Find what no version in a bucket needs, and with --delete, delete it.

    Everything stays that a branch or tag leads to, including its history; what a branch pointed to within the grace
    period; what a mount or overlay uses; and what was written within the grace period. Datasets of a bucket share data,
    so a dataset's handle stands for its whole bucket. Pushes and commits can run at the same time. The exit code is 1
    if not everything could be deleted.

    Garbage that is found for the first time is only recorded, in the bucket. A later run deletes it if it finds it
    again after the grace period. So run this command daily.
    """
    if handle.ref is not None or handle.subdir:
        raise UsageError(
            f"cannot collect the garbage of {str(handle)!r}",
            why="data is shared by all versions and datasets of a bucket",
            fix=f"Name the bucket: penstock gc {handle.bucket}",
        )
    bucket = Bucket(Handle(handle.bucket), invocation.settings())
    if forget:
        if delete:
            raise UsageError("--forget goes without --delete", fix="Run the one, then the other.")
        _tell_forgotten(invocation, bucket.address, bucket.forget_garbage())
        return
    if delete and grace <= 0 and not yes and not sys.stdin.isatty():
        raise UsageError(
            f"everything in {handle.bucket} that nothing needs would be deleted at once",
            why="without a grace period nothing is found twice, and there is no terminal to ask at",
            fix="Add --yes if that is what you want, or leave out --grace.",
        )

    def agree(report: GarbageReport) -> bool:
        return yes or _agreed(report, old_versions=old_versions)

    with invocation.progress() as progress:
        report = bucket.gc(
            delete=delete,
            grace=grace,
            patience=patience,
            old_versions=old_versions,
            without_refs=without_refs,
            agree=agree,
            progress=progress,
        )
    if invocation.output.json:
        invocation.output.document(asdict(report))
    else:
        _tell(invocation, report, old_versions=old_versions)
    if report.stopped or report.refused.objects:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _agreed(report: GarbageReport, *, old_versions: bool) -> bool:
    """Show what goes, and ask."""
    if not report.garbage.objects and not (old_versions and report.old_versions.objects):
        return True
    for line in _found(report):
        click.echo(line, err=True)
    old = f" and {_amount(report.old_versions, 'old versions')}" if old_versions and report.keeps_versions else ""
    return click.confirm(f"Delete {_amount(report.garbage)}{old}, for good?", err=True)


def _found(report: GarbageReport) -> list[str]:
    return [
        f"{report.bucket}: {report.datasets} datasets, {report.versions} versions",
        f"  needed    {_amount(report.needed)}",
        f"  young     {_amount(report.grace)}, kept for the grace period",
        f"  garbage   {_amount(report.garbage)}, {report.garbage_versions} versions among them",
    ]


def _span(versions: Sequence[tuple[str, str]]) -> str:
    first, last = versions[0][1][:10], versions[-1][1][:10]
    return first if first == last else f"{first} to {last}"


def _tell(invocation: Invocation, report: GarbageReport, *, old_versions: bool) -> None:
    delete = not report.dry_run
    line, notice = invocation.output.line, invocation.output.notice
    for text in _found(report):
        line(text)
    for name, versions in report.let_go.items():
        line(f"  {name}: {len(versions)} versions of {_span(versions)} go by its policy; their commits stay")
    waiting = report.garbage.objects - report.due.objects
    if waiting:
        line(f"  due       {_amount(report.due)}; the rest waits to be found again")
    if delete:
        line(f"  deleted   {_amount(report.deleted)}")
    if report.keeps_versions:
        _tell_versions(invocation, report, delete=delete and old_versions)
    if not delete and report.garbage.objects:
        notice("nothing was deleted: add --delete to do so")
    elif delete and waiting:
        soon = f", in {_duration(report.due_in)} at the earliest" if report.due_in is not None else ""
        notice(f"{waiting} objects are noted: a later run deletes them{soon}, if nothing needs them still")
    if report.stopped:
        notice(f"ended early, {report.stopped}. Run it again later")


def _tell_versions(invocation: Invocation, report: GarbageReport, *, delete: bool) -> None:
    line, notice = invocation.output.line, invocation.output.notice
    if report.noncurrent is None:
        notice("this bucket keeps versions: what is deleted stays in it, and these credentials may not list how much")
        return
    garbage = "" if delete else f"; {_amount(report.old_versions, 'of them garbage')}"
    line(f"  versions  {_amount(report.noncurrent, 'noncurrent')}{garbage}")
    if delete:
        line(f"  old       {_amount(report.old_versions_deleted, 'deleted')}; {_amount(report.refused, 'refused')}")
        for refusal in report.refusals:
            notice(f"refused: {refusal}")
    else:
        notice(
            "this bucket keeps versions: what is deleted stays in it and is paid for, until --versions or a lifecycle "
            "rule removes it; penstock doctor names the rule"
        )


def _tell_forgotten(invocation: Invocation, url: str, count: int) -> None:
    if invocation.output.json:
        invocation.output.document({"bucket": url, "forgotten": count})
    else:
        invocation.output.line(f"{url}: {count} notes dropped")


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def _amount(amount: Amount, noun: str = "objects") -> str:
    return f"{amount.objects} {noun}, {format_size(amount.bytes)}"
