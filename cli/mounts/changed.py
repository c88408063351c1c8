"""What was changed in a writable mount, as people and programs read it: for ``status`` and ``diff``."""

from __future__ import annotations

from collections import Counter

import msgspec

from penstock.api.handles import format_size
from penstock.api.mounts.workspace import ChangeLine, Workspace
from penstock.cli.invocation import Invocation
from penstock.cli.versions import painted_change

__all__ = ["change_line", "tell_changes"]

_NAMES = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed"}


def change_line(line: ChangeLine) -> str:
    """Return a line of what changed, as people read it."""
    slash = "/" if line.directory else ""
    path = f"{line.old}{slash} -> {line.path}{slash}" if line.old is not None else f"{line.path}{slash}"
    return f"{line.kind} {path}"


def tell_changes(invocation: Invocation, directory: str, path: str, *, stat: bool, every: bool) -> int:
    """List what was changed at a path and below it, or (`stat`) count it; return how many lines there were."""
    output = invocation.output
    counts: Counter[str] = Counter()
    grown = 0

    for line in Workspace(directory, invocation.settings()).changes(path, every=every):
        counts[line.kind] += 1
        grown += (line.size or 0) - (line.old_size or 0)
        if stat:
            continue
        if output.json:
            output.record(msgspec.structs.asdict(line))
        else:
            output.line(*painted_change(change_line(line)))
    if stat and output.json:
        output.document({**{name: counts[kind] for kind, name in _NAMES.items()}, "bytes": grown})
    elif stat and counts:
        told = ", ".join(f"{counts[kind]} {name}" for kind, name in _NAMES.items() if counts[kind])
        output.line(f"{told}; {'+' if grown >= 0 else '-'}{format_size(abs(grown))}")
    return counts.total()
