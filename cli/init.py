"""``penstock init``: make a dataset that has a description and an empty version."""

from __future__ import annotations

import click

from penstock.errors import UsageError
from penstock.repo.bucket.authorship import default_author
from penstock.repo.bucket.repository import dataset_of
from penstock.repo.read.open_dataset import open_dataset
from penstock.repo.settings.handle import Handle
from penstock.repo.write.publish import Authorship, check_text, create_dataset

from .commands import Command
from .invocation import Invocation, pass_invocation
from .params import HANDLE
from .versions import tell_risk

__all__ = ["init"]


@click.command(
    cls=Command,
    examples=("penstock init demo/photos", 'penstock init demo/photos --title "Photos" --description "Of all sites"'),
)
@click.argument("handle", type=HANDLE)
@click.option("--title", default="", metavar="TEXT", help="Title, for people who look for it.")
@click.option("--description", default="", metavar="TEXT", help="What it is.")
@click.option("--author", metavar="NAME", help="Who made it; as git has it by default.")
@pass_invocation
def init(invocation: Invocation, handle: Handle, title: str, description: str, author: str | None) -> None:
    """Make a dataset, with an empty first version.

    Not needed before a push, which makes what is missing; of use to describe a dataset, or to mount one that is still
    to be filled.
    """
    dataset = dataset_of(handle)
    if handle.ref is not None or handle.subdir:
        raise UsageError(
            f"cannot make {str(handle)!r}",
            why="a dataset begins as a whole, with its branch main",
            fix=f"Name the dataset alone: {handle.bucket}/{dataset}",
        )
    authorship = Authorship(author or default_author(), "", "init")
    check_text("title", title)
    check_text("description", description)
    with open_dataset(handle, invocation.settings(), writes=True) as opened:
        published = create_dataset(opened.repository, title, description, authorship)
        tell_risk(invocation.output, opened.repository.refs.risk)
    if invocation.output.json:
        invocation.output.document(
            {
                "handle": f"{handle.bucket}/{dataset}:main",
                "top_hash": published.top_hash.hex(),
                "commit": published.commit.hex(),
            }
        )
    else:
        invocation.output.line(f"{handle.bucket}/{dataset}:main is there, and empty")
        invocation.output.line(f"  top hash  {published.top_hash.hex()}")
