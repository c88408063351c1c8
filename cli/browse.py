"""``penstock ls``, ``info`` and ``cat``: look into a version without mounting it. Only what is shown is fetched."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice

import click

from penstock.errors import AccessError, UsageError
from penstock.manifest.entry import Entry, Kind, display_path, split_path
from penstock.repo.bucket.repository import Repository, datasets_in
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size

from .commands import Command
from .invocation import Invocation, pass_invocation
from .listing import agreed, at_most
from .output import JsonValue
from .params import HANDLE
from .text import quote_name

__all__ = ["cat", "info", "ls"]

_KINDS = {Kind.FILE: "file", Kind.EXECUTABLE: "executable", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}
_LETTERS = {Kind.FILE: "-", Kind.EXECUTABLE: "x", Kind.DIRECTORY: "d", Kind.SYMLINK: "l"}
_BATCH = 1000


def _open(invocation: Invocation, handle: Handle) -> tuple[Snapshot, str]:
    """Open the version that a handle names; the path in it is returned, and may be that of a file."""
    whole = Handle(handle.bucket, handle.dataset, handle.ref)
    return open_snapshot(str(whole), invocation.settings()), handle.subdir


@click.command(
    cls=Command,
    examples=(
        "penstock ls demo                              # the datasets in a bucket",
        "penstock ls demo/clipart:main/animals",
        "penstock ls -l --json demo/clipart:v1 --recursive --limit 1000",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("-l", "--long", is_flag=True, help="Show kind, size, time and hash; with --json, everything.")
@click.option("-r", "--recursive", is_flag=True, help="Go into directories, too.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show N entries at the most.")
@click.option("--all", "every", is_flag=True, help="List more than 10,000,000 entries, too, and do not ask.")
@click.option("--after", metavar="NAME", help="Begin behind this name of the directory.")
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
    """List a directory of a version, or the datasets of a bucket."""
    if handle.dataset is None:
        with closing(invocation.settings().open_bucket(handle.bucket)) as store:
            for name in datasets_in(store):
                if invocation.output.json:
                    invocation.output.record({"dataset": name})
                else:
                    invocation.output.line(name)
        return
    snapshot, path = _open(invocation, handle)
    with closing(snapshot):
        if recursive and limit is None and not every:
            if not agreed(str(handle), snapshot.find(path).entries, ask=not invocation.output.json):
                return
            every = sys.stdin.isatty() and sys.stdout.isatty()  # who was there to be asked has agreed
        listing = islice(_listing(snapshot, path, recursive, after), limit)
        listed = at_most(listing, every=every or limit is not None, fix="--all lists every one, --limit N so many.")
        if invocation.output.json:
            above = split_path(path)
            for names, entry in listed:
                invocation.output.record(_as_json(snapshot, (*above, *names), entry, long))
        elif long:
            while rows := [_row(_shown(path, names), entry) for names, entry in islice(listed, _BATCH)]:
                invocation.output.table(rows, right=(1,))
        else:
            for names, entry in listed:
                key = _shown(path, names)
                invocation.output.line(quote_name(key) + ("/" if entry.kind is Kind.DIRECTORY else ""))


def _shown(path: str, names: tuple[bytes, ...]) -> str:
    """Return a name as people see it: relative to what was listed, but for a file that was named itself."""
    return display_path(names) if names else path.strip("/")


def _listing(
    snapshot: Snapshot, path: str, recursive: bool, after: str | None
) -> Iterator[tuple[tuple[bytes, ...], Entry]]:
    """Yield what is to be listed, with its names below `path`: none for the file that `path` may be itself."""
    entry = snapshot.find(path)
    if entry.directory is None:
        yield (), entry
        return
    tree = snapshot.tree
    if recursive:
        if after is not None:
            raise UsageError("--after with --recursive", why="it names an entry of one directory", fix="Leave one out.")
        yield from tree.walk(entry.directory)
        return
    behind = split_path(after)[-1:] if after is not None else ()
    for _, below in tree.children(entry.directory, after=behind[0] if behind else None):
        yield (below.name,), below


def _time(entry: Entry) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(entry.mtime_ns / 1e9, dt.UTC) if entry.mtime_ns > 0 else None


def _row(key: str, entry: Entry) -> tuple[str, ...]:
    when = _time(entry)
    shown = quote_name(key) + ("/" if entry.kind is Kind.DIRECTORY else "")
    if entry.kind is Kind.SYMLINK:
        shown += f" -> {quote_name(entry.target.decode('utf-8', 'surrogateescape'))}"
    stamp = when.strftime("%Y-%m-%d %H:%M") if when else "-"
    return _LETTERS[entry.kind], format_size(entry.size), stamp, entry.hash.hex()[:12], shown


def _as_json(snapshot: Snapshot, names: tuple[bytes, ...], entry: Entry, long: bool) -> dict[str, JsonValue]:
    key = display_path(names)
    record: dict[str, JsonValue] = {"logical_key": key, "kind": _KINDS[entry.kind], "size": entry.size}
    if entry.kind is Kind.DIRECTORY:
        record["entries"] = entry.entries
    if entry.kind is Kind.SYMLINK:
        record["target"] = entry.target.decode("utf-8", "surrogateescape")
    if long:
        record["hash"] = entry.hash.hex()
        record["metadata"] = json.loads(entry.metadata) if entry.metadata else {}
        record["physical_key"] = snapshot.physical(entry)
        record["modified"] = entry.mtime_ns / 1_000_000_000  # by an integer: rounded once
    return record


@click.command(
    cls=Command,
    examples=("penstock info demo/clipart", "penstock info demo/clipart:v1 --json"),
)
@click.argument("handle", type=HANDLE)
@pass_invocation
def info(invocation: Invocation, handle: Handle) -> None:
    """Tell what a version is: its hashes, size, author and message, and the refs of the dataset."""
    snapshot, path = _open(invocation, handle)
    with closing(snapshot):
        facts = _facts(snapshot, snapshot.find(path))
    if invocation.output.json:
        invocation.output.document({"path": path, **facts})
        return
    for name, value in facts.items():
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        elif isinstance(value, Mapping):
            value = ", ".join(f"{key} {text}" for key, text in value.items())
        if name == "bytes" and isinstance(value, int):
            value = f"{format_size(value)} ({value})"
        if value not in (None, "", {}):
            invocation.output.line(f"{name.replace('_', ' ') + ':':<14}{value}")


def _facts(snapshot: Snapshot, entry: Entry) -> dict[str, JsonValue]:
    repository: Repository = snapshot.repository
    refs = repository.refs
    commit = snapshot.commit()
    try:
        described = refs.info()
        branches = [name for name in refs.branches() if refs.head(name) is not None]
        tags = list(refs.tags())
    except AccessError:  # they are listed, which whoever may read objects need not be allowed
        described, branches, tags = None, None, None
    return {
        "dataset": snapshot.dataset,
        "bucket": snapshot.bucket_url,
        "title": described.title if described else "",
        "description": described.description if described else "",
        "top_hash": snapshot.top_hash.hex(),
        "commit": snapshot.commit_id.hex() if snapshot.commit_id else None,
        "kind": _KINDS[entry.kind],
        "entries": entry.entries,
        "bytes": entry.size,
        "hash": entry.hash.hex(),
        "author": commit.author if commit else None,
        "time": commit.time if commit else None,
        "message": commit.message if commit else None,
        "parents": list(commit.parents) if commit else [],
        "environment": commit.environment if commit else {},
        "branches": branches,
        "tags": tags,
    }


@click.command(
    cls=Command,
    examples=("penstock cat demo/clipart:main/README", "penstock cat demo/clipart/data.csv | head"),
)
@click.argument("handles", type=HANDLE, nargs=-1, required=True)
@pass_invocation
def cat(invocation: Invocation, handles: tuple[Handle, ...]) -> None:
    """Write the bytes of files of a version to standard output, verified block by block."""
    invocation.output.finish()
    for handle in handles:
        snapshot, path = _open(invocation, handle)
        with closing(snapshot):
            entry = snapshot.find(path)
            if not entry.is_file:
                raise UsageError(
                    f"{handle} is a {_KINDS[entry.kind]}", fix="Name a file; `penstock ls` shows what there is."
                )
            for block in snapshot.read(entry):
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
