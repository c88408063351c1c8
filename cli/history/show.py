"""``penstock show``: one version: who made it, when, why, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from penstock.api.datasets.versions import Revision
from penstock.api.handles import Handle, format_size, whole_version
from penstock.api.packages.comparison import ChangeCounts
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.here import VERSION, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import at_most
from penstock.cli.output import JsonValue
from penstock.cli.versions import change_line, counts_line, local_time, message_lines, painted_change, revision_json

from .contents import content_options, tell_contents, wants_contents

__all__ = ["show"]

_MOST = 1_000_000
"""Paths that are listed: as JSON they are one document, and in memory."""


@click.command(
    cls=Command,
    examples=(
        "penstock show demo/photos",
        "penstock show demo/photos:v1 --stat          # every path that it changed",
        "penstock show demo/photos:4f2a9c1 --json",
        "penstock show demo/photos --rows --key image # rows of tables that it changed",
    ),
)
@click.argument("handle", type=VERSION, default=WHOLE)
@click.option("--stat", is_flag=True, help="List what it changed, as `diff` does.")
@content_options
@pass_invocation
def show(invocation: Invocation, /, handle: Handle, stat: bool, most: int, **contents: Any) -> None:
    """Show one version, and how much it changed in its first parent.

    --rows, --text and --images look into the files that it changed, as of `diff`.
    """
    output = invocation.output
    within = wants_contents(**contents)
    if within and output.json:
        raise click.UsageError("show answers with one document: penstock diff A~1 A --json has a line for each file")
    with Package(whole_version(handle), invocation.settings()) as package:
        revision = package.revision()
        changes = package.changes()
        counts = changes.counts() if stat else changes.estimate()
        fix = "`penstock diff A B` lists more."
        listed = at_most(changes.changes(), every=False, fix=fix, most=_MOST) if stat else iter(())
        if output.json:
            document: dict[str, JsonValue] = {
                **revision_json(revision),
                "environment": dict(revision.environment),
                "changes": asdict(counts),
            }
            if stat:
                document["paths"] = [asdict(each) for each in listed]
            output.document(document)
            return
        for line in _lines(revision, counts):
            output.line(line)
        if stat and counts:
            output.line()
        for each in listed:
            output.line(*painted_change(change_line(each)))
        if within:
            output.line()
            tell_contents(invocation, changes, most=most, **contents)


def _environment_lines(environment: Mapping[str, str]) -> list[str]:
    """Return what a version was made with: short facts in a line, what is a list below it."""
    short = [f"{name} {value}" for name, value in environment.items() if name != "packages"]
    lines = [f"Environment: {', '.join(short)}"]
    packages = environment.get("packages", "").splitlines()
    return [*lines, "Packages:", *(f"    {each}" for each in packages)] if packages else lines


def _lines(revision: Revision, counts: ChangeCounts) -> list[str]:
    lines = [f"commit {revision.commit}", f"Top hash:    {revision.top_hash}"]
    lines += [f"Parent:      {parent}" for parent in revision.parents]
    lines += [
        f"Author:      {revision.author}",
        f"Date:        {local_time(revision.time)}",
        f"Content:     {revision.entries} entries, {format_size(revision.bytes)}",
        f"Changed:     {counts_line(counts)}",
        *_environment_lines(revision.environment),
    ]
    message = message_lines(revision.message)
    return [*lines, "", *message] if message else lines
