"""``penstock merge-parts``, and what a push and a part of one say when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.dataset_parts import PartReport
from penstock.api.datasets.push import PushReport, SkippedFile
from penstock.api.handles import DEFAULT_BRANCH, Handle, format_size, whole_version
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk
from penstock.errors import UsageError

__all__ = ["PART", "merge_parts", "tell_part", "tell_push", "tell_skipped"]


class _PartType(click.ParamType[tuple[int, int]]):
    """``3/16``: the third of sixteen."""

    name = "part"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,  # noqa: ARG002  # click asks
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        number, slash, of = value.partition("/")
        if not (slash and number.isascii() and number.isdecimal() and of.isascii() and of.isdecimal()):
            raise UsageError(f"{value!r} is no part", fix="Write it as 3/16: the third of sixteen.")
        return int(number), int(of)


PART = _PartType()


@click.command(
    "merge-parts",
    cls=Command,
    examples=(
        'penstock merge-parts lab/photos --run "$JOB" -m "all of it"',
        "penstock merge-parts lab/photos:review --run 4711 --tag v1",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--run", required=True, metavar="NAME", help="Name that the parts were pushed with.")
@click.option("--drop-metadata", is_flag=True, help="Do not keep the metadata of the branch.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
@click.option("--tag", metavar="NAME", help="Also tag the version.")
@click.option("--author", metavar="NAME", help="Author of the version (default: as in git).")
@pass_invocation
def merge_parts(
    invocation: Invocation,
    handle: Handle,
    run: str,
    drop_metadata: bool,
    message: str,
    tag: str | None,
    author: str | None,
) -> None:
    """Publish the parts of a divided push as the next version of a dataset.

    The result is the version that a single `penstock push` of the directory would have made. If a part is missing, or
    was pushed with different options, it is named and nothing happens. Merging twice does no harm.
    """
    alone = Handle(whole_version(handle).bucket, handle.dataset)
    dataset = Dataset(alone, invocation.settings())
    with invocation.progress() as progress:
        report = dataset.merge_parts(
            run,
            branch=handle.ref or DEFAULT_BRANCH,
            tag=tag,
            message=message,
            author=author,
            drop_metadata=drop_metadata,
            progress=progress,
        )
    for note in report.notes:
        invocation.output.notice(note)
    tell_risk(invocation.output, report.risk)
    tell_push(invocation, report)


def tell_part(invocation: Invocation, part: PartReport, dataset: str) -> None:
    """Say what a part of a push has sent."""
    if invocation.output.json:
        invocation.output.document({**asdict(part), "risk": part.risk or None})
        return
    line = invocation.output.line
    uploaded = "nothing" if not part.bytes_uploaded else format_size(part.bytes_uploaded)
    line(f"part {part.number} of {part.of} of run {part.run}")
    line(f"  content   {part.files} files, {format_size(part.bytes)}")
    line(f"  uploaded  {uploaded} of data")
    line(f"  then      penstock merge-parts {dataset} --run {part.run}")


def tell_push(invocation: Invocation, report: PushReport) -> None:
    """Say what version a push has made."""
    if invocation.output.json:
        invocation.output.document({**asdict(report), "risk": report.risk or None})
        return
    line = invocation.output.line
    uploaded = "nothing" if not report.bytes_uploaded else format_size(report.bytes_uploaded)
    line(f"{report.handle}{f' and tag {report.tag}' if report.tag else ''}")
    line(f"  top hash  {report.top_hash}")
    line(f"  commit    {report.commit or 'no change: the branch stays where it is'}")
    line(f"  content   {report.files} files, {format_size(report.bytes)}")
    line(f"  uploaded  {uploaded} of data, {format_size(report.metadata_bytes_uploaded)} of metadata")


def tell_skipped(output: Output, skipped: Sequence[SkippedFile]) -> None:
    """Name what no version can hold."""
    for each in skipped[:20]:
        output.notice(f"skipped {each.path}: a {each.what} is no file")
    if len(skipped) > 20:
        output.notice(f"skipped {len(skipped) - 20} more")
