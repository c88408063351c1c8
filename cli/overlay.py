"""``penstock overlay``: what is whole in the changes of a writable mount, and a way out where they are damaged."""

from __future__ import annotations

from collections import Counter

import click
import msgspec

from penstock.mountpoint.working_copy.overlay_check import rescue_overlay
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.inspection.inspection import Finding

from .commands import Command, LazyGroup
from .exits import ExitCode
from .invocation import Invocation, pass_invocation

__all__ = ["overlay"]


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    examples=("penstock overlay check /mnt/edit", "penstock overlay rescue /mnt/edit ./saved"),
)
@click.pass_context
def overlay(context: click.Context) -> None:
    """Look after what was changed in writable mounts: check, rescue."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@overlay.command(
    cls=Command,
    examples=(
        "penstock overlay check /mnt/edit",
        "penstock overlay check ~/overlays/edit --json    # one that --overlay-dir named",
    ),
)
@click.argument("directory", type=click.Path())
@pass_invocation
def check(invocation: Invocation, directory: str) -> None:
    """Check every record and every byte of what was changed in the mount at DIRECTORY, by their checksums.

    DIRECTORY is a mountpoint, also one that is unmounted, or the directory of an overlay. What is damaged is named,
    with its path. Nothing is changed. Exit code 5 when something is damaged.
    """
    output = invocation.output
    damaged: list[dict[str, str]] = []

    def tell(line: Finding) -> None:
        found = {"path": line.path, "why": line.why}
        damaged.append(found)
        if not output.json:
            output.line(f"damaged  {found['path'] or 'the tables'}: {found['why']}")

    report = open_working_copy(directory, invocation.settings()).check(tell)
    if output.json:
        output.document({**msgspec.structs.asdict(report), "whole": not damaged, "damaged": damaged})
    elif damaged:
        output.notice(f"what is whole can be taken out: penstock overlay rescue {directory} TO")
    else:
        output.line(f"{report.directory} is whole: {report.records} records, and the bytes of all changed files")
    if damaged:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


@overlay.command(
    cls=Command,
    examples=("penstock overlay rescue /mnt/edit ./saved    # once it is unmounted",),
)
@click.argument("directory", type=click.Path())
@click.argument("to", type=click.Path(file_okay=False))
@pass_invocation
def rescue(invocation: Invocation, directory: str, to: str) -> None:
    """Write what was changed in the mount at DIRECTORY, and is whole, to the directory TO, which is made or empty.

    DIRECTORY is a mountpoint where nothing is mounted any more, or the directory of an overlay, which stays as it is.
    Files lie below TO as they did in the mount; what has lost its place is in TO/lost+found. What could not be taken
    out is named, and what was deleted. Exit code 1 when something was left.
    """
    output = invocation.output
    counts: Counter[str] = Counter()

    def tell(line: Finding) -> None:
        counts[line.kind] += 1
        if output.json:
            output.record(line._asdict())
        else:
            why = f": {line.why}" if line.why else ""
            output.line(f"{line.kind:<9}{line.path or 'the tables'}{why}")

    rescue_overlay(directory, to, invocation.settings(), tell)
    left = counts["left"] + counts["damaged"]
    output.notice(f"{counts['taken']} taken out to {to}" + (f", {left} damaged or left where they are" if left else ""))
    if left:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
