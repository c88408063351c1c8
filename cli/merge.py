"""``penstock merge``: bring one line of history into a branch."""

from __future__ import annotations

import click

from penstock.errors import UsageError
from penstock.repo.bucket.repository import DEFAULT_BRANCH
from penstock.repo.history.branch_merge import BranchMerge, MergeOutcome, join
from penstock.repo.history.log import find_published
from penstock.repo.history.side_choice import choice
from penstock.repo.read.open_dataset import open_dataset
from penstock.repo.settings.handle import Handle

from .commands import Command
from .invocation import Invocation, pass_invocation
from .output import JsonValue
from .params import HANDLE
from .versions import SHORT, authorship, name_of, tell_risk, without_subdir

__all__ = ["merge", "side_options"]


def side_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options --ours and --theirs: each alone, or with a path, any number of times."""
    for side, what in (("--theirs", "what is brought in"), ("--ours", "what the branch has")):
        function = click.option(
            side,
            multiple=True,
            is_flag=False,
            flag_value="/",
            metavar="[PATH]",
            help=f"Settle conflicts (at PATH and below) with {what}.",
        )(function)
    return function


@click.command(
    cls=Command,
    examples=(
        "penstock merge demo/photos:fixes --into main",
        "penstock merge demo/photos:fixes --into main --dry-run",
        "penstock merge demo/photos:fixes --into main --theirs labels.csv --ours raw",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--into", "branch", default=DEFAULT_BRANCH, show_default=True, metavar="BRANCH", help="Branch to move.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Say what this merge is.")
@click.option("--author", metavar="NAME", help="Who made it; as git has it by default.")
@side_options
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
    dry_run: bool,
) -> None:
    """Merge the version that the handle names, with all that led to it, into a branch.

    Paths that only one side has changed since both were one are taken from that side. What both have changed is a
    conflict: exit code 4, the paths are named, and nothing has happened. --ours and --theirs settle conflicts, all of
    them or those at a PATH and below it.
    """
    handle = without_subdir(handle)
    if handle.ref is None:
        raise UsageError(
            f"{str(handle)!r} does not say what to merge", fix=f"Name a branch, tag or hash: {name_of(handle, 'REF')}"
        )
    choose = choice(ours, theirs)
    with open_dataset(handle, invocation.settings(), writes=not dry_run) as dataset:
        source = find_published(dataset.repository, handle.ref)
        who = authorship(author, message or f"Merge {handle.ref} into {branch}", "merge")
        load, load_many = dataset.load, dataset.load_many
        done = join(dataset.repository, load, branch, source.commit, who, choose, load_many, dry_run=dry_run)
        tell_risk(invocation.output, dataset.repository.refs.risk)
    output = invocation.output
    if output.json:
        output.document(_as_json(done, branch, source.commit, dry_run))
    else:
        output.line(_as_line(done, name_of(handle, branch), handle.ref, dry_run))


def _as_json(done: BranchMerge, branch: str, source: bytes, dry_run: bool) -> dict[str, JsonValue]:
    merged = done.merged
    return {
        "branch": branch,
        "source": source.hex(),
        "result": done.how.value,
        "base": done.base.hex() if done.base is not None else None,
        "commit": done.published.commit.hex() if done.published is not None else None,
        "top_hash": done.published.top_hash.hex() if done.published is not None else None,
        "from_ours": merged.ours if merged is not None else 0,
        "from_theirs": merged.theirs if merged is not None else 0,
        "same": merged.both if merged is not None else 0,
        "settled": merged.settled if merged is not None else 0,
        "dry_run": dry_run,
    }


def _as_line(done: BranchMerge, branch: str, source: str, dry_run: bool) -> str:
    where = done.published.commit.hex()[:SHORT] if done.published is not None else ""
    if done.how is MergeOutcome.NOTHING:
        return f"{branch} has all of {source} already"
    if done.how is MergeOutcome.FORWARD:
        return f"{branch} {'would move' if dry_run else 'has moved'} forward to {where}"
    merged = done.merged
    assert merged is not None  # a merge has counts
    counts = f"changes from {source}: {merged.theirs}, of its own: {merged.ours}"
    if merged.settled:
        counts += f", conflicts settled: {merged.settled}"
    return f"{branch} would be merged, {counts}" if dry_run else f"{branch} is at {where}, {counts}"
