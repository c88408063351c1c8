"""``penstock refresh``: a mount moves to what its handle names by now."""

from __future__ import annotations

import click

from penstock.mountpoint.working_copy.commit import refresh

from .commands import Command
from .invocation import Invocation, pass_invocation

__all__ = ["refresh_"]


@click.command(
    "refresh",
    cls=Command,
    examples=("penstock refresh /mnt/edit", "penstock refresh --rebase /mnt/edit"),
)
@click.argument("directory", type=click.Path())
@click.option("--rebase", is_flag=True, help="Keep changes that nobody else made something of.")
@pass_invocation
def refresh_(invocation: Invocation, directory: str, rebase: bool) -> None:
    """Have the mount at DIRECTORY show the version that its branch is at now.

    Files that are open stay open; one that others changed shows what they made of it. A mount never moves by itself.
    With changes that are not committed it does not move, but for --rebase, and then only when others changed none of
    the same paths.
    """
    found = refresh(directory, rebase=rebase)
    if invocation.output.json:
        invocation.output.document(found)
    elif not found["moved"]:
        invocation.output.line(f"{found['handle']} is where it was")
    else:
        changes = found["changes"]
        invocation.output.line(f"{found['handle']}: {changes} {'change' if changes == 1 else 'changes'}")
        invocation.output.line(f"  top hash  {found['top_hash']}")
