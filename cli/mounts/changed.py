"""What was changed in a writable mount, as people and programs read it: for ``status`` and ``diff``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from penstock.api.mounts.workspace import ChangeLine, Workspace
from penstock.api.packages.comparison import ChangeCounts, ChangeKind, PathChange
from penstock.api.packages.entry import EntryKind
from penstock.cli.invocation import Invocation
from penstock.cli.versions import change_line, counts_line, painted_change

__all__ = ["as_change", "tell_changes"]

_NAMES: dict[str, ChangeKind] = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed"}


def as_change(line: ChangeLine) -> PathChange:
    """Return a change in a mount as a comparison of versions tells it. Nothing has a hash before it is committed."""
    kind: EntryKind | None = "directory" if line.directory else None
    return PathChange(_NAMES[line.kind], line.path, line.old, kind, line.old_size, line.size, None, None)


def tell_changes(invocation: Invocation, directory: str, path: str, *, stat: bool, every: bool) -> int:
    """List what was changed at a path and below it, or (`stat`) count it; return how many lines there were."""
    output = invocation.output
    counts: Counter[str] = Counter()
    came = went = 0

    for line in Workspace(directory, invocation.settings()).changes(path, every=every):
        counts[_NAMES[line.kind]] += 1
        came += line.size or 0
        went += line.old_size or 0
        if stat:
            continue
        if output.json:
            output.record(asdict(as_change(line)))
        else:
            output.line(*painted_change(change_line(as_change(line))))
    found = ChangeCounts(counts["added"], counts["modified"], counts["deleted"], counts["renamed"], came, went)
    if stat and output.json:
        output.document(asdict(found))
    elif stat and found:
        output.line(counts_line(found))
    return counts.total()
