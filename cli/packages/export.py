"""``penstock export``: the entries of a version as a table."""

from __future__ import annotations

import sys

import click

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.cli.text import quote_name

__all__ = ["export"]


@click.command(
    cls=Command,
    examples=("penstock export demo/photos:v1 --jsonl photos.jsonl", "penstock export demo/photos --parquet p.parquet"),
)
@click.argument("handle", type=HANDLE)
@click.option("--jsonl", type=click.Path(), metavar="FILE", help="Write JSON lines to FILE; - is standard output.")
@click.option("--parquet", type=click.Path(), metavar="FILE", help="Write a Parquet file (needs penstock[parquet]).")
@pass_invocation
def export(invocation: Invocation, handle: Handle, jsonl: str | None, parquet: str | None) -> None:
    """Write a table of all entries of a version: path, kind, size, hash, time, metadata and storage location."""
    if parquet == "-":
        raise click.UsageError("--parquet writes a file; --jsonl - writes to standard output")
    with Package(handle, invocation.settings()) as package:
        if jsonl == "-" and parquet is None:
            invocation.output.finish()
            package.export(jsonl=sys.stdout.buffer)
            return
        rows = package.export(jsonl=jsonl, parquet=parquet)
    path = jsonl or parquet or ""
    if invocation.output.json:
        invocation.output.document({"file": path, "rows": rows})
    else:
        invocation.output.line(f"{rows} rows in {quote_name(path)}")
