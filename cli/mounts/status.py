"""``penstock status``: how a mount is doing, as its daemon tells it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, replace

import click
import msgspec

from penstock.api.handles import format_size, parse_handle
from penstock.api.mounts.metrics import mount_metrics
from penstock.api.mounts.mounts import dead_mount, mount_at, record_accesses
from penstock.api.mounts.place import innermost_place
from penstock.api.mounts.workspace import ChangeLine, CopyStatus, MountStatus, Workspace
from penstock.cli.command_classes import Command
from penstock.cli.here import MOUNTPOINT, WHOLE, copy_and_paths
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.versions import SHORT, change_line, painted_change
from penstock.errors import PenstockError

from .changed import as_change

__all__ = ["status"]

_SHOWN = 50


@click.command(
    cls=Command,
    examples=(
        "penstock status /mnt/photos",
        "penstock status /mnt/photos --json",
        "penstock status /mnt/photos --metrics        # for Prometheus",
        "penstock status /mnt/photos --access-log on",
    ),
)
@click.argument("path", type=MOUNTPOINT, default=WHOLE)
@click.option("--metrics", is_flag=True, help="Print metrics in the Prometheus format.")
@click.option("--access-log", type=click.Choice(["on", "off"]), help="Start or stop logging every open and read.")
@pass_invocation
def status(invocation: Invocation, path: str, metrics: bool, access_log: str | None) -> None:
    """Show the state of the mount at or around PATH: version, cache hits, bytes fetched, memory, damage.

    For a writable mount, mounted or not, the changes since the last commit follow, one per line: A (added), M
    (modified), D (deleted), R (renamed). `penstock diff PATH` lists only those.
    """
    output = invocation.output
    directory, inner = _meant(invocation, path)
    if metrics and (access_log or output.json):
        raise click.UsageError("--metrics goes alone: it has a format of its own.")
    if metrics:
        for line in mount_metrics(directory).splitlines():
            output.line(line)
    elif access_log is not None:
        log = record_accesses(directory, access_log == "on")
        if output.json:
            output.document({"access_log": log})
        elif log is not None:
            output.line(f"accesses are written to {log}")
        else:
            output.line("accesses are not written any more")
    else:
        _tell(invocation, directory, inner)


def _meant(invocation: Invocation, path: str) -> tuple[str, str]:
    """Return the mountpoint that a path lies in, and the path in it; a mountpoint as it was given."""
    place = innermost_place(path) if path != WHOLE else None
    if path != WHOLE and (place is None or not place.path):
        return path, ""
    directory, paths = copy_and_paths(invocation, (path,))
    return directory, paths[0] if paths else ""


def _tell(invocation: Invocation, directory: str, path: str) -> None:
    output = invocation.output
    workspace = Workspace(directory, invocation.settings())
    info = mount_at(directory)
    dead = dead_mount(info) if info is not None and not info.alive else None
    if dead is not None and info is not None and info.overlay is None:
        raise dead
    found = workspace.status()
    mount = found if isinstance(found, MountStatus) else None
    shown: list[ChangeLine] = []
    count = 0
    failure: PenstockError | None = None
    if found.overlay is not None:
        try:
            for count, line in enumerate(workspace.changes(path), 1):
                if count <= _SHOWN:
                    shown.append(line)
        except PenstockError as error:
            if mount is None:
                raise
            failure = error  # what the mount says of itself is wanted then all the more
    if output.json:
        changes = [asdict(as_change(line)) for line in shown]
        state = "dead" if dead is not None else "mounted" if mount is not None else "unmounted"
        output.document({"state": state, **msgspec.to_builtins(found), "changed": count, "changes": changes})
        if dead is not None:
            raise dead
        if failure is not None:
            raise failure
        return
    if mount is None:
        output.line(f"{'state:':<13}{'dead' if dead is not None else 'not mounted'}")
    for name, text in (*_copy_lines(found), *(_mount_lines(mount) if mount is not None else ())):
        output.line(f"{name + ':':<13}{text}")
    if failure is not None:
        raise failure
    for line in shown:
        output.line(*painted_change(change_line(as_change(line))))
    if count > len(shown):
        output.notice(f"and {count - len(shown)} more: penstock diff {directory}")
    if found.overlay is not None:
        output.notice(
            f"{count} {'change' if count == 1 else 'changes'} since the last commit" if count else "no changes"
        )
    if dead is not None:
        raise dead
    if mount is None:
        return
    if mount.refused is not None:
        output.notice(f"warning: what is changed here cannot be committed from here: {mount.refused}")
    if mount.offline:
        output.notice("it was mounted without its store: what is not in the cache cannot be read")
    if mount.cache is not None and mount.cache.note:
        output.notice(mount.cache.note)


def _copy_lines(found: CopyStatus) -> Iterator[tuple[str, str]]:
    yield "handle", found.handle
    yield "top hash", found.top_hash
    if found.commit is not None:
        yield "commit", found.commit


def _mount_lines(found: MountStatus) -> Iterator[tuple[str, str]]:
    uptime = dt.timedelta(seconds=round(found.uptime))
    yield "since", f"{found.since} ({uptime})" + (", offline" if found.offline else "")
    rate = f" ({found.hit_rate:.0%})" if found.hit_rate is not None else ""
    yield "blocks", f"{found.hits} hits{rate}, {found.misses} misses"
    yield "read", format_size(found.bytes_read)
    yield "fetched", f"{format_size(found.bytes_fetched)} in {found.gets} requests"
    yield "in flight", f"{format_size(found.in_flight)} of {format_size(found.budget)}"
    yield "open files", str(found.open_files)
    fetchers = ", ".join(map(str, found.fetcher_pids)) or "none yet"
    yield "processes", f"{found.worker_pid} serves; {fetchers} fetching; {found.restarts} started anew"
    yield "memory", f"{format_size(found.memory.worker)} serving, {format_size(found.memory.fetchers)} fetching"
    cache = found.cache
    if cache is not None:
        yield "cache", f"{format_size(cache.bytes)} of {format_size(cache.max_bytes)}, {cache.mode}"
    for text in found.trouble:
        yield "trouble", text
    if any("cannot be read" in text for text in found.trouble):
        version = replace(parse_handle(found.handle), ref=(found.commit or found.top_hash)[:SHORT], subdir="")
        yield "remedy", f"penstock verify {version} --deep lists all damage, and what to do"
    if found.access_log is not None:
        yield "accesses", found.access_log
