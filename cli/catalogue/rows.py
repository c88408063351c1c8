"""``penstock rows``, ``penstock index`` and ``penstock upload``: the data rows of a dataset."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from penstock.api.handles import Handle
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.errors import UsageError

from .meant_dataset import opened_dataset

if TYPE_CHECKING:
    from penstock.catalogue.client import Dataset
    from penstock.catalogue.orm.dataset import DataRow

__all__ = ["index", "rows", "upload"]


@click.command(
    cls=Command, examples=("penstock rows demo/photos", "penstock rows demo/photos --type video --sort -duration")
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--type", "kind", type=click.Choice(["image", "video", "img_group", "dicom"]), help="Only rows of this type."
)
@click.option("--title", metavar="PATTERN", help="Only titles that match; % stands for any text, _ for one character.")
@click.option(
    "--sort", default="path", show_default=True, metavar="FIELD", help="Sort by FIELD; -FIELD reverses the order."
)
@click.option(
    "-n", "--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="List at most N rows."
)
@click.option(
    "--delete", "deleted", multiple=True, metavar="HASH", help="Delete this row, in a new version; can be repeated."
)
@pass_invocation
def rows(
    invocation: Invocation,
    handle: Handle,
    kind: str | None,
    title: str | None,
    sort: str,
    limit: int,
    deleted: tuple[str, ...],
) -> None:
    """List the data rows of a dataset: images, videos, image groups, DICOM series.

    `penstock index` creates rows for pushed files. `penstock revert` brings deleted rows back.
    """
    with opened_dataset(invocation, handle) as dataset:
        from penstock.catalogue.orm.dataset import DataType
        from penstock.catalogue.rows.row_index import RowFilter

        if deleted:
            _delete(invocation, dataset, deleted)
            return
        page = dataset.rows(RowFilter(DataType(kind) if kind else None, title), sort=sort, limit=limit)
    _show(invocation, page.rows)
    if len(page.rows) < page.total:
        invocation.output.notice(f"{len(page.rows)} of {page.total}")


def _delete(invocation: Invocation, dataset: Dataset, deleted: tuple[str, ...]) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gone = dataset.delete_data(deleted)
    for each in said:
        invocation.output.notice(str(each.message))
    if invocation.output.json:
        invocation.output.document({"deleted": gone})
    else:
        invocation.output.line(f"{len(gone)} rows deleted")


def _show(invocation: Invocation, found: tuple[DataRow, ...]) -> None:
    output = invocation.output
    if output.json:
        for row in found:
            output.record(msgspec.to_builtins(row))
        return
    table = [
        (
            row.uid,
            row.data_type.value,
            f"{row.width}x{row.height}" if row.width else "",
            f"{row.duration:.2f} s" if row.duration is not None else "",
            str(row.frames) if row.frames is not None else "",
            row.title,
        )
        for row in found
    ]
    output.table(table, headers=("data hash", "type", "pixels", "duration", "frames", "title"), right={3, 4})


@click.command(cls=Command, examples=("penstock index demo/photos", "penstock index demo/films --exact"))
@click.argument("handle", type=HANDLE)
@click.option("--exact", is_flag=True, help="Decode videos to count their frames, instead of trusting headers.")
@pass_invocation
def index(invocation: Invocation, handle: Handle, exact: bool) -> None:
    """Create data rows for the images, videos and DICOM files of a dataset, in a new version.

    Of each file at most 2 MiB are fetched. Behind a server (https://host/bucket/dataset) the server does it.
    """
    with opened_dataset(invocation, handle) as dataset, invocation.progress() as progress:
        done = dataset.index(exact=exact, progress=progress)
    if invocation.output.json:
        invocation.output.document(msgspec.to_builtins(done))
    else:
        invocation.output.line(f"{done.added} new rows, {len(done.unknown)} files that are none")


@click.command(
    cls=Command,
    examples=(
        "penstock upload demo/films clip.mp4",
        "penstock upload demo/scans a.png b.png --group --title scan",
        "penstock upload demo/films ./folder",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--group", is_flag=True, help="Images, as one ordered group for each resolution.")
@click.option("--dicom", is_flag=True, help="DICOM files, one row for each series.")
@click.option("--plain", is_flag=True, help="Files as they are, and no rows of them.")
@click.option("--title", default="", metavar="TEXT", help="Of one file, or of the group.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why, with --plain.")
@click.option("--folder", default="", metavar="PATH", help="Where in the dataset.")
@pass_invocation
def upload(
    invocation: Invocation,
    handle: Handle,
    files: tuple[Path, ...],
    group: bool,
    dicom: bool,
    plain: bool,
    title: str,
    message: str,
    folder: str,
) -> None:
    """Upload videos and images to a dataset as data rows, in a bucket or, with PENSTOCK_KEY, to a server.

    A directory is added whole, in one version: its images, videos and DICOM files become rows, all else stays files.
    What was cut off goes on where it ended when it is called again.
    """
    above = f"{folder.strip('/')}/" if folder.strip("/") else ""
    if (group or dicom or plain) and any(path.is_dir() for path in files):
        raise UsageError("a directory is no single file", fix="Name its files, or leave the option out.")
    with opened_dataset(invocation, handle) as dataset, invocation.progress() as progress:
        if plain:
            top_hash = dataset.commit(
                {f"{above}{path.name}": path for path in files}, message=message, progress=progress
            )
            if invocation.output.json:
                invocation.output.document({"top_hash": top_hash})
            else:
                invocation.output.line(top_hash)
            return
        if group:
            made = dataset.create_image_group(files, title=title, folder=folder, progress=progress)
        elif dicom:
            made = dataset.create_dicom_series(files, title=title, folder=folder, progress=progress)
        else:
            made = []
            for path in files:
                if path.is_dir():
                    made += dataset.upload_folder(path, folder=folder, progress=progress)
                else:
                    made.append(dataset.upload_file(path, title=title, folder=folder, progress=progress))
    _show(invocation, tuple(made))
