"""``git datasets track``, ``untrack``, ``trust``, ``schema``, ``config``, ``doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation

from .opened import opened_repository, path_in

if TYPE_CHECKING:
    from penstock.project.declared.declared_source import DeclaredSource

__all__ = ["config", "doctor", "schema", "track", "trust", "untrack"]


@click.command(cls=Command, examples=("git datasets track index.py", "git commit index.py"))
@click.argument("file", type=click.Path())
@pass_invocation
def track(invocation: Invocation, file: str) -> None:
    """Build the datasets that FILE declares whenever it is committed.

    This installs git hooks beside existing ones, and ignores the data folders in git. Nothing is run yet.
    """
    from penstock.project.commits.setup import track as track_file

    with opened_repository(invocation) as repository:
        source = track_file(repository, path_in(repository, file))
    _tell_source(invocation, source)
    invocation.output.notice(f"tracked: git commit {file} makes its first version")


@click.command(cls=Command, examples=("git datasets untrack index.py",))
@click.argument("file", type=click.Path())
@pass_invocation
def untrack(invocation: Invocation, file: str) -> None:
    """Stop building the datasets of FILE, and remove its folders and database. Existing versions are kept."""
    from penstock.project.commits.setup import untrack as untrack_file

    with opened_repository(invocation) as repository:
        kept = untrack_file(repository, path_in(repository, file))
    if kept:
        invocation.output.notice(f"the versions that were made are kept in {kept}, and refs/notes/penstock names them")
    if invocation.output.json:
        invocation.output.document({"file": file, "kept": kept or None})


@click.command(cls=Command, examples=("git datasets trust",))
@pass_invocation
def trust(invocation: Invocation) -> None:
    """Trust this repository to run the code of its datasets, and keep their data in step with git.

    Do this once per clone. First read what it would run: git datasets schema.
    """
    from penstock.project.commits.setup import trust as trust_repository

    with opened_repository(invocation) as repository:
        files = trust_repository(repository)
    if invocation.output.json:
        invocation.output.document({"files": files})
    else:
        invocation.output.line(f"trusted: {', '.join(files) or 'no file is tracked yet'}")


@click.command(cls=Command, examples=("git datasets schema", "git datasets schema index.py"))
@click.argument("file", type=click.Path(), required=False)
@pass_invocation
def schema(invocation: Invocation, file: str | None) -> None:
    """Show the fields and methods that FILE, or each tracked file, declares. Nothing is run."""
    from penstock.project.commits.setup import read_file

    with opened_repository(invocation) as repository:
        paths = [path_in(repository, file)] if file else repository.require_tracked()
        sources = [read_file(repository, path) for path in paths]
    for source in sources:
        _tell_source(invocation, source)


def _declared(source: DeclaredSource) -> dict[str, Any]:
    return {
        "file": source.file,
        "datasets": [
            {
                "name": each.name,
                "class": each.table,
                "remote": each.remote,
                "title": each.title,
                "fields": {column.name: str(column.type) for column in each.columns},
                "methods": {method.name: str(method.role) for method in each.methods},
            }
            for each in source.declarations
        ],
    }


def _tell_source(invocation: Invocation, source: DeclaredSource) -> None:
    if invocation.output.json:
        invocation.output.record(_declared(source))
        return
    for each in source.declarations:
        title = f": {each.title}" if each.title else ""
        invocation.output.line(f"{source.file}:{each.line} {each.name}{title}, remote {each.remote or 'none'}")
        made = {method.name: method for method in each.methods}
        rows = []
        for column in each.columns:
            method = made.get(column.name)
            rows.append((f"  {column.name}", str(column.type), f"of {', '.join(method.inputs)}" if method else ""))
        rows += [(f"  {name}", str(method.role), "") for name, method in made.items() if each.column(name) is None]
        invocation.output.table(rows)


@click.command(cls=Command, examples=("git datasets config errors keep", "git datasets config folders mount"))
@click.argument("name", type=click.Choice(["errors", "executor", "folders"]))
@click.argument("value", required=False)
@pass_invocation
def config(invocation: Invocation, name: str, value: str | None) -> None:
    """Show or change the settings for building this repository's datasets.

    errors: `refuse` the commit if a field cannot be built (default), or `keep` the error in its place.

    executor: `processes` on this machine (default), or a Dask cluster, `dask://HOST:PORT`.

    folders: `links` to local files (default), or a `mount` that fetches files when they are read.
    """
    from penstock.project.commits.setup import write_setting
    from penstock.project.commits.work_tree import WorkTree

    with opened_repository(invocation) as repository:
        if value is not None:
            write_setting(repository, name, value)
            head = repository.head()
            if name == "folders" and head is not None:
                WorkTree(repository).show(head, look=True)
        found = repository.setting(name)
    if invocation.output.json:
        invocation.output.document({"name": name, "value": found})
    else:
        invocation.output.line(found)


@click.command(cls=Command, examples=("git datasets doctor",))
@pass_invocation
def doctor(invocation: Invocation) -> None:
    """Check hooks, trust, versions and folders of this repository's datasets. The exit code is 1 for problems."""
    from penstock.project.commits.setup import examine

    with opened_repository(invocation) as repository:
        findings = list(examine(repository))
    for each in findings:
        if invocation.output.json:
            invocation.output.record({"what": each.what, "ok": each.is_well, "fix": each.fix})
            continue
        invocation.output.line(f"{'ok     ' if each.is_well else 'warning'} {each.what}")
        if not each.is_well and each.fix:
            invocation.output.line(f"        fix: {each.fix}")
    if not all(each.is_well for each in findings):
        raise click.exceptions.Exit(ExitCode.DIFFERS)
