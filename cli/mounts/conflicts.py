"""``penstock conflicts``: both sides of what was changed in a writable mount, and by others meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from penstock.api.handles import format_size
from penstock.api.mounts.conflicting_path import ConflictingPath, Pixels
from penstock.api.mounts.workspace import Workspace
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import COPY, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Painted
from penstock.cli.text import quote_name

__all__ = ["conflicts"]

_LINE_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(
    cls=Command,
    examples=("penstock conflicts /mnt/edit", "penstock conflicts --branch fixes", "penstock conflicts --json"),
)
@click.argument("directory", type=COPY, default=WHOLE)
@click.option("--branch", metavar="NAME", help="Compare with this branch (default: the mounted one).")
@pass_invocation
def conflicts(invocation: Invocation, directory: str, branch: str | None) -> None:
    """Show both sides of each path that you changed in the mount at DIRECTORY and others changed on the branch.

    It compares sizes, lines of text, rows of CSV and image sizes, and changes nothing. The exit code is 4 if there are
    conflicts. To resolve them, commit with --ours PATH (your side) or --theirs PATH.
    """
    output = invocation.output
    found = Workspace(directory, invocation.settings()).conflicts(branch=branch)
    for each in found.paths:
        if output.json:
            output.record(asdict(each))
            continue
        output.line(Painted(quote_name(each.path) if each.path else "the metadata of the version", "yellow"))
        for line in _sides(each, found.branch):
            output.line(line)
        for line in each.lines or ():
            colour = _LINE_COLOURS.get(line[:1])
            output.line("    ", Painted(line, colour) if colour else line)
    if not found.count:
        output.notice("no conflicts")
        return
    if (more := found.count - len(found.paths)) > 0:
        output.notice(f"and {more} more")
    output.notice(f"the other side as files: penstock mount {found.theirs} DIR; yours are in {directory}")
    output.notice(f"to settle them: penstock commit {directory} --ours PATH --theirs PATH, or without PATH all")
    output.notice(
        f"or line by line: penstock commit {directory} --branch mine, then "
        f"penstock merge {found.dataset}:mine --into {found.branch} --text"
    )
    raise click.exceptions.Exit(ExitCode.CONFLICT)


def _sides(each: ConflictingPath, branch: str) -> Iterator[str]:
    sides = (
        ("here", each.here, each.size_here, each.pixels_here),
        (branch, each.there, each.size_there, each.pixels_there),
    )
    for name, deed, size, pixels in sides:
        yield f"  {name:<8} {deed}{f', {format_size(size)}' if size is not None else ''}{_pixels(pixels)}"
    if each.rows is not None:
        yield f"  rows     {each.rows.here} only here, {each.rows.there} only on {branch}"


def _pixels(pixels: Pixels | None) -> str:
    return f", {pixels.width} x {pixels.height} pixels" if pixels is not None else ""
