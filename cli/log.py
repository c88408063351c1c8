"""``penstock log``: the versions that a version comes from, and the moves of a branch."""

from __future__ import annotations

from itertools import islice

import click

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import display_path, split_path
from penstock.repo.bucket.refs import Head
from penstock.repo.bucket.repository import DEFAULT_BRANCH
from penstock.repo.history.log import Logged, find_published, log, moves
from penstock.repo.read.open_dataset import open_dataset
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size

from .commands import Command
from .invocation import Invocation, pass_invocation
from .output import Output
from .params import HANDLE
from .versions import SHORT, commit_json, first_line, message_lines, name_of

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
@click.argument("handle", type=HANDLE)
@click.argument("path", default="")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Show N versions at the most.")
@click.option("--oneline", is_flag=True, help="One line a version.")
@click.option("--reflog", is_flag=True, help="Show the moves of the branch, not the versions.")
@pass_invocation
def log_(invocation: Invocation, handle: Handle, path: str, limit: int | None, oneline: bool, reflog: bool) -> None:
    """Show the versions that led to one, the newest first.

    With PATH, only those that changed what is there. A path in the handle means the same.
    """
    names = split_path(handle.subdir) + split_path(path)
    output = invocation.output
    with open_dataset(handle, invocation.settings()) as dataset:
        if reflog:
            if names:
                raise UsageError("--reflog with a path", why="a branch moves as a whole", fix="Leave one out.")
            for move in islice(moves(dataset.repository, handle.ref or DEFAULT_BRANCH), limit):
                _write_move(output, move)
            return
        start = find_published(dataset.repository, handle.ref)
        found = False
        for logged in islice(log(dataset.repository, dataset.load, start.commit, names), limit):
            _write(output, logged, oneline=oneline, follows=found)
            found = True
    if not found:
        raise NotFoundError(
            f"no version in the history of {name_of(handle)} has {display_path(names)!r}",
            fix="`penstock ls` shows what a version has.",
        )


def _write(output: Output, logged: Logged, *, oneline: bool, follows: bool) -> None:
    commit = logged.commit
    if output.json:
        output.record(commit_json(logged.commit_id, commit))
        return
    if oneline:
        output.line(f"{logged.commit_id.hex()[:SHORT]} {first_line(commit.message)}".rstrip())
        return
    if follows:
        output.line()
    output.line(f"commit {logged.commit_id.hex()}")
    if len(commit.parents) > 1:
        output.line(f"Merge:   {' '.join(parent[:SHORT] for parent in commit.parents)}")
    output.line(f"Author:  {commit.author}")
    output.line(f"Date:    {commit.time}")
    output.line(f"Content: {commit.top_hash[:SHORT]}, {commit.entries} entries, {format_size(commit.size)}")
    if commit.message.strip():
        output.line()
    for line in message_lines(commit.message):
        output.line(line)


def _write_move(output: Output, move: Head) -> None:
    record = move.record
    if output.json:
        output.record(
            {
                "branch": move.branch,
                "number": move.number,
                "operation": record.operation,
                "commit": record.commit,
                "top_hash": record.top_hash,
                "author": record.author,
                "time": record.time,
            }
        )
        return
    where = record.commit[:SHORT] if record.commit is not None else "-" * SHORT
    output.line(f"{where} {move.branch}#{move.number} {record.operation}, {record.time}, {record.author}")
