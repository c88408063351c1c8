"""``penstock merge``: bring one line of history into a branch."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.versions import MergeReport
from penstock.api.handles import DEFAULT_BRANCH, Handle, handle_text
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE, side_options
from penstock.cli.text import quote_name
from penstock.cli.versions import SHORT, dataset_named, tell_risk
from penstock.errors import UsageError

__all__ = ["merge"]


@click.command(
    cls=Command,
    examples=(
        "penstock merge demo/photos:fixes --into main",
        "penstock merge demo/photos:fixes --into main --dry-run",
        "penstock merge demo/photos:fixes --into main --theirs labels.csv --ours raw",
        "penstock merge demo/photos:fixes --into main --text",
        "penstock merge demo/photos:fixes --into main --rows image    # tables, by the column image",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--into", "branch", default=DEFAULT_BRANCH, show_default=True, metavar="BRANCH", help="Branch to merge into."
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the merge.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@side_options
@click.option("--rows", metavar="KEY", help="Join tables row by row, known by these columns: a,b.")
@click.option("--text", is_flag=True, help="Join lines of text that both have changed, as git does it.")
@click.option("--dry-run", is_flag=True, help="Tell what would come of it; change nothing.")
@pass_invocation
def merge(
    invocation: Invocation,
    handle: Handle,
    branch: str,
    message: str,
    author: str | None,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    rows: str | None,
    text: bool,
    dry_run: bool,
) -> None:
    """Merge the version that the handle names, with its history, into a branch.

    Paths that only one side has changed since both were one are taken from that side. What both have changed is a
    conflict: exit code 4, the paths are named, and nothing has happened. --ours and --theirs settle conflicts, all of
    them or those at a PATH and below it; --text joins what both have changed in files of text, unless it is the same
    lines; --rows joins tables (CSV, TSV, JSON lines) by a key, unless it is the same row, which is named then.
    """
    dataset = dataset_named(handle, invocation)
    if handle.ref is None:
        raise UsageError(
            f"{str(handle)!r} does not say what to merge",
            fix=f"Name a branch, tag or hash: {handle_text(handle, 'REF')}",
        )
    with invocation.progress() as progress:
        done = dataset.merge(
            handle.ref,
            into=branch,
            message=message,
            ours=ours,
            theirs=theirs,
            author=author,
            text=text,
            rows=tuple(filter(None, (rows or "").split(","))),
            dry_run=dry_run,
            progress=progress,
        )
    output = invocation.output
    tell_risk(output, done.risk)
    if output.json:
        told = asdict(done)
        del told["risk"]
        output.document({**told, "dry_run": dry_run})
    else:
        output.line(_as_line(done, handle_text(handle, branch), handle.ref, dry_run))


def _as_line(done: MergeReport, branch: str, source: str, dry_run: bool) -> str:
    where = (done.commit or "")[:SHORT]
    if done.result == "up to date":
        return f"{branch} has all of {source} already"
    if done.result == "fast-forward":
        return f"{branch} {'would move' if dry_run else 'has moved'} forward to {where}"
    counts = f"changes from {source}: {done.from_theirs}, of its own: {done.from_ours}"
    if done.joined:
        counts += f", joined: {', '.join(map(quote_name, done.joined[:5]))}"
        counts += f" and {len(done.joined) - 5} more" if len(done.joined) > 5 else ""
    if done.settled:
        counts += f", conflicts settled: {done.settled}"
    return f"{branch} would be merged, {counts}" if dry_run else f"{branch} is at {where}, {counts}"
