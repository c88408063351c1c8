"""``penstock top``: all mounts, as they are now, drawn again and again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from penstock.api.handles import format_size
from penstock.api.mounts.reports import MountReport, mount_reports
from penstock.api.mounts.workspace import MountStatus
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import JsonValue
from penstock.cli.text import escape

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["top"]

_SLOW_FILES = 5


@dataclass(frozen=True, slots=True)
class _Look:
    """What the mounts said at one time, in seconds of a clock that never goes back."""

    at: float
    reports: Sequence[MountReport]

    def by_mountpoint(self) -> Mapping[str, MountStatus]:
        return {each.mountpoint: each.status for each in self.reports if each.status is not None}


@click.command(cls=Command, examples=("penstock top", "penstock top --interval 5", "penstock top --once"))
@click.option(
    "-d",
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between updates.",
)
@click.option("--once", is_flag=True, help="Print the activity of one interval, and exit.")
@pass_invocation
def top(invocation: Invocation, interval: float, once: bool) -> None:
    """Watch the activity of all mounts: throughput, cache hits, bytes saved, and the slowest files.

    Press Ctrl-C to quit. Without a terminal, or with --json, it prints one interval and exits, as with --once.
    """
    output = invocation.output
    before = _Look(time.monotonic(), mount_reports())
    if output.json or once or not sys.stdout.isatty():
        time.sleep(interval)
        after = _Look(time.monotonic(), mount_reports())
        if output.json:
            for each in after.reports:
                output.record(_facts(each, before, after))
        else:
            output.table(_rows(before, after), headers=_HEADERS, right=_RIGHT)
            for line in _slow_lines(after):
                output.line(line)
        return

    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(console=Console(file=sys.stdout), screen=True, auto_refresh=False) as live:
            after = before
            while True:
                lines = [Text(escape(line)) for line in _slow_lines(after)]
                live.update(Group(_table(before, after), Text(""), *lines), refresh=True)
                time.sleep(interval)
                before, after = after, _Look(time.monotonic(), mount_reports())
    except KeyboardInterrupt:  # it is how one ends it
        return


_HEADERS = ("DIRECTORY", "HANDLE", "READ/S", "FETCHED/S", "HITS", "SAVED", "OPEN", "MEMORY")
_RIGHT = frozenset(range(2, 8))


def _rows(before: _Look, after: _Look) -> list[tuple[str, ...]]:
    rows = []
    was = before.by_mountpoint()
    for report in after.reports:
        status = report.status
        if status is None:
            rows.append((report.mountpoint, f"does not answer: {report.trouble}", *[""] * 6))
            continue
        read, fetched = _rates(was.get(report.mountpoint), status, after.at - before.at)
        rows.append(
            (
                report.mountpoint,
                status.handle,
                format_size(round(read)),
                format_size(round(fetched)),
                f"{status.hit_rate:.0%}" if status.hit_rate is not None else "",
                format_size(_saved(status)),
                str(status.open_files),
                format_size(status.memory.worker + status.memory.fetchers),
            )
        )
    return rows


def _table(before: _Look, after: _Look) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for number, header in enumerate(_HEADERS):
        table.add_column(header, justify="right" if number in _RIGHT else "left", no_wrap=True, overflow="ellipsis")
    for row in _rows(before, after):
        table.add_row(*(Text(escape(cell)) for cell in row))
    if not after.reports:
        table.add_row(Text("nothing is mounted"))
    return table


def _slow_lines(look: _Look) -> list[str]:
    """Return lines about the files that were waited for longest, of all mounts."""
    found = [
        (slow.waited, os.path.join(status.mountpoint, slow.path))
        for status in look.by_mountpoint().values()
        for slow in status.slowest
    ]
    found.sort(reverse=True)
    lines = [f"{waited:8.2f} s  {path}" for waited, path in found[:_SLOW_FILES]]
    return ["waited for longest:", *lines] if lines else []


def _rates(was: MountStatus | None, now: MountStatus, seconds: float) -> tuple[float, float]:
    """Return bytes a second that were read and that were fetched; 0 of a mount that is new, or was started anew."""
    if was is None or now.worker_pid != was.worker_pid or seconds <= 0:
        return 0.0, 0.0
    return (now.bytes_read - was.bytes_read) / seconds, (now.bytes_fetched - was.bytes_fetched) / seconds


def _saved(status: MountStatus) -> int:
    """Return the bytes that readers had and the store was not asked for."""
    return max(0, status.bytes_read - status.bytes_fetched)


def _facts(report: MountReport, before: _Look, after: _Look) -> dict[str, JsonValue]:
    status = report.status
    if status is None:
        names = ("handle", "read_per_second", "fetched_per_second", "hit_rate", "saved", "open_files", "memory")
        unknown: dict[str, JsonValue] = {**dict.fromkeys(names), "slowest": []}
        return {"mountpoint": report.mountpoint, "alive": False, "trouble": str(report.trouble), **unknown}
    read, fetched = _rates(before.by_mountpoint().get(report.mountpoint), status, after.at - before.at)
    return {
        "mountpoint": report.mountpoint,
        "alive": True,
        "trouble": "",
        "handle": status.handle,
        "read_per_second": round(read),
        "fetched_per_second": round(fetched),
        "hit_rate": status.hit_rate,
        "saved": _saved(status),
        "open_files": status.open_files,
        "memory": status.memory.worker + status.memory.fetchers,
        "slowest": [{"path": slow.path, "waited": slow.waited} for slow in status.slowest],
    }
