"""``penstock show``: one version: who made it, when, why, and what it changed."""

from __future__ import annotations

import click

from penstock.manifest.records import Commit
from penstock.repo.history.comparison import Contents, Tally, compare, differences, tally
from penstock.repo.history.log import find_published
from penstock.repo.read.open_dataset import OpenDataset, open_dataset
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size

from .commands import Command
from .invocation import Invocation, pass_invocation
from .listing import at_most
from .output import JsonValue
from .params import HANDLE
from .versions import (
    commit_json,
    difference_json,
    difference_line,
    message_lines,
    tally_json,
    tally_line,
    without_subdir,
)

__all__ = ["show"]

_MOST = 1_000_000
"""Paths that are listed: as JSON they are one document, and in memory."""


@click.command(
    cls=Command,
    examples=(
        "penstock show demo/photos",
        "penstock show demo/photos:v1 --stat          # every path that it changed",
        "penstock show demo/photos:4f2a9c1 --json",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--stat", is_flag=True, help="List what it changed, as `diff` does.")
@pass_invocation
def show(invocation: Invocation, handle: Handle, stat: bool) -> None:
    """Show one version, and how much it changed in its first parent."""
    output = invocation.output
    with open_dataset(without_subdir(handle), invocation.settings()) as dataset:
        found = find_published(dataset.repository, handle.ref)
        commit = dataset.repository.commit(found.commit)
        old, new = _sides(dataset, commit)
        counts = tally(old, new)
        fix = "`penstock diff A B` lists more."
        listed = at_most(differences(compare(old, new)), every=False, fix=fix, most=_MOST) if stat else iter(())
        if output.json:
            document: dict[str, JsonValue] = {
                **commit_json(found.commit, commit),
                "environment": dict(commit.environment),
                "changes": tally_json(counts),
            }
            if stat:
                document["paths"] = [difference_json(each) for each in listed]
            output.document(document)
            return
        for line in _lines(found.commit, commit, counts):
            output.line(line)
        if stat and counts.any:
            output.line()
        for each in listed:
            output.line(difference_line(each))


def _sides(dataset: OpenDataset, commit: Commit) -> tuple[Contents, Contents]:
    """Return what a commit's first parent had, and what it has itself."""
    repository = dataset.repository
    before = repository.commit(bytes.fromhex(commit.parents[0])) if commit.parents else None
    roots = [
        repository.manifest(bytes.fromhex(each.top_hash)).root if each is not None else None
        for each in (before, commit)
    ]
    return Contents(roots[0], dataset.load, dataset.load_many), Contents(roots[1], dataset.load, dataset.load_many)


def _lines(commit_id: bytes, commit: Commit, counts: Tally) -> list[str]:
    lines = [f"commit {commit_id.hex()}", f"Top hash:    {commit.top_hash}"]
    lines += [f"Parent:      {parent}" for parent in commit.parents]
    lines += [
        f"Author:      {commit.author}",
        f"Date:        {commit.time}",
        f"Content:     {commit.entries} entries, {format_size(commit.size)}",
        f"Changed:     {tally_line(counts)}",
        f"Environment: {', '.join(f'{name} {value}' for name, value in commit.environment.items())}",
    ]
    message = message_lines(commit.message)
    return [*lines, "", *message] if message else lines
