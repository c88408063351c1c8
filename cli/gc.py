"""``penstock gc``: delete from a bucket what no version needs."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import asdict

import click

from penstock.errors import UsageError
from penstock.repo.counters import Counters
from penstock.repo.gc import Amount, GcReport, collect
from penstock.repo.handle import Handle
from penstock.repo.nodes import Nodes
from penstock.repo.sizes import format_size
from penstock.repo.snapshot import open_cache

from .commands import Command
from .exits import ExitCode
from .invocation import Invocation, pass_invocation
from .output import JsonValue
from .params import HANDLE
from .progress import Task

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


class _Told:
    """Passes the progress on to the lines on the screen."""

    def __init__(self, marked: Task, deleted: Task) -> None:
        self._marked = marked
        self._deleted = deleted

    def marked(self, entries: int) -> None:
        self._marked.advance(entries)

    def deleted(self, objects: int) -> None:
        self._deleted.advance(objects)


@click.command(
    "gc",
    cls=Command,
    examples=(
        "penstock gc demo",
        "penstock gc demo --delete",
        "penstock gc s3://my-bucket --delete --grace 7d",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--delete/--dry-run", "delete", default=False, help="Delete it; without, only tell what would go.")
@click.option(
    "--grace",
    type=DURATION,
    default="24h",
    show_default=True,
    metavar="TIME",
    help="Keep what is younger than that: 90m, 24h, 7d.",
)
@click.option(
    "--wait",
    "patience",
    type=DURATION,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="Wait so long for pushes and commits to end.",
)
@pass_invocation
def gc(invocation: Invocation, handle: Handle, delete: bool, grace: float, patience: float) -> None:
    """Find what no version in a bucket needs, and with --delete delete it.

    Needed is all that a branch or tag leads to, with its whole history; where a branch stood within the grace period;
    what a mount or overlay shows; and whatever was written within the grace period. Data is shared by the datasets of
    a bucket, so a handle of a dataset means its bucket. Pushes and commits may run at the same time: gc waits for
    them, they wait for gc. When it ended before all was deleted: exit code 1.
    """
    if handle.ref is not None or handle.subdir:
        raise UsageError(
            f"cannot collect the garbage of {str(handle)!r}",
            why="data is shared by all versions and datasets of a bucket",
            fix=f"Name the bucket: penstock gc {handle.bucket}",
        )
    settings = invocation.settings()
    with closing(settings.open_bucket(handle.bucket)) as store, closing(open_cache(settings)) as cache:
        load = Nodes(store, cache, Counters()).load
        with invocation.progress() as progress:
            told = _Told(progress.task("marking", unit="items"), progress.task("deleting", unit="items"))
            report = collect(store, load, told, grace=grace, delete=delete, patience=patience)
        if invocation.output.json:
            invocation.output.document(_as_json(store.url, report, delete))
        else:
            _tell(invocation, store.url, report, delete)
    if report.stopped:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell(invocation: Invocation, url: str, report: GcReport, delete: bool) -> None:
    line = invocation.output.line
    line(f"{url}: {report.datasets} datasets, {report.versions} versions")
    line(f"  needed    {_amount(report.needed)}")
    line(f"  young     {_amount(report.grace)}, kept for the grace period")
    line(f"  garbage   {_amount(report.garbage)}, {report.garbage_versions} versions among them")
    if delete:
        line(f"  deleted   {_amount(report.deleted)}")
    elif report.garbage.objects:
        invocation.output.notice("nothing was deleted: add --delete to do so")
    if report.stopped:
        invocation.output.notice(f"ended early, {report.stopped}. Run it again later")


def _amount(amount: Amount) -> str:
    return f"{amount.objects} objects, {format_size(amount.bytes)}"


def _as_json(url: str, report: GcReport, delete: bool) -> dict[str, JsonValue]:
    return {
        "bucket": url,
        "dry_run": not delete,
        "datasets": report.datasets,
        "versions": report.versions,
        "garbage_versions": report.garbage_versions,
        "needed": asdict(report.needed),
        "grace": asdict(report.grace),
        "garbage": asdict(report.garbage),
        "deleted": asdict(report.deleted),
        "complete": delete and not report.stopped,
        "stopped": report.stopped or None,
    }
