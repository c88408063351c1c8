"""``penstock branch`` and ``penstock tag``: names for versions, listed and made."""

from __future__ import annotations

import click

from penstock.errors import UsageError
from penstock.repo.bucket.repository import DEFAULT_BRANCH
from penstock.repo.history.branches import delete_branch, make_branch, make_tag, stands_at
from penstock.repo.history.log import branches, find_published, tags
from penstock.repo.read.open_dataset import OpenDataset, open_dataset
from penstock.repo.settings.handle import Handle

from .commands import Command
from .invocation import Invocation, pass_invocation
from .output import Output
from .params import HANDLE
from .text import quote_name
from .versions import SHORT, authorship, first_line, name_of, tell_risk, without_subdir

__all__ = ["branch", "tag"]

_AUTHOR = click.option("--author", metavar="NAME", help="Who does it; as git has it by default.")


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
@click.option("--force", is_flag=True, help="Delete main, even.")
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
    """List the branches of a dataset, make branch NAME at the version START, or delete it.

    START is a branch, tag, commit or top hash; by default what the handle names, main if it says nothing. A deleted
    branch is still in `penstock log --reflog`.
    """
    handle = without_subdir(handle)
    output = invocation.output
    if delete and (name is None or start is not None):
        raise UsageError("-d takes the name of one branch", fix="penstock branch HANDLE -d NAME")
    with open_dataset(handle, invocation.settings(), writes=name is not None) as dataset:
        repository = dataset.repository
        if name is None:
            _list_branches(dataset, output)
            return
        if delete:
            found = delete_branch(repository, name, authorship(author, "", "delete"), force=force)
            done = f"deleted branch {name} of {name_of(handle)}; it stood at {found.commit.hex()}"
        else:
            found = find_published(repository, start or handle.ref)
            make_branch(repository, name, found, authorship(author, "", "branch"))
            done = f"{name_of(handle, name)} is at {found.commit.hex()}"
        tell_risk(output, repository.refs.risk)
    if output.json:
        output.document(
            {"branch": name, "commit": found.commit.hex(), "top_hash": found.top_hash.hex(), "deleted": delete}
        )
    else:
        output.line(done)


def _list_branches(dataset: OpenDataset, output: Output) -> None:
    repository = dataset.repository
    found: list[dict[str, str]] = []
    for head in branches(repository):
        at = stands_at(head)
        message = first_line(repository.commit(at.commit).message)
        facts = {"commit": at.commit.hex(), "top_hash": at.top_hash.hex(), "time": head.record.time, "message": message}
        found.append({"branch": head.branch, **facts})
    if not found:
        repository.resolve(None)  # raises, and says what there is
    for each in found:
        if output.json:
            output.record(each)
    if not output.json:
        output.table(
            (quote_name(each["branch"]), each["commit"][:SHORT], each["time"], each["message"]) for each in found
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
@click.option("-d", "--delete", is_flag=True, help="Refused: tags are for ever.")
@_AUTHOR
@pass_invocation
def tag(invocation: Invocation, handle: Handle, name: str | None, delete: bool, author: str | None) -> None:
    """List the tags of a dataset, or give the version that the handle names the tag NAME.

    A tag never moves and is never deleted: what was published under a name stays what it was.
    """
    handle = without_subdir(handle)
    output = invocation.output
    if delete:
        raise UsageError(
            "tags cannot be deleted",
            why="a name that was given to a version stands for it for ever, so that whoever cites it can rely on it",
            fix="For names that come and go use penstock branch.",
        )
    with open_dataset(handle, invocation.settings(), writes=name is not None) as dataset:
        if name is None:
            _list_tags(dataset, output)
            return
        found = find_published(dataset.repository, handle.ref or DEFAULT_BRANCH)
        make_tag(dataset.repository, name, found, authorship(author, "", "tag"))
        tell_risk(output, dataset.repository.refs.risk)
    if output.json:
        output.document({"tag": name, "commit": found.commit.hex(), "top_hash": found.top_hash.hex()})
    else:
        output.line(f"{name_of(handle, name)} is {found.commit.hex()}")


def _list_tags(dataset: OpenDataset, output: Output) -> None:
    found = list(tags(dataset.repository))
    if not found and not dataset.repository.exists():
        dataset.repository.resolve(None)  # raises, and says what there is instead
    for name, record in found:
        if output.json:
            output.record({"tag": name, "commit": record.commit, "top_hash": record.top_hash, "time": record.time})
    if not output.json:
        output.table(
            (quote_name(name), (record.commit or "")[:SHORT], record.time, record.author) for name, record in found
        )
