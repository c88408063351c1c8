"""``git datasets status``, ``log``, ``checkout``."""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import NotFoundError

from .opened import opened_repository

__all__ = ["checkout", "log_", "status"]


@click.command(cls=Command, examples=("git datasets status",))
@pass_invocation
def status(invocation: Invocation) -> None:
    """Show the data of HEAD, what a commit of the staged changes would do, and edits in the data folders.

    Nothing is run. The exit code is 1 if there is something to do.
    """
    from penstock.project.commits.dataset_survey import survey

    with opened_repository(invocation) as repository:
        found = survey(repository)
    if invocation.output.json:
        invocation.output.document(found.document())
    else:
        for line in found.lines():
            invocation.output.line(line)
    if not found.is_clean:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


@click.command("log", cls=Command, examples=("git datasets log", "git datasets log -n 5"))
@click.option("-n", "count", type=int, default=20, help="Show at most N commits.")
@pass_invocation
def log_(invocation: Invocation, count: int) -> None:
    """Show the commits that changed data, with the version and the number of records of each dataset."""
    from penstock.project.commits.dataset_survey import commits_with_versions

    with opened_repository(invocation) as repository:
        repository.require_tracked()
        for each in commits_with_versions(repository, count):
            if invocation.output.json:
                invocation.output.record(
                    {
                        "commit": each.commit,
                        "subject": each.subject,
                        "dataset": each.dataset,
                        "top_hash": each.top_hash,
                        "records": each.records,
                    }
                )
            else:
                records = f"{each.records} records" if each.records is not None else "not here"
                invocation.output.line(
                    f"{each.commit[:12]} {each.dataset} {each.top_hash[:12]} {records}  {each.subject}"
                )


@click.command(cls=Command, examples=("git datasets checkout", "git datasets checkout --ours"))
@click.argument("records", nargs=-1)
@click.option(
    "--ours", "side", flag_value="ours", help="In a merge, keep HEAD's side of RECORDS (ids), or of all records."
)
@click.option("--theirs", "side", flag_value="theirs", help="In a merge, take the other side.")
@pass_invocation
def checkout(invocation: Invocation, records: tuple[str, ...], side: str | None) -> None:
    """Update folders and databases to the data of HEAD.

    In a merge, --ours or --theirs resolves records that both sides changed: RECORDS, or all. Then commit.
    """
    from penstock.project.commits.commit_versions import CommitVersions
    from penstock.project.commits.work_tree import WorkTree

    if records and side is None:
        raise click.UsageError("records are named with --ours or --theirs")
    with opened_repository(invocation) as repository:
        if side is not None:
            repository.choose("ours" if side == "ours" else "theirs", records)
            if invocation.output.json:
                invocation.output.document({"made": 0, "removed": 0, "kept": [], "absent": 0})
            return
        head = repository.head()
        if head is None:
            raise NotFoundError("there is no commit yet", fix="git commit")
        CommitVersions(repository).settle(head)
        report = WorkTree(repository).show(head, look=True)
    if invocation.output.json:
        invocation.output.document(
            {"made": report.made, "removed": report.removed, "kept": list(report.kept), "absent": report.absent}
        )
    else:
        invocation.output.line(f"{report.made} links made, {report.removed} removed")
