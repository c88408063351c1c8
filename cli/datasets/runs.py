"""``penstock runs``: what was trained on a dataset, a version of it, or on any version with a file."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import Handle, handle_text
from penstock.cli.command_classes import Command
from penstock.cli.here import VERSION, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Painted
from penstock.cli.versions import SHORT, dataset_named, local_time

__all__ = ["runs"]


@click.command(
    cls=Command,
    examples=(
        "penstock runs demo/photos",
        "penstock runs demo/photos:v1",
        "penstock runs demo/photos:v1 --file test/cat.jpg     # on any version that holds it",
    ),
)
@click.argument("handle", type=VERSION, default=WHOLE)
@click.option("--file", metavar="PATH", help="On any version that holds this file of the version named, wherever.")
@pass_invocation
def runs(invocation: Invocation, handle: Handle, file: str | None) -> None:
    """List the runs that were recorded on a dataset, or on one version of it; the newest first.

    A run is recorded by penstock.record_run in Python, or by a callback of penstock.callbacks. With --file, the runs on
    any version that holds the content of that file, under any name, within what the run had opened; "perhaps" where
    a function has chosen its files. penstock reproduce DATASET@RUN DIR mounts what it was on.
    """
    dataset = dataset_named(handle, invocation)
    output, count = invocation.output, 0
    for run in dataset.runs(handle.ref, file=file):
        count += 1
        if output.json:
            output.record(asdict(run))
            continue
        perhaps = " (perhaps)" if run.has_file == "perhaps" else ""
        output.line(Painted(run.run[:SHORT], "yellow"), f" {run.name or 'a run'}{perhaps}")
        output.line(f"  {local_time(run.time)}  {run.author}")
        for each in run.opened:
            output.line(f"  on {each['handle']}, top hash {each['top_hash'][:SHORT]}, by {each['by']}")
        for what, text in (("model", run.model), ("see", run.url)):
            if text:
                output.line(f"  {what} {text}")
    if not count:
        where = handle_text(handle, handle.ref) if handle.ref and file is None else str(dataset.name)
        output.notice(f"no run is recorded on {where}" + (f" with {file}" if file else ""))
