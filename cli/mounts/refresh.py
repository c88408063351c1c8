"""``penstock refresh``: a mount moves to what its handle names by now."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.mounts.workspace import Workspace
from penstock.cli.command_classes import Command
from penstock.cli.here import COPY, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation

__all__ = ["refresh_"]


@click.command(
    "refresh",
    cls=Command,
    examples=("penstock refresh /mnt/edit", "penstock refresh --rebase /mnt/edit"),
)
@click.argument("directory", type=COPY, default=WHOLE)
@click.option("--rebase", is_flag=True, help="Carry uncommitted changes over, unless others changed the same paths.")
@pass_invocation
def refresh_(invocation: Invocation, directory: str, rebase: bool) -> None:
    """Update the mount at DIRECTORY (default: the one you are in) to the newest version of its branch.

    Open files stay open; those that others changed show the new content. A mount never updates on its own. A mount with
    uncommitted changes is only updated with --rebase, and only if others changed none of the same paths.
    """
    report = Workspace(directory, invocation.settings()).refresh(rebase=rebase)
    if invocation.output.json:
        invocation.output.document(asdict(report))
    elif not report.moved:
        invocation.output.line(f"{report.handle} is where it was")
    else:
        invocation.output.line(f"{report.handle}: {report.changes} {'change' if report.changes == 1 else 'changes'}")
        invocation.output.line(f"  top hash  {report.top_hash}")
