"""``penstock ls``, ``info`` and ``cat``: look into a version without mounting it. Only what is shown is fetched."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice

import click

from penstock.api.handles import Handle, format_size
from penstock.api.packages.entry import Entry
from penstock.api.packages.package import Package
from penstock.api.packages.package_questions import MetadataFields
from penstock.api.storage.bucket import Bucket
from penstock.cli.command_classes import Command
from penstock.cli.here import HERE, VERSION, VERSION_OR_BUCKET
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import agreed, at_most
from penstock.cli.output import JsonValue
from penstock.cli.text import quote_name
from penstock.errors import AccessError

__all__ = ["cat", "entry_record", "info", "ls"]

_LETTERS = {"file": "-", "executable": "x", "directory": "d", "symlink": "l"}
_BATCH = 1000


def _whole(invocation: Invocation, handle: Handle) -> Package:
    """Return the version that a handle names; what is below it may be a file, which no package is."""
    return Package(Handle(handle.bucket, handle.dataset, handle.ref), invocation.settings())


@click.command(
    cls=Command,
    examples=(
        "penstock ls demo                              # the datasets in a bucket",
        "penstock ls demo/clipart:main/animals",
        "penstock ls -l --json demo/clipart:v1 --recursive --limit 1000",
    ),
)
@click.argument("handle", type=VERSION_OR_BUCKET, default=HERE)
@click.option("-l", "--long", is_flag=True, help="Show kind, size, time and hash; with --json, all fields.")
@click.option("-r", "--recursive", is_flag=True, help="Also list subdirectories.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N entries.")
@click.option("--all", "every", is_flag=True, help="List even more than 10,000,000 entries, without asking.")
@click.option("--after", metavar="NAME", help="Start after this name in the directory.")
@pass_invocation
def ls(
    invocation: Invocation,
    handle: Handle,
    long: bool,
    recursive: bool,
    limit: int | None,
    every: bool,
    after: str | None,
) -> None:
    """List a directory of a version, or the datasets of a bucket.

    Inside a mount, the default is the mounted version at the working directory; `:main~1` names another version of it.
    """
    output = invocation.output
    if handle.dataset is None:
        for name in Bucket(handle, invocation.settings()).datasets():
            if output.json:
                output.record({"dataset": name})
            else:
                output.line(name)
        return
    with _whole(invocation, handle) as package:
        top = package.entry(handle.subdir)
        if recursive and limit is None and not every:
            if not agreed(str(handle), top.entries, ask=not output.json):
                return
            every = sys.stdin.isatty() and sys.stdout.isatty()  # who was there to be asked has agreed
        listing = iter(package.ls(handle.subdir, recursive=recursive, limit=limit, after=after))
        listed = at_most(listing, every=every or limit is not None, fix="--all lists every one, --limit N so many.")
        # People see names relative to what was listed, but for a file that was named itself.
        cut = len(top.key) + 1 if top.key and top.is_directory() else 0
        if output.json:
            for entry in listed:
                output.record(entry_record(entry, long))
        elif long:
            while rows := [_row(entry, cut) for entry in islice(listed, _BATCH)]:
                output.table(rows, right=(1,))
        else:
            for entry in listed:
                output.line(_shown(entry, cut))


def _shown(entry: Entry, cut: int) -> str:
    return quote_name(entry.key[cut:]) + ("/" if entry.is_directory() else "")


def _row(entry: Entry, cut: int) -> tuple[str, ...]:
    shown = _shown(entry, cut)
    if entry.kind == "symlink":
        shown += f" -> {quote_name(entry.target)}"
    when = entry.modified
    stamp = dt.datetime.fromtimestamp(when, dt.UTC).strftime("%Y-%m-%d %H:%M") if when > 0 else "-"
    return _LETTERS[entry.kind], format_size(entry.size), stamp, entry.hash[:12], shown


def entry_record(entry: Entry, long: bool) -> dict[str, JsonValue]:
    """Return an entry as a line of JSON tells it; `long`: all of it."""
    kind = entry.kind
    record: dict[str, JsonValue] = {"logical_key": entry.key, "kind": kind, "size": entry.size}
    if kind == "directory":
        record["entries"] = entry.entries
    elif kind == "symlink":
        record["target"] = entry.target
    if long:
        record["hash"] = entry.hash
        record["metadata"] = entry.metadata
        record["physical_key"] = [
            {"uri": place.uri, "offset": place.offset, "length": place.length} for place in entry.physical_keys
        ]  # not by asdict, which takes as long as all the rest
        record["modified"] = entry.modified
    return record


@click.command(
    cls=Command,
    examples=(
        "penstock info demo/clipart",
        "penstock info demo/clipart:v1 --json",
        "penstock info demo/clipart:v1/animals --schema",
    ),
)
@click.argument("handle", type=VERSION, default=HERE)
@click.option("--schema", is_flag=True, help="Summarize the files' metadata fields: types, shares, values.")
@pass_invocation
def info(invocation: Invocation, handle: Handle, schema: bool) -> None:
    """Describe a version: its hashes, size, author and message, and the refs of the dataset.

    Inside a mount, the default is the mounted version; you can also name a path in it: `penstock info labels.csv`.

    With --schema, summarize the metadata of its files instead; this reads the metadata of each file.
    """
    with _whole(invocation, handle) as package:
        if schema:
            _tell_fields(invocation, package.metadata_fields(handle.subdir))
            return
        facts = asdict(package.info(handle.subdir))
    if invocation.output.json:
        invocation.output.document(facts)
        return
    del facts["path"]
    for name, value in facts.items():
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        elif isinstance(value, Mapping):
            value = ", ".join(f"{key} {text}" for key, text in value.items())
        if name == "bytes" and isinstance(value, int):
            value = f"{format_size(value)} ({value})"
        if value not in (None, "", {}):
            invocation.output.line(f"{name.replace('_', ' ') + ':':<14}{value}")


def _tell_fields(invocation: Invocation, found: MetadataFields) -> None:
    output = invocation.output
    if output.json:
        output.document(asdict(found))
        return
    output.line(f"{found.described} of {found.entries} files have metadata")
    rows = []
    for each in found.fields:
        values = ", ".join(json.dumps(value, ensure_ascii=False) for value, _ in (each.values or ())[:5])
        if each.values is not None and len(each.values) > 5:
            values += f" and {len(each.values) - 5} more"
        elif each.values is None and each.least is not None:
            values = f"{each.least} to {each.most}"
        rows.append((each.field, f"{each.share:.1%}", ", ".join(each.types), values))
    output.table(rows, right=(1,))
    if found.left_out:
        output.notice("there are more than a thousand fields: these are the first that were met")


@click.command(
    cls=Command,
    examples=("penstock cat demo/clipart:main/README", "penstock cat demo/clipart/data.csv | head"),
)
@click.argument("handles", type=VERSION, nargs=-1, required=True)
@pass_invocation
def cat(invocation: Invocation, handles: tuple[Handle, ...]) -> None:
    """Print the contents of files in a version, verified block by block."""
    invocation.output.finish()
    for handle in handles:
        with _whole(invocation, handle) as package:
            for block in package.blocks(handle.subdir):
                _write(block)


def _write(block: memoryview) -> None:
    out = sys.stdout.buffer
    try:
        out.write(block)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AccessError(
            "standard output cannot be written", why=error.strerror or str(error), fix="Look where it is sent."
        ) from error
