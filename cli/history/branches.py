"""``penstock branch`` and ``penstock tag``: names for versions, listed and made."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.handles import Handle, handle_text
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.text import quote_name
from penstock.cli.versions import SHORT, dataset_named, local_time, tell_risk
from penstock.errors import UsageError

__all__ = ["branch", "tag"]

_AUTHOR = click.option("--author", metavar="NAME", help="Author to record (default: as in git).")


@click.command(
    cls=Command,
    examples=(
        "penstock branch demo/photos                   # list",
        "penstock branch demo/photos review            # where main stands",
        "penstock branch demo/photos fixes v1          # where tag v1 stands",
        "penstock branch demo/photos -d review",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("name", required=False)
@click.argument("start", required=False)
@click.option("-d", "--delete", is_flag=True, help="Delete the branch NAME; its versions stay.")
@click.option("--force", is_flag=True, help="Allow deleting main.")
@_AUTHOR
@pass_invocation
def branch(
    invocation: Invocation,
    handle: Handle,
    name: str | None,
    start: str | None,
    delete: bool,
    force: bool,
    author: str | None,
) -> None:
    """List the branches of a dataset, create the branch NAME at the version START, or delete it.

    START is a branch, tag, commit or top hash (default: the version that the handle names, or main). A deleted branch
    stays visible in `penstock log --reflog`.
    """
    output = invocation.output
    if delete and (name is None or start is not None):
        raise UsageError("-d takes the name of one branch", fix="penstock branch HANDLE -d NAME")
    dataset = dataset_named(handle, invocation)
    if name is None:
        _list_branches(dataset, output)
        return
    if delete:
        found = dataset.delete_branch(name, force=force, author=author)
        done = f"deleted branch {name} of {handle_text(handle)}; it stood at {found.commit}"
    else:
        found = dataset.branch(name, start or handle.ref, author=author)
        done = f"{handle_text(handle, name)} is at {found.commit}"
    tell_risk(output, found.risk)
    if output.json:
        facts = {"commit": found.commit, "top_hash": found.top_hash, "time": None, "message": None}
        output.record({"branch": name, **facts, "deleted": delete})
    else:
        output.line(done)


def _list_branches(dataset: Dataset, output: Output) -> None:
    found = dataset.branches()
    if output.json:
        for each in found:
            output.record({**asdict(each), "deleted": False})
    else:
        output.table(
            (quote_name(each.branch), each.commit[:SHORT], local_time(each.time), each.message) for each in found
        )


@click.command(
    cls=Command,
    examples=(
        "penstock tag demo/photos                      # list",
        "penstock tag demo/photos v2",
        "penstock tag demo/photos:4f2a9c1 before-cleanup",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("name", required=False)
@click.option("-d", "--delete", is_flag=True, help="Not possible: tags are permanent.")
@_AUTHOR
@pass_invocation
def tag(invocation: Invocation, handle: Handle, name: str | None, delete: bool, author: str | None) -> None:
    """List the tags of a dataset, or tag the version that the handle names as NAME.

    Tags are permanent: they cannot be moved or deleted, so that whoever cites one can rely on it.
    """
    output = invocation.output
    if delete:
        raise UsageError(
            "tags cannot be deleted",
            why="a name that was given to a version stands for it for ever, so that whoever cites it can rely on it",
            fix="For names that come and go use penstock branch.",
        )
    dataset = dataset_named(handle, invocation)
    if name is None:
        _list_tags(dataset, output)
        return
    found = dataset.tag(name, handle.ref, author=author)
    tell_risk(output, found.risk)
    if output.json:
        facts = {"commit": found.commit, "top_hash": found.top_hash, "time": None, "author": None}
        output.record({"tag": name, **facts})
    else:
        output.line(f"{handle_text(handle, name)} is {found.commit}")


def _list_tags(dataset: Dataset, output: Output) -> None:
    found = dataset.tags()
    if output.json:
        for each in found:
            output.record(asdict(each))
    else:
        output.table(
            (quote_name(each.tag), (each.commit or "")[:SHORT], local_time(each.time), each.author) for each in found
        )
