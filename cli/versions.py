"""What the commands about versions share: how a handle is taken, how a version and a path are shown.

Light: commands that ask a mount's daemon use it, too.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, dataset_alone, format_size, whole_version

from .invocation import Invocation
from .output import JsonValue, Output, Painted
from .text import quote_name

if TYPE_CHECKING:
    from penstock.api.datasets.dataset import Dataset
    from penstock.api.datasets.versions import Revision
    from penstock.api.packages.comparison import ChangeCounts, PathChange

__all__ = [
    "SHORT",
    "change_line",
    "counts_line",
    "dataset_named",
    "local_time",
    "message_lines",
    "painted_change",
    "revision_json",
    "tell_risk",
]

SHORT = 12
"""Digits of a hash in text: enough to name it again."""


def dataset_named(handle: Handle, invocation: Invocation) -> Dataset:
    """Return the dataset of a handle that may name a version of it, but no path in one."""
    from penstock.api.datasets.dataset import Dataset

    return Dataset(dataset_alone(whole_version(handle)), invocation.settings())


def tell_risk(output: Output, risk: str) -> None:
    """Warn, if a version was written to a bucket that may lose it."""
    if risk:
        output.notice(f"warning: {risk}. Whoever wrote at the same time may have lost a version: penstock log tells")


def message_lines(message: str) -> list[str]:
    """Return a commit's message as lines that are set in."""
    return [f"    {line}".rstrip() for line in message.strip().splitlines()]


def revision_json(revision: Revision) -> dict[str, JsonValue]:
    """Return all that a commit says, but for how it came to be."""
    told = asdict(revision)
    del told["environment"]
    return told


_LETTERS = {"added": "A", "modified": "M", "deleted": "D", "renamed": "R", "uncompared": "?"}


def change_line(change: PathChange) -> str:
    """Return ``A path``, ``M path``, ``D path``, ``R old -> new`` or ``? path``; directories end in a slash."""
    slash = "/" if change.kind == "directory" else ""
    shown = f"{quote_name(change.path)}{slash}"
    if change.old_path is not None:
        shown = f"{quote_name(change.old_path)}{slash} -> {shown}"
    return f"{_LETTERS[change.change]} {shown}"


_CHANGE_COLOURS = {"A": "green", "M": "yellow", "D": "red", "R": "cyan"}


def painted_change(line: str) -> tuple[str | Painted, str]:
    """Return a line about a change with its letter in a colour."""
    colour = _CHANGE_COLOURS.get(line[:1])
    return Painted(line[:1], colour) if colour is not None else line[:1], line[1:]


def local_time(text: str) -> str:
    """Return a time in UTC, as records have it, as people here read it: ``2026-11-30 16:04:02 +0100``."""
    try:
        return dt.datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError):  # somebody else's record
        return text


def counts_line(counts: ChangeCounts) -> str:
    """Return the counts of a comparison in one line."""
    parts = [f"{counts.added} added", f"{counts.modified} modified", f"{counts.deleted} deleted"]
    if counts.renamed:
        parts.append(f"{counts.renamed} renamed")
    if counts.uncompared:
        parts.append(f"{counts.uncompared} that cannot be compared")
    return f"{', '.join(parts)} (+{format_size(counts.bytes_added)}, -{format_size(counts.bytes_deleted)})"
