"""``penstock overlay``: what is whole in the changes of a writable mount, and a way out where they are damaged."""

from __future__ import annotations

import click

from penstock.api.mounts.workspace import Finding, Workspace
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation

__all__ = ["overlay"]


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    examples=("penstock overlay check /mnt/edit", "penstock overlay rescue /mnt/edit ./saved"),
)
@click.pass_context
def overlay(context: click.Context) -> None:
    """Check the uncommitted changes of writable mounts, or rescue them from a damaged disk."""
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
    """Check the checksums of all uncommitted changes in the mount at DIRECTORY.

    DIRECTORY is a mountpoint (mounted or not) or the directory of an overlay. Damage is listed by path; nothing is
    changed. The exit code is 5 if something is damaged.
    """
    output = invocation.output

    def tell(line: Finding) -> None:
        if not output.json:
            output.line(f"damaged  {line.path or 'the tables'}: {line.why}")

    report = Workspace(directory, invocation.settings()).check(tell)
    if output.json:
        damaged = [{"path": each.path, "why": each.why} for each in report.damaged]
        output.document(
            {"directory": report.directory, "records": report.records, "whole": not damaged, "damaged": damaged}
        )
    elif report.damaged:
        output.notice(f"what is whole can be taken out: penstock overlay rescue {directory} TO")
    else:
        output.line(f"{report.directory} is whole: {report.records} records, and the bytes of all changed files")
    if report.damaged:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


@overlay.command(
    cls=Command,
    examples=("penstock overlay rescue /mnt/edit ./saved    # once it is unmounted",),
)
@click.argument("directory", type=click.Path())
@click.argument("to", type=click.Path(file_okay=False))
@pass_invocation
def rescue(invocation: Invocation, directory: str, to: str) -> None:
    """Copy all undamaged changes of the unmounted DIRECTORY to TO, a new or empty directory.

    DIRECTORY is a mountpoint that is no longer mounted, or the directory of an overlay; it is not changed. Files keep
    their paths below TO; files whose path is lost go to TO/lost+found. Deleted files, and changes that could not be
    rescued, are listed. The exit code is 1 if something could not be rescued.
    """
    output = invocation.output

    def tell(line: Finding) -> None:
        if output.json:
            output.record(line._asdict())
        else:
            why = f": {line.why}" if line.why else ""
            output.line(f"{line.kind:<9}{line.path or 'the tables'}{why}")

    report = Workspace(directory, invocation.settings()).rescue(to, tell)
    left = f", {report.left} damaged or left where they are" if report.left else ""
    output.notice(f"{report.taken} taken out to {to}{left}")
    if report.left:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
