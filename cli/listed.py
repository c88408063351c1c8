"""``penstock list``: the datasets of a bucket, or what a git repository's project offers; what is named decides.

A bucket is the name of a remote, or ``s3://name``; all else is a repository.
"""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation

__all__ = ["list_"]


@click.command(
    "list",
    cls=Command,
    examples=(
        "penstock list demo --title 'Validation%' --sort -edited",
        "penstock list https://git.example/registry",
        "penstock list ../registry --rev v1",
    ),
)
@click.argument("source", metavar="BUCKET|GIT_URL")
@click.option("--rev", metavar="REV", help="For a repository: the branch, tag or commit to look at (default: HEAD).")
@click.option(
    "--title",
    metavar="PATTERN",
    help="For a bucket: only titles that match; % stands for any text, _ for one character.",
)
@click.option("--description", metavar="PATTERN", help="For a bucket: only descriptions that match.")
@click.option("--created-before", metavar="TIME", help="For a bucket: only datasets created before TIME.")
@click.option("--created-after", metavar="TIME", help="For a bucket: only datasets created after TIME.")
@click.option("--edited-before", metavar="TIME", help="For a bucket: only datasets last edited before TIME.")
@click.option(
    "--edited-after",
    metavar="TIME",
    help="For a bucket: only datasets last edited after TIME, such as 2026-11-30 or 2026-11-30T14:05.",
)
@click.option(
    "--sort",
    default="title",
    show_default=True,
    metavar="FIELD",
    help="Sort by title, created, edited or size; -FIELD reverses the order.",
)
@pass_invocation
def list_(
    invocation: Invocation,
    source: str,
    rev: str | None,
    title: str | None,
    description: str | None,
    created_before: str | None,
    created_after: str | None,
    edited_before: str | None,
    edited_after: str | None,
    sort: str,
) -> None:
    """List the datasets of a bucket, or the data that a git repository's project tracks, without cloning it."""
    if source in invocation.settings().remotes or source.startswith("s3://"):
        from penstock.cli.catalogue.datasets import list_datasets

        times = (created_before, created_after, edited_before, edited_after)
        list_datasets(invocation, source, title, description, times, sort)
    else:
        from penstock.cli.project.imports import list_project

        list_project(invocation, source, rev)
