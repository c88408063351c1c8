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
@click.option("-y", "--yes", is_flag=True, help="Do not ask before discarding everything.")
@click.option("--dry-run", is_flag=True, help="Show what would be discarded, and change nothing.")
@pass_invocation
def discard_(invocation: Invocation, named: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Reset paths in the mount at DIRECTORY to the last commit, including everything below them (default: all paths).

    If you name DIRECTORY, each PATH is relative to it, as `penstock status` prints it; otherwise it is relative to the
    working directory. Added files are removed; deleted and changed ones are restored. Naming either end of a rename
    undoes the rename. Programs can keep reading files that they have open. This also works on changes that are not
    mounted. It cannot be undone.
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
            f"all changes in {directory} would be discarded",
            why="there is no terminal to ask at",
            fix="Add --yes if that is what you want, or name the paths.",
        )
    return click.confirm(f"Discard all changes in {directory}?", err=True)
