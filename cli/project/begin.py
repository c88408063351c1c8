"""``penstock init``, ``penstock trust``: a repository becomes a project, and what somebody else's may do."""

from __future__ import annotations

import os
import shlex
import sys

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import UsageError
from penstock.project.hooks.dispatcher import install_part, remove_part
from penstock.project.hooks.following import FOLLOWING
from penstock.project.pointer_merge import install_driver, remove_driver
from penstock.project.project import find_project, init_project
from penstock.project.project_trust import forget_trust, read_trust, read_trust_of, trust_project, trust_source
from penstock.project.sources.git_source import open_source

__all__ = ["init", "trust"]


@click.command(
    cls=Command, examples=("penstock init", "penstock init --hooks        # data follows git checkout, reset, merge")
)
@click.argument("directory", required=False)
@click.option("--dataset", metavar="NAME", help="Name of the dataset in remotes (default: the folder's name).")
@click.option("--hooks/--no-hooks", default=None, help="Install or remove git hooks that keep data in step with git.")
@pass_invocation
def init(invocation: Invocation, directory: str | None, dataset: str | None, hooks: bool | None) -> None:
    """Turn this git repository into a project that tracks data by pointer files.

    This creates penstock.toml, which is shared with everybody who clones it, and .penstock/, which git ignores. A
    directory outside of a repository can be a project too, without branches and hooks. Nothing is sent anywhere.
    """
    if directory is not None and not os.path.isdir(directory):
        raise UsageError(
            f"there is no directory {directory!r}",
            why="init makes a git repository a project",
            fix=f"To make a dataset in a bucket: penstock create {directory}",
        )
    project, is_new = init_project(directory or os.curdir, dataset=dataset)
    if is_new:
        trust_project(project)
    if hooks:
        install_part(project, FOLLOWING)
        install_driver(project, f"{shlex.quote(sys.executable)} -P -m penstock")
    elif hooks is False:
        remove_part(project, FOLLOWING.name)
        remove_driver(project)
    if invocation.output.json:
        invocation.output.document({"project": project.root, "dataset": project.file.dataset, "new": is_new})
        return
    what = "is a project now" if is_new else "is a project already"
    invocation.output.line(f"{project.root} {what}: dataset {project.file.dataset}")
    if hooks:
        invocation.output.line("data follows git: checkout, switch, reset, merge, stash, rebase")
    if is_new:
        invocation.output.notice("next: penstock remote add -d NAME URL; penstock add PATH; git add penstock.toml")


@click.command(
    cls=Command,
    examples=(
        "penstock trust",
        "penstock trust --show",
        "penstock trust --forget",
        "penstock trust https://git.example/registry",
    ),
)
@click.argument("url", required=False)
@click.option("--show", is_flag=True, help="Only show what would be trusted.")
@click.option("--forget", is_flag=True, help="Revoke the trust.")
@pass_invocation
def trust(invocation: Invocation, url: str | None, show: bool, forget: bool) -> None:
    """Trust the project here: its current remotes, and the code of its stages and datasets.

    Before that, Penstock accesses the S3 remotes of a cloned project without credentials, does not read its local
    directories, and runs none of its code. If a remote changes later, it must be trusted again. With URL, trust the
    remotes of a git repository that you import data from; its code is never run.
    """
    if url is not None:
        _trust_source(invocation, url, show=show, forget=forget)
        return
    project = find_project()
    if forget:
        forget_trust(project)
    elif not show:
        trust_project(project)
    found = read_trust(project)
    remotes: list[dict[str, str | bool]] = [
        {"name": each.name, "url": each.url, "trusted": found.knows(each)} for each in project.file.remotes.values()
    ]
    if invocation.output.json:
        invocation.output.document(
            {"project": project.root, "repository": None, "runs": found.runs, "remotes": remotes}
        )
        return
    invocation.output.line(f"{project.root}: {'trusted' if found.runs else 'not trusted'}")
    for each in remotes:
        said = "with your credentials" if each["trusted"] else "not trusted as it stands"
        invocation.output.line(f"  remote {each['name']}  {each['url']}  {said}")


def _trust_source(invocation: Invocation, url: str, *, show: bool, forget: bool) -> None:
    with open_source(url) as source:
        if forget:
            trust_source(source.url, ())
        elif not show:
            trust_source(source.url, source.file.remotes.values())
        found = read_trust_of(source.url)
        remotes: list[dict[str, str | bool]] = [
            {"name": each.name, "url": each.url, "trusted": found.knows(each)} for each in source.file.remotes.values()
        ]
    if invocation.output.json:
        invocation.output.document({"project": None, "repository": source.url, "runs": False, "remotes": remotes})
        return
    for each in remotes:
        said = "with your credentials" if each["trusted"] else "not trusted"
        invocation.output.line(f"remote {each['name']}  {each['url']}  {said}")
