"""``git datasets push`` and ``pull``."""

from __future__ import annotations

import click

from penstock.cli.commands import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import NotFoundError

from .opened import opened_repository

__all__ = ["pull", "push"]


@click.command(cls=Command, examples=("git datasets push", "git datasets push upstream"))
@click.argument("remote", default="origin")
@pass_invocation
def push(invocation: Invocation, remote: str) -> None:
    """Send the versions of HEAD, and those before it, to the remotes of the datasets; then the notes to git's REMOTE.

    `git push` does it by itself.
    """
    from penstock.project.commits.pushed_data import push_commits

    with opened_repository(invocation) as repository:
        head = repository.head()
        if head is None:
            raise NotFoundError("there is no commit yet", fix="git commit")
        lines = list(push_commits(repository, remote, [head]))
    _tell(invocation, lines or ["all of it is there already"])


@click.command(cls=Command, examples=("git datasets pull",))
@pass_invocation
def pull(invocation: Invocation) -> None:
    """Fetch the files of HEAD's datasets that are not on this machine."""
    from penstock.project.commits.pushed_data import pull_files
    from penstock.project.commits.work_tree import WorkTree, follow

    with opened_repository(invocation) as repository:
        head = repository.head()
        if head is None:
            raise NotFoundError("there is no commit yet", fix="git commit")
        follow(repository)
        lines = list(pull_files(repository, head))
        WorkTree(repository).show(head, look=True)
    _tell(invocation, lines)


def _tell(invocation: Invocation, lines: list[str]) -> None:
    if invocation.output.json:
        invocation.output.document(lines)
    for line in lines if not invocation.output.json else ():
        invocation.output.line(line)
