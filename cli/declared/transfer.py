"""``git datasets push`` and ``pull``."""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import NotFoundError

from .opened import opened_repository

__all__ = ["pull", "push"]


@click.command(cls=Command, examples=("git datasets push", "git datasets push upstream"))
@click.argument("remote", default="origin")
@pass_invocation
def push(invocation: Invocation, remote: str) -> None:
    """Send the versions of HEAD and its history to the remotes of the datasets, and the notes to git's REMOTE.

    `git push` does this automatically.
    """
    from penstock.project.commits.git_texts import full_commit
    from penstock.project.commits.pushed_data import PushedRef, push_commits

    with opened_repository(invocation) as repository:
        head = repository.head()
        if head is None:
            raise NotFoundError("there is no commit yet", fix="git commit")
        branch = repository.project.branch()
        before = full_commit(repository.root, f"refs/remotes/{remote}/{branch}") if branch is not None else None
        lines = list(push_commits(repository, remote, [PushedRef(head, branch, before)]))
    _tell(invocation, lines or ["all of it is there already"])


@click.command(cls=Command, examples=("git datasets pull",))
@pass_invocation
def pull(invocation: Invocation) -> None:
    """Fetch missing files of HEAD's datasets, and link them into the data folders."""
    from penstock.project.commits.pushed_data import pull_files
    from penstock.project.commits.setup import write_setting
    from penstock.project.commits.work_tree import WorkTree, follow

    with opened_repository(invocation) as repository:
        head = repository.head()
        if head is None:
            raise NotFoundError("there is no commit yet", fix="git commit")
        follow(repository)
        lines = list(pull_files(repository, head))
        if repository.setting("folders") == "mount":
            write_setting(repository, "folders", "links")
        WorkTree(repository).show(head, look=True)
    _tell(invocation, lines)


def _tell(invocation: Invocation, lines: list[str]) -> None:
    for line in lines:
        if invocation.output.json:
            invocation.output.record({"told": line})
        else:
            invocation.output.line(line)
