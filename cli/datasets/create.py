"""``penstock create``: make a dataset that has a description and an empty version."""

from __future__ import annotations

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.handles import Handle, dataset_alone
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk
from penstock.errors import UsageError

__all__ = ["create"]


@click.command(
    cls=Command,
    examples=(
        "penstock create demo/photos",
        'penstock create demo/photos --title "Photos" --description "Of all sites"',
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--title", default="", metavar="TEXT", help="Title, for people who search.")
@click.option("--description", default="", metavar="TEXT", help="Description.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@pass_invocation
def create(invocation: Invocation, handle: Handle, title: str, description: str, author: str | None) -> None:
    """Create a dataset with an empty first version.

    You do not need this before a push, which creates the dataset. Use it to describe a dataset, or to mount one that is
    still empty.
    """
    alone = dataset_alone(handle)
    if handle.ref is not None or handle.subdir:
        raise UsageError(
            f"cannot make {str(handle)!r}",
            why="a dataset begins as a whole, with its branch main",
            fix=f"Name the dataset alone: {alone}",
        )
    made = Dataset(alone, invocation.settings()).create(title=title, description=description, author=author)
    tell_risk(invocation.output, made.risk)
    if invocation.output.json:
        invocation.output.document({"handle": f"{alone}:main", "top_hash": made.top_hash, "commit": made.commit})
    else:
        invocation.output.line(f"{alone}:main is there, and empty")
        invocation.output.line(f"  top hash  {made.top_hash}")
