"""``penstock discard``: give up what was changed in a writable mount."""

from __future__ import annotations

import sys

import click
import msgspec

from penstock.api.mounts.workspace import Workspace
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import copy_and_paths
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import UsageError

__all__ = ["discard_"]


@click.command(
    "discard",
    cls=Command,
    examples=(
        "penstock discard /mnt/edit labels.csv 2024/06",
        "penstock discard labels.csv                   # in the mount that holds the working directory",
        "penstock discard /mnt/edit                    # everything; asks first",
        "penstock discard /mnt/edit --dry-run",
    ),
)
@click.argument("named", nargs=-1, metavar="[DIRECTORY] [PATH]...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before everything is given up.")
@click.option("--dry-run", is_flag=True, help="Tell what would be put back; change nothing.")
@pass_invocation
def discard_(invocation: Invocation, named: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Put paths in the mount at DIRECTORY back to the last commit, with all below them; by default everything.

    After DIRECTORY a PATH is one in the mount, as `penstock status` tells it; without it, as of the working directory.
    What was added is removed, what was deleted or changed is restored, and of what was renamed both ends are put back
    when either is named. What programs have open they can read on. Works on what was unmounted with changes in it as
    well. There is no way back from it.
    """
    directory, paths = copy_and_paths(invocation, named)
    if not paths and not yes and not dry_run and not _agreed(directory):
        invocation.output.notice("nothing was changed")
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    output = invocation.output
    lines = Workspace(directory, invocation.settings()).discard(paths, dry_run=dry_run)
    for line in lines:
        if output.json:
            output.record(msgspec.structs.asdict(line))
        else:
            output.line(f"{line.kind:<9}{line.path}{'/' if line.directory else ''}")
    if not lines:
        output.notice("No changes")
    elif dry_run:
        output.notice("nothing was changed: this was a dry run")


def _agreed(directory: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            f"everything that was changed in {directory} would be given up",
            why="there is no terminal to ask at",
            fix="Add --yes if that is what you want, or name the paths.",
        )
    return click.confirm(f"Give up everything that was changed in {directory}?", err=True)
