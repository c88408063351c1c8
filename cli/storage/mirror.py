"""``penstock mirror``: a dataset, or all of a bucket, in another bucket as well."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.dataset_mirror import MirrorReport
from penstock.api.handles import Handle, bucket_for, dataset_alone, format_size, whole_version
from penstock.api.storage.bucket import Bucket
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk
from penstock.error_form import to_form
from penstock.errors import PenstockError, UsageError

__all__ = ["mirror"]


@click.command(
    cls=Command,
    examples=(
        "penstock mirror demo/photos backup",
        "penstock mirror demo/photos:main s3://far-away --watch",
        "penstock mirror --all demo backup",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("to", type=HANDLE, metavar="BUCKET2")
@click.option("--all", "every", is_flag=True, help="All datasets of the bucket that is named.")
@click.option("--watch", is_flag=True, help="Go on, and bring what is new as it comes, until interrupted.")
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(min=0.01),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch looks.",
)
@click.option("--bring", is_flag=True, help="Copy files that lie outside of the bucket into the mirror.")
@click.option("--deep", is_flag=True, help="Read what a server copies by itself, too, and hold it against its hash.")
@pass_invocation
def mirror(
    invocation: Invocation,
    handle: Handle,
    to: Handle,
    every: bool,
    watch: bool,
    seconds: float,
    bring: bool,
    deep: bool,
) -> None:
    """Bring versions, history, branches and tags to another bucket, with the same top hashes and commit ids.

    Run again, it brings what is new; where nothing is, it asks each bucket once. What was cut off goes on. A handle
    with a branch means that branch alone. The server copies where both buckets are its own. Each object is held
    against the hash that names it, or, where the server copies, against what it says of both.

    One way: a destination with a history of its own is refused (exit code 4), and nothing is changed.
    """
    settings, output = invocation.settings(), invocation.output
    if every:
        source, target = bucket_for(handle, None), bucket_for(to, None)
        if source is None or target is None or watch:
            raise UsageError(
                "--all is about two buckets, once", fix=f"penstock mirror --all {handle.bucket} {to.bucket}"
            )
        _mirror_all(invocation, Bucket(Handle(source), settings), Handle(target), bring=bring, deep=deep)
        return
    dataset = Dataset(dataset_alone(whole_version(handle)), settings)
    with invocation.progress() as progress:
        if not watch:
            report = dataset.mirror(to, branch=handle.ref, bring=bring, deep=deep, progress=progress)
            if output.json:
                output.document(asdict(report))
            else:
                _tell(output, report)
            return
        reports = dataset.follow_mirror(to, branch=handle.ref, bring=bring, deep=deep, every=seconds, progress=progress)
        for each in reports:
            _tell_one(output, each)
            output.finish()


def _mirror_all(invocation: Invocation, bucket: Bucket, to: Handle, *, bring: bool, deep: bool) -> None:
    output, failed = invocation.output, 0
    with invocation.progress() as progress:
        for name in bucket.datasets():
            try:
                report = bucket.dataset(name).mirror(to, bring=bring, deep=deep, progress=progress)
            except PenstockError as error:  # the others are mirrored all the same
                failed += 1
                output.failure(to_form(error))
                continue
            _tell_one(output, report)
    if failed:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell_one(output: Output, report: MirrorReport) -> None:
    if output.json:
        output.record(asdict(report))
    else:
        _tell(output, report)


def _tell(output: Output, report: MirrorReport) -> None:
    tell_risk(output, report.risk)
    if not report.changed:
        output.line(f"{report.to} has all of {report.dataset} already")
        return
    moved = [*report.branches, *(f"tag {tag}" for tag in report.tags)]
    shown = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
    output.line(f"{report.to} is as {report.dataset}: {shown or 'its description'}")
    by_server = f", {format_size(report.server_bytes)} of it by the server itself" if report.server_bytes else ""
    output.line(
        f"  {report.versions} versions, {report.objects} objects with {format_size(report.bytes)} brought{by_server}"
    )
    if report.brought:
        output.line(f"  {report.brought} files that lay elsewhere were copied")
    elif report.elsewhere:
        output.notice(
            f"{report.elsewhere} objects lie outside of the bucket and stay there: entries go on pointing to them "
            "(--bring copies them)"
        )
