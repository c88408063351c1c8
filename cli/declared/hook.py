"""``git datasets hook``: what git's hooks call, after sh has seen that there is something to do."""

from __future__ import annotations

import sys

import click

from penstock.cli.commands import Command
from penstock.cli.invocation import Invocation, pass_invocation

from .making import tell_results
from .opened import opened_repository

__all__ = ["hook"]


@click.command(cls=Command, hidden=True)
@click.argument("name", type=click.Choice(["before", "after", "rewrite", "push"]))
@click.argument("rest", nargs=-1)
@pass_invocation
def hook(invocation: Invocation, name: str, rest: tuple[str, ...]) -> None:
    """Do what belongs to a hook. Git's own output stays as it is: all that is said goes to standard error."""
    from penstock.project.commits.commit_versions import CommitVersions
    from penstock.project.commits.work_tree import follow

    with opened_repository(invocation) as repository:
        if name == "before":
            for line in tell_results(CommitVersions(repository).prepare()):
                invocation.output.notice(line)
        elif name == "after":
            follow(repository)
        elif name == "rewrite":
            pairs = [line.split()[:2] for line in sys.stdin if line.strip()]
            amended = rest[:1] == ("amend",)
            CommitVersions(repository).rewritten([(each[0], each[1]) for each in pairs], amended=amended)
            follow(repository)
        else:
            _push(invocation, repository, rest[0] if rest else "origin")


def _push(invocation: Invocation, repository: object, remote: str) -> None:
    from penstock.project.commits.declared_repository import DeclaredRepository
    from penstock.project.commits.pushed_data import push_commits

    assert isinstance(repository, DeclaredRepository)
    tips = [each[1] for line in sys.stdin if len(each := line.split()) == 4]
    for line in push_commits(repository, remote, [each for each in tips if set(each) != {"0"}]):
        invocation.output.notice(line)
