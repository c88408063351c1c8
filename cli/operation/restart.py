"""``penstock restart``: mounts are served by the Penstock that is installed now."""

from __future__ import annotations

import click
import msgspec

from penstock.api.mounts.mounts import mounts, restart
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import PenstockError

__all__ = ["restart_"]


@click.command(
    "restart", cls=Command, examples=("penstock restart /mnt/photos", "penstock restart --all     # after an upgrade")
)
@click.argument("directories", nargs=-1, type=click.Path())
@click.option("-a", "--all", "every", is_flag=True, help="Restart all your mounts.")
@pass_invocation
def restart_(invocation: Invocation, directories: tuple[str, ...], every: bool) -> None:
    """Let the Penstock that is installed now take over mounts, without unmounting them.

    Programs that are reading wait for a moment; their open files stay open. A mount that is busy with a commit is left
    alone. The exit code is 1 if one of several mounts could not be restarted.
    """
    if every == bool(directories):
        raise click.UsageError("name mounts, or --all")
    output = invocation.output
    named = [info.mountpoint for info in mounts() if info.alive and not info.bind_of] if every else list(directories)
    failed = 0
    for directory in named:
        try:
            status = restart(directory)
        except PenstockError as error:
            if len(named) == 1:
                raise
            failed += 1
            output.notice(str(error))
            continue
        if output.json:
            output.record(msgspec.to_builtins(status))
        else:
            output.line(f"{status.mountpoint} is served by Penstock {status.program}, process {status.worker_pid}")
    if not named:
        output.notice("nothing is mounted")
    if failed:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
