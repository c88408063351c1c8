"""``penstock log``: the versions that a version comes from, and the moves of a branch."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.versions import BranchMove, Revision, first_line
from penstock.api.handles import DEFAULT_BRANCH, Handle, dataset_alone, format_size
from penstock.cli.commands import Command
from penstock.cli.here import VERSION, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.versions import SHORT, message_lines, revision_json
from penstock.errors import UsageError

__all__ = ["log_"]


@click.command(
    "log",
    cls=Command,
    examples=(
        "penstock log demo/photos",
        "penstock log demo/photos:v1 2024/labels.csv -n 5",
        "penstock log demo/photos --oneline",
        "penstock log demo/photos --reflog             # where the branch has been, resets among it",
    ),
)
@click.argument("handle", type=VERSION, default=WHOLE)
@click.argument("path", default="")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Show N versions at the most.")
@click.option("--oneline", is_flag=True, help="One line a version.")
@click.option("--reflog", is_flag=True, help="Show the moves of the branch, not the versions.")
@pass_invocation
def log_(invocation: Invocation, handle: Handle, path: str, limit: int | None, oneline: bool, reflog: bool) -> None:
    """Show the versions that led to one, the newest first.

    With PATH, only those that changed what is there. A path in the handle means the same.
    """
    where = "/".join(filter(None, (handle.subdir, path)))
    output = invocation.output
    dataset = Dataset(dataset_alone(handle), invocation.settings())
    if reflog:
        if where.strip("/"):
            raise UsageError("--reflog with a path", why="a branch moves as a whole", fix="Leave one out.")
        for move in dataset.moves(handle.ref or DEFAULT_BRANCH, limit=limit):
            _write_move(output, move)
        return
    for number, revision in enumerate(dataset.log(handle.ref, where, limit=limit)):
        _write(output, revision, oneline=oneline, follows=number > 0)


def _write(output: Output, revision: Revision, *, oneline: bool, follows: bool) -> None:
    if output.json:
        output.record(revision_json(revision))
        return
    if oneline:
        output.line(f"{revision.commit[:SHORT]} {first_line(revision.message)}".rstrip())
        return
    if follows:
        output.line()
    output.line(f"commit {revision.commit}")
    if len(revision.parents) > 1:
        output.line(f"Merge:   {' '.join(parent[:SHORT] for parent in revision.parents)}")
    output.line(f"Author:  {revision.author}")
    output.line(f"Date:    {revision.time}")
    output.line(f"Content: {revision.top_hash[:SHORT]}, {revision.entries} entries, {format_size(revision.bytes)}")
    if revision.message.strip():
        output.line()
    for line in message_lines(revision.message):
        output.line(line)


def _write_move(output: Output, move: BranchMove) -> None:
    if output.json:
        output.record(asdict(move))
        return
    where = move.commit[:SHORT] if move.commit is not None else "-" * SHORT
    output.line(f"{where} {move.branch}#{move.number} {move.operation}, {move.time}, {move.author}")
