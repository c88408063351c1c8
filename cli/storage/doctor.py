"""``penstock doctor``: what this machine and a bucket let Penstock do, what the rest costs, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import Handle
from penstock.api.storage.doctor import Check
from penstock.api.storage.doctor import doctor as checks_of
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

__all__ = ["doctor"]


@click.command(
    cls=Command,
    examples=(
        "penstock doctor",
        "penstock doctor lab/photos",
        "penstock doctor --write lab      # may it be pushed to?",
    ),
)
@click.argument("handle", type=HANDLE, required=False)
@click.option(
    "--write", is_flag=True, help="Also test writing, with objects below .penstock/probe/ that are deleted again."
)
@pass_invocation
def doctor(invocation: Invocation, handle: Handle | None, write: bool) -> None:
    """Check whether this machine and, with HANDLE, a bucket work well with Penstock.

    Each problem is listed with its consequences and a fix. The exit code is 1 if there are problems.
    """
    if write and handle is None:
        raise click.UsageError("--write needs a bucket to write to.")
    checks = []
    for check in checks_of(handle, write=write, settings=invocation.settings()):
        checks.append(check)
        if invocation.output.json:
            invocation.output.record(asdict(check))
        else:
            _tell(invocation, check)
    good = all(check.state != "warning" for check in checks)
    if not good:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell(invocation: Invocation, check: Check) -> None:
    line = invocation.output.line
    line(f"{check.state:<8} {check.name + ':':<19} {check.found}")
    if check.costs:
        line(f"         costs: {check.costs}")
    if check.fix:
        line(f"         fix:   {check.fix}")
