"""``penstock import-quilt``: a package that quilt3 wrote as a dataset."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.handles import DEFAULT_BRANCH, dataset_alone, format_size, parse_handle, whole_version
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.versions import tell_risk

__all__ = ["import_quilt"]


@click.command(
    "import-quilt",
    cls=Command,
    examples=(
        "penstock import-quilt s3://quilt-bucket team/images lab/images",
        "penstock import-quilt ./registry demo/images --require-versioned",
    ),
)
@click.argument("registry")
@click.argument("names", nargs=-1, required=True, metavar="[PACKAGE] BUCKET/DATASET[:BRANCH]")
@click.option("--require-versioned", is_flag=True, help="Refuse objects in buckets without versioning.")
@click.option("--identity", is_flag=True, help="Do not read S3 objects; pin them by version, or by size and ETag.")
@click.option("--author", metavar="NAME", help="Author to record (default: as in git).")
@pass_invocation
def import_quilt(
    invocation: Invocation,
    registry: str,
    names: tuple[str, ...],
    require_versioned: bool,
    identity: bool,
    author: str | None,
) -> None:
    """Import all revisions of a Quilt package in REGISTRY, with history, times, messages, metadata and tags.

    You can leave out the package if there is only one. Objects stay where they are; each is read once and checked
    against Quilt's hash, which is kept in its metadata. With --identity S3 objects are neither read nor checked: they
    are pinned by the version that Quilt names, or by size and ETag. Files on this machine are only read in folders that
    the settings trust ([trust] local). Run it again to add new revisions.
    """
    if not 1 <= len(names) <= 2:
        raise click.UsageError("give REGISTRY, a package, and the dataset")
    handle = whole_version(parse_handle(names[-1]))
    dataset = Dataset(dataset_alone(handle), invocation.settings())
    with invocation.progress() as progress:
        done = dataset.import_quilt(
            registry,
            names[0] if len(names) == 2 else None,
            branch=handle.ref or DEFAULT_BRANCH,
            require_versioned=require_versioned,
            identity=identity,
            author=author,
            progress=progress,
        )
    output = invocation.output
    tell_risk(output, done.risk)
    if done.unversioned:
        output.notice(
            f"{done.unversioned} entries lie in buckets that keep no versions: once overwritten, they cannot be read. "
            "--require-versioned refuses them"
        )
    if output.json:
        output.document({**asdict(done), "risk": done.risk or None})
        return
    output.line(f"{done.handle}: {done.added} revisions of {done.package}, {done.present} were there")
    output.line(f"  top hash  {done.top_hash}")
    output.line(f"  commit    {done.commit}")
    output.line(f"  read      {format_size(done.bytes_read)} in {done.entries} entries")
