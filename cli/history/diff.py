"""``penstock diff``: what differs between two versions, or between a version and a local directory."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import click

from penstock.api.handles import Handle, check_revision, parse_handle
from penstock.api.mounts.place import innermost_place
from penstock.api.packages.comparison import Comparison
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import VERSION, WHOLE, copy_and_paths, looks_local, version_here
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import at_most
from penstock.cli.mounts.changed import tell_changes
from penstock.cli.params import VERSION_TEXT
from penstock.cli.versions import change_line, counts_line, painted_change
from penstock.errors import UsageError

from .contents import content_options, tell_contents, wants_contents

__all__ = ["diff"]

_SHOWN = 20


@click.command(
    cls=Command,
    examples=(
        "penstock diff demo/photos:v1 demo/photos:main",
        "penstock diff demo/photos:v1 main 2024        # the same dataset, and only a folder of it",
        "penstock diff demo/photos:main ./photos       # what a push would change",
        "penstock diff demo/photos:v1 v2 --stat",
        "penstock diff demo/photos:v1 v2 labels.csv --rows --key image     # rows added, removed, changed",
        "penstock diff demo/photos:v1 v2 --images changed.html",
        "penstock diff /mnt/edit                       # what was changed there since the last commit",
        "penstock diff                                 # the same, in the mount",
        "penstock diff main~1 main                     # in a mount: two versions of its dataset",
    ),
)
@click.argument("first", type=VERSION_TEXT, metavar="[A]", default=WHOLE)
@click.argument("new", type=VERSION_TEXT, metavar="[B]", default="")
@click.argument("path", default="")
@click.option("--stat", is_flag=True, help="Print only counts.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Also list the contents of new directories in a mount, and more than 10,000,000 lines.",
)
@content_options
@pass_invocation
def diff(
    invocation: Invocation, /, first: str, new: str, path: str, stat: bool, every: bool, most: int, **contents: Any
) -> None:
    """List what differs from version A to B: another version, a ref of the same dataset, or a local directory.

    Lines start with A (added), M (modified), D (deleted) or R (renamed). Write a directory with a leading / or . to
    compare with what a push of it would publish; nothing is uploaded. A ? marks a file of the right size whose content
    cannot be compared: the version pins it by identity, and it was never read here. The exit code is 1 if there are
    differences, and 0 otherwise.

    --rows, --text and --images look into the files that both sides have: rows of tables (penstock[parquet]) by a --key,
    lines, and a page with pictures before and after (penstock[similarity]).

    Where A is a path in a writable mount, or nothing is named in one, what was changed there since the last commit is
    listed; what comes after a mountpoint is a path in it then. In a mount, A and B may be refs of its dataset, and A
    alone is compared with the version that is mounted.
    """
    within = wants_contents(**contents)
    settings = invocation.settings()
    if looks_local(first, settings) and not (new and _names_version(new, settings)):
        if within:
            raise UsageError(
                "contents are compared between versions",
                why=f"{first or 'this'} is a mount, whose changes are no version yet",
                fix="Name a version and the mount: penstock diff DATASET:REF ./MOUNT --rows",
            )
        directory, paths = copy_and_paths(invocation, (os.path.expanduser(first), *filter(None, (new,))))
        if tell_changes(invocation, directory, paths[0] if paths else "", stat=stat, every=every):
            raise click.exceptions.Exit(ExitCode.DIFFERS)
        invocation.output.notice("No changes")
        return
    old = VERSION.convert(first, None, click.get_current_context())
    if not new:
        if innermost_place() is None or "/" in first:
            raise click.UsageError("name a version, a ref or a directory to compare with")
        new = str(version_here(invocation).version.ref)  # the version that is mounted
    with ExitStack() as stack:
        found = stack.enter_context(_compared(invocation, stack, old, new, path))
        differs = _tell_counts(invocation, found) if stat else _list(invocation, found, every=every)
        if within:
            tell_contents(invocation, found, most=most, **contents)
    if differs:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    invocation.output.notice("No changes")


def _compared(invocation: Invocation, stack: ExitStack, old: Handle, new: str, path: str) -> Comparison:
    settings = invocation.settings()
    if looks_local(new, settings):
        # What the handle names, a folder of the version perhaps, is what the directory is held against.
        package = stack.enter_context(Package(old, settings))
        with invocation.progress() as progress:
            found = package.diff(os.path.expanduser(new), path, progress=progress)
        _tell_skipped(invocation, found)
        return found
    other = _other(old, new)
    before, after = (stack.enter_context(Package(replace(each, subdir=""), settings)) for each in (old, other))
    return before.diff(after, "/".join(filter(None, (old.subdir, path))))


def _names_version(argument: str, settings: Settings) -> bool:
    """Whether the second argument, after a path, is a version of its own, and no path in the mount there."""
    return argument.partition("/")[0] in settings.remotes or "://" in argument


def _tell_skipped(invocation: Invocation, found: Comparison) -> None:
    for skipped in found.skipped[:_SHOWN]:
        invocation.output.notice(f"skipped {skipped.path}: a {skipped.what} is no file")
    if len(found.skipped) > _SHOWN:
        invocation.output.notice(f"skipped {len(found.skipped) - _SHOWN} more")


def _other(old: Handle, new: str) -> Handle:
    """Return the version that the second argument names: by itself, or as a ref of the first one's dataset."""
    if "/" not in new:
        check_revision(new)
        return replace(old, ref=new)
    handle = parse_handle(new)
    if handle.subdir not in ("", old.subdir):
        raise UsageError(
            f"{str(old)!r} and {new!r} name two paths",
            why="one path is compared, in both versions",
            fix="Name the versions, and then the path.",
        )
    return handle


def _list(invocation: Invocation, found: Comparison, *, every: bool) -> bool:
    """List what differs; whether anything did."""
    differs = False
    for change in at_most(found.changes(), every=every, fix="--all lists every one, --stat counts them."):
        differs = True
        if invocation.output.json:
            invocation.output.record(asdict(change))
        else:
            invocation.output.line(*painted_change(change_line(change)))
    return differs


def _tell_counts(invocation: Invocation, found: Comparison) -> bool:
    counts = found.counts()
    if invocation.output.json:
        invocation.output.document(asdict(counts))
    elif counts:
        invocation.output.line(counts_line(counts))
    return bool(counts)
