"""``penstock commit``: what was changed in a writable mount becomes a version."""

from __future__ import annotations

from dataclasses import asdict
from typing import NoReturn

import click

from penstock.api.handles import format_size
from penstock.api.mounts.workspace import CommitResult, Workspace
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import COPY, WHOLE
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import side_options
from penstock.cli.versions import tell_risk

__all__ = ["commit_"]

_SHOWN = 20


@click.command(
    "commit",
    cls=Command,
    examples=(
        'penstock commit /mnt/edit -m "fix labels"',
        'penstock commit /mnt/edit -m "fix labels" --tag v2',
        "penstock commit /mnt/edit --branch fixes",
        "penstock commit /mnt/edit --dry-run",
    ),
)
@click.argument("directory", type=COPY, default=WHOLE)
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
@click.option("--branch", metavar="NAME", help="Commit to this branch (default: the mounted one).")
@click.option("--tag", metavar="NAME", help="Also tag the version.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@side_options
@click.option("--times/--no-times", default=None, help="Also record modification times of files with no other change.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and change nothing.")
@pass_invocation
def commit_(
    invocation: Invocation,
    directory: str,
    message: str,
    branch: str | None,
    tag: str | None,
    author: str | None,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    times: bool | None,
    dry_run: bool,
) -> None:
    """Commit the changes in the mount at DIRECTORY (default: the one you are in) as a new version.

    Only changed blocks are sent. The mount stays usable during the commit and then shows the new version; open files
    stay open. You can also commit the changes of a directory that is no longer mounted.

    If others have moved the branch in the meantime, their changes are merged in. If both sides changed the same path,
    that is a conflict: nothing is committed, and the paths are listed. --ours keeps your side, --theirs the other.

    Modification times are recorded for files that have other changes too, and with --times (or [commit] times = true
    in the settings) for all. Permission bits and attributes are kept. Named pipes and sockets are listed and skipped.
    """
    workspace = Workspace(directory, invocation.settings())
    with invocation.progress() as progress:
        report = workspace.commit(
            message,
            branch=branch,
            tag=tag,
            author=author,
            ours=ours,
            theirs=theirs,
            times=times,
            dry_run=dry_run,
            progress=progress,
        )
    tell_risk(invocation.output, report.risk)
    if report.conflict_count:
        _tell_conflicts(invocation, workspace, report, tag)
    for skipped in report.skipped[:_SHOWN]:
        invocation.output.notice(f"skipped {skipped.path}: a {skipped.what} is no file")
    if (more := len(report.skipped) - _SHOWN) > 0:
        invocation.output.notice(f"skipped {more} more")
    if report.times_dropped:
        invocation.output.notice(
            f"{report.times_dropped} modification times were set and nothing else changed: --times records such, too"
        )
    if invocation.output.json:
        invocation.output.document({**asdict(report), "tag": tag, "dry_run": dry_run})
        return
    line = invocation.output.line
    names = [f"branch {branch}"] * report.branched + [f"tag {tag}"] * report.tagged
    if names and not report.changed:
        line(f"nothing to commit; the version is {' and '.join(names)} now")
        line(f"  commit    {report.commit}")
        return
    if not report.changed:
        line("nothing to commit")
        return
    line(f"{report.handle}{f' and tag {tag}' if tag and not dry_run else ''}")
    line(f"  top hash  {report.top_hash}")
    line(f"  commit    {report.commit or 'none: nothing was sent'}")
    if report.merged_with:
        line(f"  merged    with {report.merged_with[:12]}, which landed meanwhile")
    line(f"  content   {report.files} changed files, {format_size(report.bytes)}")
    line(f"  uploaded  {_sent(report)}")


def _tell_conflicts(invocation: Invocation, workspace: Workspace, report: CommitResult, tag: str | None) -> NoReturn:
    """Tell what a dry run has found in the way of the commit, and end with the exit code that this would have."""
    output = invocation.output
    if output.json:
        output.document({**asdict(report), "tag": tag, "dry_run": True})
    for each in report.conflicts[:_SHOWN] if not output.json else ():
        output.line(f"{each.path or 'the metadata of the version'}: {each.here} here, {each.there} on {report.branch}")
    if (more := report.conflict_count - _SHOWN) > 0:
        output.notice(f"and {more} more")
    output.notice(f"the commit would be refused: penstock conflicts {workspace.directory} shows both sides")
    raise click.exceptions.Exit(ExitCode.CONFLICT)


def _sent(report: CommitResult) -> str:
    data = format_size(report.bytes_uploaded) if report.bytes_uploaded else "nothing"
    return f"{data} of data, {format_size(report.metadata_bytes_uploaded)} of metadata"
