"""``penstock status``: how a mount is doing, as its daemon tells it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import click

from penstock.errors import PenstockError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.working_copy.commit import changes, is_served
from penstock.repo.settings.sizes import format_size

from .changed import change_line
from .commands import Command
from .invocation import Invocation, pass_invocation

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
@click.argument("directory", type=click.Path())
@click.option("--metrics", is_flag=True, help="Print what Prometheus reads.")
@click.option("--access-log", type=click.Choice(["on", "off"]), help="Begin or end to write down every open and read.")
@pass_invocation
def status(invocation: Invocation, directory: str, metrics: bool, access_log: str | None) -> None:
    """Tell how the mount at DIRECTORY is doing: version, hits and misses, what was fetched, memory, cache.

    Of a writable mount, also when it is unmounted, what was changed since the last commit follows, a line each: A
    (added), M (modified), D (deleted), R (renamed). `penstock diff DIRECTORY` lists it alone.
    """
    output = invocation.output
    if metrics and (access_log or output.json):
        raise click.UsageError("--metrics goes alone: it has a format of its own.")
    if metrics:
        for line in ask(directory, "metrics")["text"].splitlines():
            output.line(line)
    elif access_log is not None:
        found = ask(directory, "access-log", on=access_log == "on")
        if output.json:
            output.document(found)
        elif found["access_log"]:
            output.line(f"accesses are written to {found['access_log']}")
        else:
            output.line("accesses are not written any more")
    else:
        _tell(invocation, directory)


def _tell(invocation: Invocation, directory: str) -> None:
    output = invocation.output
    changed: list[dict[str, Any]] = []
    count = 0

    def take(line: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count <= _SHOWN:
            changed.append(line)

    found = ask(directory, "status") if is_served(directory) else {}
    failure: PenstockError | None = None
    if not found or found["overlay"]:
        try:
            changes(directory, invocation.settings(), take)
        except PenstockError as error:
            if not found:
                raise
            failure = error  # what the mount says of itself is wanted then all the more
    if output.json:
        output.document({**found, "changed": count, "changes": changed})
        if failure is not None:
            raise failure
        return
    for name, text in _lines(found) if found else ():
        output.line(f"{name + ':':<13}{text}")
    if failure is not None:
        raise failure
    for line in changed:
        output.line(change_line(line))
    if count > len(changed):
        output.notice(f"and {count - len(changed)} more: penstock diff {directory}")
    if not found or found["overlay"]:
        output.notice(
            f"{count} {'change' if count == 1 else 'changes'} since the last commit" if count else "no changes"
        )
    if found and found["refused"] is not None:
        output.notice(f"warning: what is changed here cannot be committed from here: {found['refused']}")
    if found and found["offline"]:
        output.notice("it was mounted without its store: what is not in the cache cannot be read")
    if found and found["cache"] and found["cache"]["note"]:
        output.notice(found["cache"]["note"])


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "handle", found["handle"]
    yield "version", found["version"]
    if found["commit"] is not None:
        yield "commit", found["commit"]
    uptime = dt.timedelta(seconds=round(found["uptime"]))
    yield "since", f"{found['since']} ({uptime})" + (", offline" if found["offline"] else "")
    rate = f" ({found['hit_rate']:.0%})" if found["hit_rate"] is not None else ""
    yield "blocks", f"{found['hits']} hits{rate}, {found['misses']} misses"
    yield "read", format_size(found["bytes_read"])
    yield "fetched", f"{format_size(found['bytes_fetched'])} in {found['gets']} requests"
    yield "in flight", f"{format_size(found['in_flight'])} of {format_size(found['budget'])}"
    yield "open files", str(found["open_files"])
    fetchers = ", ".join(map(str, found["fetcher_pids"])) or "none yet"
    yield "processes", f"{found['worker_pid']} serves; {fetchers} fetching; {found['restarts']} started anew"
    memory = found["memory"]
    yield "memory", f"{format_size(memory['worker'])} serving, {format_size(memory['fetchers'])} fetching"
    cache = found["cache"]
    yield "cache", f"{format_size(cache['bytes'])} of {format_size(cache['max_bytes'])}, {cache['mode']}"
    for text in found.get("trouble", ()):
        yield "trouble", text
    if found["access_log"] is not None:
        yield "accesses", found["access_log"]
