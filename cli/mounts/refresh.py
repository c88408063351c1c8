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
@click.option("--rebase", is_flag=True, help="Keep changes that nobody else made something of.")
@pass_invocation
def refresh_(invocation: Invocation, directory: str, rebase: bool) -> None:
    """Have the mount at DIRECTORY, by default the one here, show the version that its branch is at now.

    Files that are open stay open; one that others changed shows what they made of it. A mount never moves by itself.
    With changes that are not committed it does not move, but for --rebase, and then only when others changed none of
    the same paths.
    """
    report = Workspace(directory, invocation.settings()).refresh(rebase=rebase)
    if invocation.output.json:
        invocation.output.document(asdict(report))
    elif not report.moved:
        invocation.output.line(f"{report.handle} is where it was")
    else:
        invocation.output.line(f"{report.handle}: {report.changes} {'change' if report.changes == 1 else 'changes'}")
        invocation.output.line(f"  top hash  {report.top_hash}")
