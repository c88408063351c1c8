"""What was changed in a writable mount, as people and programs read it: for ``status`` and ``diff``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock.manifest.entry import display_path, split_path
from penstock.mountpoint.working_copy.commit import changes
from penstock.repo.settings.sizes import format_size

from .invocation import Invocation

__all__ = ["change_line", "tell_changes"]

_NAMES = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed"}


def change_line(line: dict[str, Any]) -> str:
    """Return a line of what changed, as people read it."""
    slash = "/" if line["directory"] else ""
    path = f"{line['old']}{slash} -> {line['path']}{slash}" if line["old"] is not None else f"{line['path']}{slash}"
    return f"{line['kind']} {path}"


def tell_changes(invocation: Invocation, directory: str, path: str, *, stat: bool, every: bool) -> int:
    """List what was changed at a path and below it, or (`stat`) count it; return how many lines there were."""
    output = invocation.output
    wanted = display_path(split_path(path))
    counts: Counter[str] = Counter()
    grown = 0

    def take(line: dict[str, Any]) -> None:
        nonlocal grown
        places = [place for place in (line["path"], line["old"]) if place is not None]
        if wanted and not any(place == wanted or place.startswith(f"{wanted}/") for place in places):
            return
        counts[line["kind"]] += 1
        grown += (line["size"] or 0) - (line["old_size"] or 0)
        if stat:
            return
        if output.json:
            output.record(line)
        else:
            output.line(change_line(line))

    changes(directory, invocation.settings(), take, every=every)
    if stat and output.json:
        output.document({**{name: counts[kind] for kind, name in _NAMES.items()}, "bytes": grown})
    elif stat and counts:
        told = ", ".join(f"{counts[kind]} {name}" for kind, name in _NAMES.items() if counts[kind])
        output.line(f"{told}; {'+' if grown >= 0 else '-'}{format_size(abs(grown))}")
    return counts.total()
