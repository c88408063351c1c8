"""``penstock warm``: fetch a version, or a part of it, into the cache before it is read."""

from __future__ import annotations

import click

from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size
from penstock.repo.warm.trace import Trace
from penstock.repo.warm.warm import WarmReport, warm

from .commands import Command
from .exits import ExitCode
from .invocation import Invocation, pass_invocation
from .output import JsonValue
from .params import HANDLE

__all__ = ["warm_"]

_SHOWN = 5


@click.command(
    "warm",
    cls=Command,
    examples=(
        "penstock warm demo/photos",
        "penstock warm demo/photos:v1 --path 2024 --path labels.csv",
        "penstock warm demo/photos --from-trace epoch.trace",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this file or folder; may be given again.")
@click.option("--from-trace", type=click.Path(dir_okay=False), metavar="FILE", help="What a mount's readers touched.")
@pass_invocation
def warm_(invocation: Invocation, handle: Handle, paths: tuple[str, ...], from_trace: str | None) -> None:
    """Fetch a version, or paths in it, into the cache before it is read.

    What is there is not fetched again. When the cache is full it ends and keeps what it has: exit code 1. Objects that
    the store does not give out, such as archived ones, are named, and the rest is fetched: exit code 1. What was warmed
    can be mounted and read while the store cannot be reached.

    With --from-trace, what `penstock mount --record-trace` has written down is fetched, in that order, as far as this
    version has it.
    """
    if from_trace is not None and paths:
        raise click.UsageError("--path and --from-trace exclude each other")
    settings = invocation.settings()
    trace = Trace(from_trace) if from_trace is not None else None
    with invocation.progress() as progress:
        report = warm(handle, paths, settings, progress, trace=trace)
    if invocation.output.json:
        invocation.output.document(_as_json(report))
    else:
        line = invocation.output.line
        done = report.bytes_there + report.bytes_warmed
        line(f"{report.handle}: {format_size(done)} of {format_size(report.bytes)} are in the cache")
        line(f"  top hash  {report.top_hash.hex()}")
        line(f"  files     {report.files}")
        line(f"  there     {format_size(report.bytes_there)}")
        line(f"  fetched   {format_size(report.bytes_fetched)} in {report.gets} requests")
    if report.gone:
        paths_are = "path of the trace is" if report.gone == 1 else "paths of the trace are"
        invocation.output.notice(f"{report.gone} {paths_are} not in this version")
    for told in report.damaged[:_SHOWN]:
        invocation.output.notice(told)
    if len(report.damaged) > _SHOWN:
        invocation.output.notice(f"{len(report.damaged) - _SHOWN} more blocks are damaged")
    for told in report.refused:
        invocation.output.notice(told)
    if report.stopped:
        invocation.output.notice(
            f"ended early, {report.stopped}. Make room by `penstock cache clear`, or raise PENSTOCK_CACHE_SIZE"
        )
    if report.error is not None:
        raise report.error
    if report.damaged:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)
    if report.stopped or report.refused:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _as_json(report: WarmReport) -> dict[str, JsonValue]:
    return {
        "handle": report.handle,
        "top_hash": report.top_hash.hex(),
        "files": report.files,
        "bytes": report.bytes,
        "bytes_there": report.bytes_there,
        "bytes_warmed": report.bytes_warmed,
        "bytes_fetched": report.bytes_fetched,
        "gets": report.gets,
        "gone": report.gone,
        "complete": not (report.stopped or report.damaged or report.refused or report.error),
        "stopped": report.stopped or None,
        "damaged": report.damaged,
        "refused": report.refused,
    }
