"""``penstock meta``: metadata of files, of directories and of the dataset itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from penstock.api.datasets.dataset import Dataset
from penstock.api.datasets.new_version import NewVersion
from penstock.api.handles import DEFAULT_BRANCH, Handle, dataset_alone, format_size
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command, LazyCommand, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.cli.versions import tell_risk
from penstock.errors import NotFoundError, UsageError

__all__ = ["meta", "meta_get", "meta_rm", "meta_set", "tell_new_version"]

_MOST_LINE = 4 << 20
_MESSAGE = click.option("-m", "--message", default="", metavar="TEXT", help="Describe the change.")
_TAG = click.option("--tag", metavar="NAME", help="Also tag the new version.")
_AUTHOR = click.option("--author", metavar="NAME", help="Author to record (default: as in git).")

meta = LazyGroup(
    "meta",
    lazy={
        "get": LazyCommand("datasets.meta:meta_get", "Print the metadata of a path."),
        "rm": LazyCommand("datasets.meta:meta_rm", "Remove metadata of a path."),
        "set": LazyCommand("datasets.meta:meta_set", "Set metadata of a path."),
    },
    help="Read and change metadata of files, directories and datasets. A change makes a new version and sends no data.",
    examples=(
        "penstock meta set demo/photos 2024/cat.jpg label=cat year=2024",
        "penstock meta get demo/photos 2024/cat.jpg",
        "penstock meta rm demo/photos 2024/cat.jpg year",
    ),
)


@click.command(
    "get",
    cls=Command,
    examples=("penstock meta get demo/photos:v1 2024/cat.jpg label", "penstock meta get demo/photos"),
)
@click.argument("handle", type=HANDLE)
@click.argument("path", default="")
@click.argument("keys", nargs=-1)
@pass_invocation
def meta_get(invocation: Invocation, handle: Handle, path: str, keys: tuple[str, ...]) -> None:
    """Print the metadata of PATH (default: of the dataset) as JSON; with KEYS, only their values, one per line.

    The output is JSON with and without --json.
    """
    with Package(Handle(handle.bucket, handle.dataset, handle.ref), invocation.settings()) as package:
        found = package.get_metadata(_joined(handle, path))
    if not keys:
        invocation.output.record(found)
    for key in keys:
        if key not in found:
            raise NotFoundError(
                f"{path or 'the dataset'} has no metadata {key!r}", fix=f"It has: {', '.join(sorted(found)) or 'none'}."
            )
        invocation.output.record(found[key])


@click.command(
    "set",
    cls=Command,
    examples=(
        "penstock meta set demo/photos 2024/cat.jpg label=cat 'box=[10, 20, 64, 64]'",
        "penstock meta set demo/photos / license=CC0 --tag v2",
        "penstock meta set demo/photos 2024 --file folder.json",
        "penstock meta set demo/photos --lines labels.jsonl -m labels",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("path", required=False)
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--file", "file", type=click.File("rb"), metavar="FILE", help="Replace all metadata by the JSON object in FILE."
)
@click.option(
    "--lines", type=click.File("rb"), metavar="FILE", help='Set many paths from JSON lines {"path": …, "metadata": …}.'
)
@_MESSAGE
@_TAG
@_AUTHOR
@pass_invocation
def meta_set(
    invocation: Invocation,
    handle: Handle,
    path: str | None,
    values: tuple[str, ...],
    file: Any,
    lines: Any,
    message: str,
    tag: str | None,
    author: str | None,
) -> None:
    """Set metadata of PATH, or of the dataset with PATH /, in a new version of the branch (default: main).

    VALUE is parsed as JSON if possible, and is text otherwise; `-` as FILE is standard input. Keys that you do not name
    are kept. --file and --lines replace all metadata of a path; --lines sets many paths in one version.
    """
    if (path is None) != (lines is not None) or (path is not None and bool(values) == (file is not None)):
        raise click.UsageError("give PATH and KEY=VALUE, or PATH and --file, or --lines")
    metas: dict[str, Mapping[str, Any]] = {}
    if lines is not None:
        for number, (found, value) in enumerate(map(_line, iter(lambda: lines.readline(_MOST_LINE), b"")), 1):
            if found in metas:
                raise UsageError(f"line {number} is about {found!r} again", fix="Say once what a path has.")
            metas[found] = value
    else:
        assert path is not None
        metas[_joined(handle, path)] = _object(file.read()) if file is not None else dict(map(_pair, values))
    with invocation.progress() as progress:
        made = _dataset(invocation, handle).set_meta_many(
            metas,
            update=bool(values),
            branch=handle.ref or DEFAULT_BRANCH,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )
    tell_new_version(invocation, made)


@click.command(
    "rm",
    cls=Command,
    examples=("penstock meta rm demo/photos 2024/cat.jpg label", "penstock meta rm demo/photos 2024/cat.jpg"),
)
@click.argument("handle", type=HANDLE)
@click.argument("path")
@click.argument("keys", nargs=-1)
@_MESSAGE
@_TAG
@_AUTHOR
@pass_invocation
def meta_rm(
    invocation: Invocation,
    handle: Handle,
    path: str,
    keys: tuple[str, ...],
    message: str,
    tag: str | None,
    author: str | None,
) -> None:
    """Remove KEYS, or all metadata, from PATH. PATH / is the dataset."""
    with invocation.progress() as progress:
        made = _dataset(invocation, handle).set_meta(
            _joined(handle, path),
            None,
            update=bool(keys),
            remove=keys,
            branch=handle.ref or DEFAULT_BRANCH,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )
    tell_new_version(invocation, made)


def _dataset(invocation: Invocation, handle: Handle) -> Dataset:
    return Dataset(dataset_alone(handle), invocation.settings())


def _joined(handle: Handle, path: str) -> str:
    return "/".join(filter(None, (handle.subdir, path.strip("/"))))


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("metadata that is not JSON", why=str(error)[:200]) from error
    if not isinstance(found, dict):
        raise UsageError("metadata must be a JSON object", why=f"it is a {type(found).__name__}")
    return found


def _line(line: bytes) -> tuple[str, Mapping[str, Any]]:
    if len(line) >= _MOST_LINE:
        raise UsageError("a line is too long", why=f"the most is {_MOST_LINE} bytes")
    row = _object(line)
    if row.keys() != {"path", "metadata"} or not isinstance(row["path"], str) or not isinstance(row["metadata"], dict):
        raise UsageError(
            "a line is malformed", why=line[:200].decode(errors="replace"), fix="path and metadata stand in it."
        )
    return row["path"].strip("/"), row["metadata"]


def tell_new_version(invocation: Invocation, made: NewVersion) -> None:
    """Print what came of making a version."""
    tell_risk(invocation.output, made.risk)
    if invocation.output.json:
        invocation.output.document({**asdict(made), "risk": made.risk or None})
        return
    line = invocation.output.line
    line(f"{made.handle}{f' and tag {made.tag}' if made.tag else ''}")
    line(f"  top hash  {made.top_hash}")
    line(f"  commit    {made.commit if made.changed else 'no change: the branch stays where it is'}")
    uploaded = "nothing" if not made.bytes_uploaded else format_size(made.bytes_uploaded)
    line(f"  uploaded  {uploaded} of data, {format_size(made.metadata_bytes_uploaded)} of metadata")
