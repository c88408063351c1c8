"""``penstock policy``: how long versions of a dataset are kept."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset_retention import RetentionPlan
from penstock.api.datasets.versions import first_line
from penstock.api.handles import Handle
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.versions import SHORT, dataset_named, local_time
from penstock.errors import UsageError

__all__ = ["policy"]

_EVERYTHING = "everything for ever"


@click.command(
    cls=Command,
    examples=(
        "penstock policy demo/photos                                                    # what holds, and keeps",
        "penstock policy demo/photos --dry-run keep last 30 daily, 12 monthly, tags for ever",
        "penstock policy demo/photos keep last 30 daily, 12 monthly, tags for ever",
        "penstock policy demo/photos --remove",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("words", nargs=-1, metavar="[keep CLAUSE, ...]")
@click.option("--dry-run", is_flag=True, help="Tell what this policy would keep, and say nothing to the bucket.")
@click.option("--remove", is_flag=True, help="Keep everything for ever again.")
@click.option("--author", metavar="NAME", help="Who says it; as git has it by default.")
@pass_invocation
def policy(
    invocation: Invocation, handle: Handle, words: tuple[str, ...], dry_run: bool, remove: bool, author: str | None
) -> None:
    """Say how long versions are kept, or tell it, and what of the versions that there are stays.

    Clauses are joined by commas: last N; last N hourly, daily, weekly, monthly or yearly (the newest version of each);
    everything for N days; tags for ever. A version stays that any of them keeps, that a branch or tag stands at, that
    a run was trained on, that a mount shows, or that is younger than the grace period of `penstock gc`, which lets go
    of the others. Their commits stay in the log.
    """
    if handle.ref is not None:
        raise UsageError(f"{str(handle)!r} names a version", why="a policy is a dataset's", fix="Name the dataset.")
    if remove and (words or dry_run):
        raise UsageError("--remove goes alone")
    dataset, text = dataset_named(handle, invocation), " ".join(words)
    if remove or (text and not dry_run):
        plan = dataset.set_retention(text or _EVERYTHING, author=author)
    else:
        plan = dataset.retention(text or None)
    if invocation.output.json:
        invocation.output.document({**asdict(plan), "dry_run": dry_run})
    else:
        _tell(invocation.output, plan, dry_run=dry_run)


def _tell(output: Output, plan: RetentionPlan, *, dry_run: bool) -> None:
    output.line(f"keep {plan.policy.removeprefix('keep ')}" + ("" if plan.stated or dry_run else " (nothing was said)"))
    rows = [
        (each.commit[:SHORT], local_time(each.time), each.kept or "goes", first_line(each.message))
        for each in plan.versions
    ]
    output.table(rows, headers=("COMMIT", "TIME", "KEPT", ""))
    going = sum(each.kept is None for each in plan.versions)
    if going:
        output.notice(f"{going} of {len(plan.versions)} versions go when gc has found them twice; their commits stay")
