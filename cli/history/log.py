"""``penstock log``: the versions that a version comes from, and the moves of a branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.versions import BranchMove, Revision, first_line
from penstock.api.handles import DEFAULT_BRANCH, Handle, dataset_alone, format_size
from penstock.cli.command_classes import Command
from penstock.cli.here import VERSION, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output, Painted
from penstock.cli.versions import SHORT, local_time, message_lines, revision_json
from penstock.errors import UsageError

from .log_graph import LogGraph

__all__ = ["log_"]

_MOST_REFS = 1000
"""Branches and tags that are looked up: each costs a request."""


@click.command(
    "log",
    cls=Command,
    examples=(
        "penstock log demo/photos",
        "penstock log demo/photos:v1 2024/labels.csv -n 5",
        "penstock log demo/photos --oneline --graph",
        "penstock log demo/photos --reflog             # where the branch has been, resets among it",
    ),
)
@click.argument("handle", type=VERSION, default=WHOLE)
@click.argument("path", default="")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N versions.")
@click.option("--oneline", is_flag=True, help="Print one line per version.")
@click.option("--graph", is_flag=True, help="Draw the history as a graph.")
@click.option("--reflog", is_flag=True, help="Show how the branch moved, instead of versions.")
@pass_invocation
def log_(
    invocation: Invocation,
    handle: Handle,
    path: str,
    limit: int | None,
    oneline: bool,
    graph: bool,
    reflog: bool,
) -> None:
    """Show the history of a version, newest first, with the branches and tags that point to each version.

    With PATH (or a path in the handle), only versions that changed it are shown. Times are in the local time zone, in
    JSON in UTC. Inside a mount, the default is the mounted version.
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
    if graph and where.strip("/"):
        raise UsageError("--graph with a path", why="it draws all that led to a version", fix="Leave one out.")
    refs: dict[str, list[str]] | None = None
    drawing = LogGraph() if graph and not output.json else None
    for number, revision in enumerate(dataset.log(handle.ref, where, limit=limit)):
        if refs is None:
            refs = dataset.names_by_commit(most=_MOST_REFS)
        names = refs.get(revision.commit, [])
        if output.json:
            output.record({**revision_json(revision), "refs": names})
            continue
        lines = list(_one_line(revision, names) if oneline else _lines(revision, names, follows=number > 0))
        _write(output, lines, revision, drawing)


_Line = tuple[str | Painted, ...]


def _write(output: Output, lines: list[_Line], revision: Revision, drawing: LogGraph | None) -> None:
    if drawing is None:
        for line in lines:
            output.line(*line)
        return
    if not lines[0]:  # what sets it apart from the one before
        output.line(drawing.beside().rstrip())
        lines = lines[1:]
    before, star = drawing.begin(revision.commit, revision.parents)
    for text in before:
        output.line(text)
    output.line(star, " ", *lines[0])
    for line in lines[1:]:
        output.line(drawing.beside(), " ", *line)


def _one_line(revision: Revision, names: list[str]) -> Iterator[_Line]:
    shown = f" {first_line(revision.message)}".rstrip()
    yield Painted(revision.commit[:SHORT], "yellow"), *_names(names), shown


def _lines(revision: Revision, names: list[str], *, follows: bool) -> Iterator[_Line]:
    if follows:
        yield ()
    yield Painted(f"commit {revision.commit}", "yellow"), *_names(names)
    if len(revision.parents) > 1:
        yield (f"Merge:   {' '.join(parent[:SHORT] for parent in revision.parents)}",)
    yield (f"Author:  {revision.author}",)
    yield (f"Date:    {local_time(revision.time)}",)
    yield (f"Content: {revision.top_hash[:SHORT]}, {revision.entries} entries, {format_size(revision.bytes)}",)
    if revision.message.strip():
        yield ("",)
    for line in message_lines(revision.message):
        yield (line,)


def _names(names: list[str]) -> _Line:
    return (" (", Painted(", ".join(names), "green"), ")") if names else ()


def _write_move(output: Output, move: BranchMove) -> None:
    if output.json:
        output.record(asdict(move))
        return
    where = move.commit[:SHORT] if move.commit is not None else "-" * SHORT
    when = local_time(move.time)
    output.line(Painted(where, "yellow"), f" {move.branch}#{move.number} {move.operation}, {when}, {move.author}")
