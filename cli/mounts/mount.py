"""``penstock mount``, ``umount`` and ``mounts``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from penstock.api.handles import Handle
from penstock.api.mounts.mounts import (
    LeftChanges,
    MountInfo,
    dead_mount,
    mount,
    mount_foreground,
    unmount,
    unmounted_changes,
)
from penstock.api.mounts.mounts import mounts as list_mounts
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import MOUNTPOINT, UNREAD_HANDLE, handle_beside
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import OCTAL, SIZE
from penstock.error_form import to_form
from penstock.errors import PenstockError

__all__ = ["mount_", "mounts", "umount"]


@click.command(
    "mount",
    cls=Command,
    examples=(
        "penstock mount demo/photos /mnt/photos",
        "penstock mount demo/photos:v1/2024 /mnt/last-year",
        "penstock mount --foreground lab/photos:main ./photos",
        "penstock mount --record-trace epoch.trace demo/photos /mnt/photos",
        "penstock mount --writable demo/photos /mnt/edit",
        "penstock mount --also far demo/photos /mnt/photos        # read from whichever is nearer",
    ),
)
@click.argument("handle", type=UNREAD_HANDLE)
@click.argument("directory", type=click.Path())
@click.option("-f", "--foreground", is_flag=True, help="Serve from this process until it is interrupted or unmounted.")
@click.option("--cache-dir", type=click.Path(path_type=Path), metavar="DIR", help="Keep cached blocks in DIR.")
@click.option("--cache-size", type=SIZE, metavar="SIZE", help="Limit the cache to SIZE, for example 50GB.")
@click.option("--allow-other", is_flag=True, help="Let other users access the mount.")
@click.option("--uid", type=click.IntRange(min=0), metavar="N", help="User id that owns the files (default: yours).")
@click.option("--gid", type=click.IntRange(min=0), metavar="N", help="Group id that owns the files (default: yours).")
@click.option("--umask", type=OCTAL, metavar="BITS", help="Permission bits to remove from files (default: 022).")
@click.option("-w", "--writable", is_flag=True, help="Allow changes, which stay on this machine until you commit them.")
@click.option(
    "--overlay-dir",
    "overlay_directory",
    type=click.Path(resolve_path=True),
    metavar="DIR",
    help="Keep the changes in DIR.",
)
@click.option("--non-empty", is_flag=True, help="Allow mounting over a directory that is not empty.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Format of the mount's log.")
@click.option(
    "--record-trace",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Record in FILE what is read, for `penstock warm --from-trace`.",
)
@click.option(
    "--also", multiple=True, metavar="BUCKET", help="Also read from this mirror of the dataset; can be repeated."
)
@pass_invocation
def mount_(
    invocation: Invocation,
    /,
    handle: Handle,
    directory: str,
    foreground: bool,
    cache_dir: Path | None,
    cache_size: int | None,
    **options: Any,
) -> None:
    """Mount a version, or a folder of it, as a directory.

    The command returns when the files can be read; a background process serves them until `penstock umount`. The mount
    keeps showing the version that the handle names now, whatever is pushed later.

    With --writable you can change, create, rename and remove files. The changes stay on this machine, even after
    unmounting, until `penstock commit` makes them a version or `penstock discard` drops them. Mounting at the same
    directory again brings them back.

    With --also, the nearest of the buckets is read from, and another one if it does not answer or lacks an object. The
    first bucket decides what a branch means, and takes commits.
    """
    if options["overlay_directory"] is not None and not options["writable"]:
        raise click.UsageError("--overlay-dir is for --writable")
    handle = handle_beside(invocation, handle, directory)
    settings = invocation.settings(cache_directory=cache_dir, cache_size=cache_size)
    if foreground:
        told = invocation.output
        mount_foreground(handle, directory, settings=settings, ready=lambda made: _tell(told, made), **options)
    else:
        _tell(invocation.output, mount(handle, directory, settings=settings, **options))


def _tell(output: Output, made: MountInfo) -> None:
    if output.json:
        output.document(asdict(made))
    else:
        output.line(f"{made.handle} is at {made.mountpoint}")
        output.line(f"  top hash  {made.top_hash}")
        if made.offline:
            output.notice("the store cannot be reached: this is the version that was last opened here")
        if made.cache:
            output.notice(made.cache)
        if made.refused is not None:
            output.notice("warning: what is changed here cannot be committed from here, as things stand")
            output.notice(f"  {made.refused}")
    output.finish()


@click.command(
    cls=Command,
    examples=("penstock umount /mnt/photos", "penstock umount --lazy /mnt/photos"),
)
@click.argument("directories", nargs=-1, required=True, type=MOUNTPOINT)
@click.option("-l", "--lazy", is_flag=True, help="Detach now, and unmount when the last program that uses it is done.")
@click.option("-f", "--force", is_flag=True, help="Unmount even if programs still use it; they get errors.")
@pass_invocation
def umount(invocation: Invocation, directories: tuple[str, ...], lazy: bool, force: bool) -> None:
    """Unmount each DIRECTORY where Penstock has mounted something, including dead mounts.

    Uncommitted changes stay on this machine: you can commit them without mounting, or mount at the same directory
    again to continue. If one directory cannot be unmounted, the others still are.
    """
    settings = invocation.settings()
    failed: list[PenstockError] = []
    for directory in directories:
        try:
            report = unmount(directory, lazy=lazy, force=force, settings=settings)
        except PenstockError as error:  # the others are unmounted all the same
            failed.append(error)
            continue
        if report.trouble is not None:
            invocation.output.notice(f"{directory} is unmounted, but {report.trouble}")
        if invocation.output.json:
            told = asdict(report)
            del told["trouble"]
            invocation.output.record(told)
        elif report.elsewhere:
            invocation.output.notice(f"{directory} is unmounted; it is still served at {', '.join(report.elsewhere)}")
        elif not report.ended:
            invocation.output.notice(f"{directory} is out of sight; it goes when its last user is done")
        elif left := report.changes:
            invocation.output.notice(
                f"what was changed is kept: penstock diff {left} shows it, penstock commit {left} commits it"
            )
    for each in failed[:-1]:
        invocation.output.failure(to_form(each))
    if failed:
        raise failed[-1]


@click.command(cls=Command, examples=("penstock mounts", "penstock mounts --all", "penstock mounts --json"))
@click.option("-a", "--all", "every", is_flag=True, help="Also list uncommitted changes that are not mounted.")
@pass_invocation
def mounts(invocation: Invocation, every: bool) -> None:
    """List all mounts. The exit code is 1 if a mount is dead."""
    found = list_mounts()
    left = unmounted_changes() if every else []
    if invocation.output.json:
        unmounted = [
            {
                "state": "unmounted",
                **asdict(MountInfo(each.mountpoint or "", each.handle or "", False, overlay=each.overlay)),
                "why": each.why or None,
            }
            for each in left
        ]
        mounted = [{"state": "mounted" if each.alive else "dead", **asdict(each)} for each in found]
        for document in [*mounted, *unmounted]:
            invocation.output.record(document)
    elif found:
        rows = []
        for each in found:
            state = "dead" if not each.alive else f"bind of {each.bind_of}" if each.bind_of else ""
            rows.append((each.mountpoint, each.handle, (each.top_hash or "")[:12], str(each.pid or ""), state))
        invocation.output.table(rows, headers=("DIRECTORY", "HANDLE", "TOP HASH", "PID", ""))
    else:
        invocation.output.notice("nothing is mounted")
    for each in found:
        if not each.alive and not invocation.output.json:
            invocation.output.failure(to_form(dead_mount(each)))
    _tell_left(invocation.output, left)
    if not all(each.alive for each in found):
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell_left(output: Output, left: list[LeftChanges]) -> None:
    if output.json or not left:
        return
    output.line()
    rows = [(each.mountpoint or each.overlay, each.handle or "", "damaged" if each.why else "") for each in left]
    output.table(rows, headers=("NOT MOUNTED", "CHANGES OF", ""))
    for each in left:
        place = each.mountpoint or each.overlay
        if each.why:
            output.notice(f"{place}: {each.why}; penstock overlay check {place} tells more")
    if any(not each.why for each in left):
        place = next(each.mountpoint or each.overlay for each in left if not each.why)
        output.notice(f"to go on: penstock diff {place}, penstock commit {place}, or mount it there again with -w")
