"""``penstock verify``: whether a version in its bucket, or a copy of it in a directory, is what was published."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import Handle, format_size
from penstock.api.packages.package import Package
from penstock.api.storage.upkeep import SHOWN_PATHS, VersionCheck
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.packages.copies import verify_directory
from penstock.cli.params import HANDLE
from penstock.cli.text import quote_name

__all__ = ["verify_"]


@click.command(
    "verify",
    cls=Command,
    examples=(
        "penstock verify demo/photos",
        "penstock verify demo/photos:v1 --deep",
        "penstock verify demo/photos --deep --repair ./photos",
        "penstock verify demo/photos:v1 ./photos       # whether the directory is what the version says",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("directory", default="", metavar="[DIR]")
@click.option("--deep", is_flag=True, help="Read and hash every byte, instead of checking names and sizes only.")
@click.option(
    "--repair",
    type=click.Path(file_okay=True, dir_okay=True),
    metavar="DIR",
    help="Repair damaged data from files in DIR, matched by hash.",
)
@pass_invocation
def verify_(invocation: Invocation, handle: Handle, directory: str, deep: bool, repair: str | None) -> None:
    """Check that a version is intact in its bucket, or that the directory DIR is an exact copy of it.

    Every tree node is read, and every object must exist and be long enough; with --deep every byte is read and hashed.
    Damage is listed with the affected paths and a remedy. The exit code is 5 for damage, and 1 if the store only
    refuses to deliver objects, such as archived ones. --repair rebuilds damaged or missing data from local files with
    the same content.

    With DIR, every file in that directory is read and hashed instead. Missing, modified and additional files are
    listed, and the exit code is 1.
    """
    if directory:
        if deep or repair is not None:
            raise click.UsageError("--deep and --repair are about the bucket: leave them out, or the directory")
        verify_directory(invocation, handle, directory)
        return
    package = Package(handle, invocation.settings())
    with invocation.progress() as progress:
        check = package.verify(deep=deep, repair=repair, progress=progress)
    if invocation.output.json:
        told = asdict(check)
        del told["refused"]
        invocation.output.document(told)
    else:
        _tell(invocation, check)
    if check.refused:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    if not check.sound:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _tell(invocation: Invocation, report: VersionCheck) -> None:
    line = invocation.output.line
    line(f"{report.handle}: {_verdict(report)}")
    line(f"  top hash  {report.top_hash}")
    line(f"  content   {report.entries} entries, {format_size(report.bytes)}")
    line(f"  checked   {report.nodes} nodes, {report.objects} objects")
    if report.deep:
        line(f"  read      {format_size(report.bytes_read)}")
    for damage in report.damages:
        state = ", repaired" if damage.repaired else ""
        line(f"{damage.object}: {damage.kind}{state}")
        line(f"  why       {damage.why}")
        if damage.fix:
            line(f"  fix       {damage.fix}")
        line(f"  affects   {damage.affected} entries")
        for path in damage.paths:
            line(f"            {quote_name(path)}")
        if damage.affected > len(damage.paths) == SHOWN_PATHS:
            line("            and more")


def _verdict(report: VersionCheck) -> str:
    if not report.damages:
        return "all is well"
    if report.refused:
        return f"{len(report.damages)} of the objects could not be read"
    repaired = sum(damage.repaired for damage in report.damages)
    objects = f"{len(report.damages)} damaged object{'' if len(report.damages) == 1 else 's'}"
    return f"{objects}, {repaired} repaired" if repaired else objects
