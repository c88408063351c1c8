"""``penstock diff``: what differs between two versions, or between a version and a local directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import click

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.tree import Tree
from penstock.repo.history.comparison import Contents, Difference, Tally, compare, differences, tally
from penstock.repo.history.log import entry_at
from penstock.repo.push.local_tree import local_tree
from penstock.repo.read.open_dataset import open_dataset
from penstock.repo.settings.handle import Handle, check_ref_name, parse_handle

from .changed import tell_changes
from .commands import Command
from .exits import ExitCode
from .invocation import Invocation, pass_invocation
from .listing import MOST_LISTED, at_most
from .versions import difference_json, difference_line, tally_json, tally_line

__all__ = ["diff"]

_SHOWN = 20


@click.command(
    cls=Command,
    examples=(
        "penstock diff demo/photos:v1 demo/photos:main",
        "penstock diff demo/photos:v1 main 2024        # the same dataset, and only a folder of it",
        "penstock diff demo/photos:main ./photos       # what a push would change",
        "penstock diff demo/photos:v1 v2 --stat",
        "penstock diff /mnt/edit                       # what was changed there since the last commit",
    ),
)
@click.argument("first", metavar="A")
@click.argument("new", metavar="[B]", default="")
@click.argument("path", default="")
@click.option("--stat", is_flag=True, help="Count what differs, and list nothing.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="List what is in new directories of a mount, and more than 10,000,000 lines, too.",
)
@pass_invocation
def diff(invocation: Invocation, first: str, new: str, path: str, stat: bool, every: bool) -> None:
    """List what differs from version A to B: another version, a ref of the same dataset, or a local directory.

    Lines begin with A (added), M (modified), D (deleted) or R (renamed). A directory begins with / or . and a push
    of it is what B is taken to be; nothing is uploaded. The exit code is 0 when nothing differs, else 1.

    Where A is a directory itself, of a writable mount, what was changed in it since the last commit is listed; what
    comes after it is a path in it then.
    """
    # A name without a slash is no version: those are bucket/dataset.
    if _is_local(first) or ("/" not in first and os.path.isdir(first)):
        if tell_changes(invocation, os.path.expanduser(first), new, stat=stat, every=every):
            raise click.exceptions.Exit(ExitCode.DIFFERS)
        invocation.output.notice("No changes")
        return
    if not new:
        raise click.UsageError("there is nothing to compare it with: name a version, a ref or a directory")
    old = parse_handle(first)
    local = _is_local(new)
    names = split_path(path)
    with ExitStack() as stack:
        before = _Opened(stack, invocation, old)
        if local:
            # What the handle names, a folder of the version perhaps, is what the directory is held against.
            ours, theirs = before.contents(old, old.subdir), _local(stack, invocation, new)
        else:
            other = _other(old, new)
            names = split_path(old.subdir) + names
            same_place = (other.bucket, other.dataset) == (old.bucket, old.dataset)
            after = before if same_place else _Opened(stack, invocation, other)
            # Each is six requests, one after the other.
            pool = stack.enter_context(ThreadPoolExecutor(1, "penstock-diff"))
            looking = pool.submit(after.contents, other)
            ours, theirs = before.contents(old), looking.result()
        if stat and not names and not local and _entries(ours) + _entries(theirs) > MOST_LISTED:
            differs = _tell_counts(invocation, tally(ours, theirs))  # without a look for what was renamed
        else:
            found = differences(compare(ours, theirs, names, content_only=local))
            listed = at_most(found, every=every, fix="--all lists every one, --stat counts them.")
            differs = _tell(invocation, listed, stat=stat)
    if differs:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    invocation.output.notice("No changes")


def _is_local(argument: str) -> bool:
    return argument in {".", ".."} or argument.startswith(("/", "./", "../", "~"))


class _Opened:
    """A dataset, open until the stack is left."""

    def __init__(self, stack: ExitStack, invocation: Invocation, handle: Handle) -> None:
        self._dataset = stack.enter_context(open_dataset(handle, invocation.settings()))

    def contents(self, handle: Handle, path: str = "") -> Contents:
        """Return what a version holds, or a directory of it."""
        repository, load = self._dataset.repository, self._dataset.load
        root = repository.manifest(repository.resolve(handle.ref).top_hash).root
        entry = entry_at(Tree(root, load), split_path(path))
        if entry is None or entry.directory is None:
            what = "is not a directory" if entry is not None else "has nothing"
            raise NotFoundError(f"{handle} {what}", fix="`penstock ls` shows what there is.")
        return Contents(entry.directory, load, self._dataset.load_many)


def _local(stack: ExitStack, invocation: Invocation, directory: str) -> Contents:
    with invocation.progress() as progress:
        hashing = progress.stage("hashing")
        tree, load = stack.enter_context(local_tree(os.path.expanduser(directory), hashing))
    for skipped in tree.skipped[:_SHOWN]:
        invocation.output.notice(f"skipped {os.fsdecode(skipped.path)}: a {skipped.what} is no file")
    if len(tree.skipped) > _SHOWN:
        invocation.output.notice(f"skipped {len(tree.skipped) - _SHOWN} more")
    return Contents(tree.root, load, lambda refs: [load(ref) for ref in refs])


def _other(old: Handle, new: str) -> Handle:
    """Return the version that the second argument names: by itself, or as a ref of the first one's dataset."""
    if "/" not in new:
        check_ref_name(new)
        return replace(old, ref=new)
    handle = parse_handle(new)
    if handle.subdir not in ("", old.subdir):
        raise UsageError(
            f"{str(old)!r} and {new!r} name two paths",
            why="one path is compared, in both versions",
            fix="Name the versions, and then the path.",
        )
    return handle


def _tell(invocation: Invocation, found: Iterator[Difference], *, stat: bool) -> bool:
    """List the differences, or count them; whether there were any."""
    output = invocation.output
    counts = Tally()
    for difference in found:
        counts.add(difference)
        if stat:
            continue
        if output.json:
            output.record(difference_json(difference))
        else:
            output.line(difference_line(difference))
    return _tell_counts(invocation, counts) if stat else counts.any


def _tell_counts(invocation: Invocation, counts: Tally) -> bool:
    if invocation.output.json:
        invocation.output.document(tally_json(counts))
    elif counts.any:
        invocation.output.line(tally_line(counts))
    return counts.any


def _entries(contents: Contents) -> int:
    return contents.root.entries if contents.root is not None else 0
