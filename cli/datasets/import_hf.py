"""``penstock import-hf``: a data set of Hugging Face as a version."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.builder.hugging_face import import_hf as import_directory
from penstock.api.handles import Handle, dataset_alone, format_size
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk

__all__ = ["import_hf"]


@click.command(
    "import-hf",
    cls=Command,
    examples=(
        "penstock import-hf ./my-dataset demo/images",
        "penstock import-hf ~/.cache/huggingface/hub/datasets--org--name demo/name --tag v1",
        "penstock import-hf hf://datasets/org/name demo/name",
    ),
)
@click.argument("source", metavar="DIR|URL")
@click.argument("handle", type=HANDLE, metavar="BUCKET/DATASET[:BRANCH]")
@click.option("-t", "--tag", metavar="NAME", help="Tag the version.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the version.")
@click.option("--author", metavar="NAME", help="Author to record (default: as in git).")
@pass_invocation
def import_hf(
    invocation: Invocation, source: str, handle: Handle, tag: str | None, message: str, author: str | None
) -> None:
    """Import a Hugging Face dataset: a clone, a snapshot in the hub's cache, or the output of save_to_disk.

    The YAML header of README.md becomes metadata of the version; rows of metadata.csv, .jsonl and .parquet become
    metadata of the files that they name. Files are kept as they are. Of symbolic links that leave the directory, only a
    snapshot's links to its blobs are followed.
    """
    dataset_alone(handle)
    with invocation.progress() as progress:
        done = import_directory(
            source,
            handle,
            tag=tag,
            message=message,
            author=author,
            settings=invocation.settings(),
            progress=progress,
        )
    output = invocation.output
    tell_risk(output, done.risk)
    if output.json:
        output.document({**asdict(done), "risk": done.risk or None})
        return
    card = ", and a card" if done.has_card else ""
    output.line(f"{done.handle}: {done.files} files, {done.described} with metadata{card}")
    output.line(f"  top hash  {done.top_hash}")
    output.line(f"  commit    {done.commit}")
    output.line(f"  sent      {format_size(done.bytes_sent)}")
