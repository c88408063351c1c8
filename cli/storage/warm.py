"""``penstock warm``: fetch a version, or a part of it, into the cache before it is read."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import Handle, format_size
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

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
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this file or folder; can be repeated.")
@click.option(
    "--from-trace",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Only what a mount's readers used, recorded by --record-trace.",
)
@pass_invocation
def warm_(invocation: Invocation, handle: Handle, paths: tuple[str, ...], from_trace: str | None) -> None:
    """Fetch a version, or paths in it, into the cache ahead of time.

    Cached data is not fetched again. If the cache gets full, or the store refuses to deliver objects, such as archived
    ones, the rest is kept and the exit code is 1. What is in the cache can be mounted and read offline.

    With --from-trace, files that `penstock mount --record-trace` recorded are fetched in the recorded order.
    """
    if from_trace is not None and paths:
        raise click.UsageError("--path and --from-trace exclude each other")
    package = Package(handle, invocation.settings())
    with invocation.progress() as progress:
        report = package.warm(paths, trace=from_trace, progress=progress)
    if invocation.output.json:
        invocation.output.document({key: value for key, value in asdict(report).items() if key != "error"})
    else:
        line = invocation.output.line
        done = report.bytes_there + report.bytes_warmed
        line(f"{report.handle}: {format_size(done)} of {format_size(report.bytes)} are in the cache")
        line(f"  top hash  {report.top_hash}")
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
