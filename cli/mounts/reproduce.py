"""``penstock reproduce``: mount exactly what a run was on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.runs.reproduction import reproduce as mount_again
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import AccessError, AmbiguousError, NotFoundError

__all__ = ["reproduce"]

_MOST = 16 << 20


@click.command(
    cls=Command,
    examples=(
        "penstock reproduce penstock.json /mnt/run",
        "penstock reproduce demo/photos@4f2a9c1 /mnt/run     # a run of `penstock runs demo/photos`",
    ),
)
@click.argument("stamp")
@click.argument("directory", type=click.Path())
@pass_invocation
def reproduce(invocation: Invocation, stamp: str, directory: str) -> None:
    """Mount exactly what a stamp names at a directory, read-only; of several versions, each below it.

    STAMP is a file with what penstock.stamp() returned, as JSON (- is standard input), or DATASET@RUN, a run that was
    recorded. Versions are known by their hashes. If one of them is gone, nothing is mounted.
    """
    settings = invocation.settings()
    made = mount_again(_stamp(stamp, invocation), directory, settings=settings)
    output = invocation.output
    for each in made:
        if output.json:
            output.record({"mountpoint": each.mount.mountpoint, "handle": each.mount.handle, "opened": each.opened})
            continue
        output.line(f"{each.mount.handle} is at {each.mount.mountpoint}")
        for opened in each.opened:
            subset, order = opened["subset"], opened["order"]
            if subset is not None and (chosen := subset["filter"] or subset["function"]):
                output.line(f"  of it {subset['files']:,} files: {chosen}")
            if order is not None:
                output.line(f"  in the order of {', '.join(f'{name} {value}' for name, value in order.items())}")
            if opened["changed"]:
                output.notice(f"{opened['mountpoint']} had changes then that are in no version")


def _stamp(given: str, invocation: Invocation) -> Mapping[str, Any] | bytes:
    name, at, run = given.rpartition("@")
    if at and "/" in name and len(run) >= 7 and set(run) <= set("0123456789abcdef"):
        found = [each for each in Dataset(name, invocation.settings()).runs() if each.run.startswith(run)]
        if not found:
            raise NotFoundError(f"no run {run!r} on {name}", fix=f"`penstock runs {name}` lists them.")
        if len(found) > 1:
            raise AmbiguousError(f"{run!r} fits several runs", candidates=[each.run for each in found])
        return {"penstock": 1, "time": found[0].time, "opened": found[0].opened}
    try:
        if given == "-":
            return sys.stdin.buffer.read(_MOST + 1)
        with open(given, "rb") as file:
            return file.read(_MOST + 1)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no stamp {given!r}",
            why="no file is called so",
            fix="Name a file with what penstock.stamp() returned, or a run: DATASET@RUN.",
        ) from error
    except OSError as error:
        raise AccessError(f"cannot read the stamp {given!r}", why=error.strerror or str(error)) from error
