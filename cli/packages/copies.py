"""``penstock download`` and ``sync``, and ``verify`` of a directory: copies of a version on this machine."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from penstock.api.handles import Handle, format_size
from penstock.api.packages.local_copies import REQUESTS, CopyChange, DownloadReport
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import UNREAD_HANDLE, handle_beside
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import at_most
from penstock.cli.text import quote_name

__all__ = ["download", "sync", "verify_directory"]

_TOLD = {
    "missing": "is missing",
    "extra": "is not in the version",
    "modified": "is not what the version has",
    "uncompared": "cannot be compared by contents: it is pinned by its identity, and was never read here",
}
_DONE = {"fetched": "added", "replaced": "replaced", "mode": "mode changed", "removed": "removed"}
_JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=REQUESTS,
    show_default=True,
    help="Largest number of parallel requests.",
)


@click.command(
    "download",
    cls=Command,
    examples=(
        "penstock download demo/photos:v1 ./photos",
        "penstock download demo/photos ./photos --path 2024 --path labels.csv",
        "penstock download demo/photos ./photos --include '*.jpg'",
    ),
)
@click.argument("handle", type=UNREAD_HANDLE)
@click.argument("directory", type=click.Path(file_okay=True), metavar="DIR")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this file or folder; can be repeated.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only files that match; can be repeated.")
@_JOBS
@pass_invocation
def download(
    invocation: Invocation, handle: Handle, directory: str, paths: tuple[str, ...], include: tuple[str, ...], jobs: int
) -> None:
    """Copy the files of a version into a directory.

    Files that are already there are hashed and not fetched again; those with different content are replaced. Files that
    the version does not have are kept. Every byte is verified, and incomplete files are never visible. If it is
    interrupted, run it again to continue. Patterns work as in ignore files.
    """
    package = Package(handle_beside(invocation, handle, directory), invocation.settings())
    with package, invocation.progress() as progress:
        report = package.download(directory, paths=paths, include=include, jobs=jobs, progress=progress)
    _tell(invocation, report)


@click.command(
    "sync",
    cls=Command,
    examples=(
        "penstock sync demo/photos:v1 ./photos --delete --dry-run",
        "penstock sync demo/photos:v1 ./photos --delete",
    ),
)
@click.argument("handle", type=UNREAD_HANDLE)
@click.argument("directory", type=click.Path(file_okay=True), metavar="DIR")
@click.option("--delete", is_flag=True, help="Delete files that the version does not have.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@_JOBS
@pass_invocation
def sync(invocation: Invocation, handle: Handle, directory: str, delete: bool, dry_run: bool, jobs: int) -> None:
    """Make a directory match a version; with --delete, exactly.

    This works like `penstock download` and lists each change. Files that the directory's ignore files exclude from a
    push are never deleted.
    """
    output = invocation.output

    def tell(change: CopyChange) -> None:
        if not output.json:
            output.line(f"{_DONE[change.change]} {quote_name(os.path.join(directory, change.path))}")

    package = Package(handle_beside(invocation, handle, directory), invocation.settings())
    with package, invocation.progress() as progress:
        report = package.sync(directory, delete=delete, dry_run=dry_run, jobs=jobs, progress=progress, tell=tell)
    _tell(invocation, report)


def _tell(invocation: Invocation, report: DownloadReport) -> None:
    if invocation.output.json:
        invocation.output.document(asdict(report))
        return
    would = "would be " if report.dry_run else ""
    line = invocation.output.line
    line(f"{report.name}: {report.files} files, {format_size(report.bytes)} {would}in {quote_name(report.directory)}")
    line(f"  top hash  {report.top_hash}")
    counts = f"{report.fetched} added, {report.replaced} replaced, {report.removed} removed"
    modes = f", {report.modes} with another mode" if report.modes else ""
    line(f"  changed   {counts}{modes}" if report else "  changed   nothing")
    if not report.dry_run:
        line(f"  fetched   {format_size(report.bytes_fetched)} in {report.gets} requests")


def verify_directory(invocation: Invocation, handle: Handle, directory: str) -> None:
    """Hold a directory against a version, and end with exit code 1 where it differs."""
    output = invocation.output
    counts = {"missing": 0, "extra": 0, "modified": 0, "uncompared": 0}
    with Package(handle, invocation.settings()) as package, invocation.progress() as progress:
        found = package.directory_differences(directory, progress=progress)
        for each in at_most(found, every=False, fix="`penstock sync` mends them."):
            counts[each.state] += 1
            if output.json:
                output.record(asdict(each))
            else:
                output.line(f"{quote_name(os.path.join(directory, each.path))} {_TOLD[each.state]}")
    if not any(counts.values()):
        output.notice("the directory is what the version says")
        return
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    fix = f"penstock sync {handle} {quote_name(directory)} --delete"
    output.notice(f"{told}. This makes it what the version says: {fix}")
    raise click.exceptions.Exit(ExitCode.DIFFERS)
