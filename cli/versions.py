"""What the commands about versions share: how a handle is taken, how a version and a path are shown."""

from __future__ import annotations

from dataclasses import replace

from penstock.errors import UsageError
from penstock.manifest.entry import Entry, Kind, display_path
from penstock.manifest.records import Commit
from penstock.repo.bucket.authorship import default_author
from penstock.repo.bucket.repository import dataset_of
from penstock.repo.history.comparison import Difference, Tally
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size
from penstock.repo.write.publish import Authorship

from .output import JsonValue, Output
from .text import quote_name

__all__ = [
    "SHORT",
    "authorship",
    "commit_json",
    "difference_json",
    "difference_line",
    "first_line",
    "message_lines",
    "name_of",
    "tally_json",
    "tally_line",
    "tell_risk",
    "without_subdir",
]

SHORT = 12
"""Digits of a hash in text: enough to name it again."""


def authorship(author: str | None, message: str, operation: str) -> Authorship:
    """Return who does something, and why; `author` None: as git has it."""
    return Authorship(author or default_author(), message, operation)


def without_subdir(handle: Handle) -> Handle:
    """Return the handle; UsageError when it names a path, which this command has no use for."""
    dataset_of(handle)
    if handle.subdir:
        raise UsageError(
            f"{str(handle)!r} names a path in a version",
            why="this is about versions as wholes",
            fix=f"Name the version: {name_of(handle)}",
        )
    return handle


def name_of(handle: Handle, ref: str | None = None) -> str:
    """Return a handle's text without a path; with `ref`, at that ref."""
    return str(replace(handle, ref=ref or handle.ref, subdir=""))


def tell_risk(output: Output, risk: str) -> None:
    """Warn, if a version was written to a bucket that may lose it."""
    if risk:
        output.notice(f"warning: {risk}. Whoever wrote at the same time may have lost a version: penstock log tells")


def first_line(message: str) -> str:
    """Return the first line of a commit's message."""
    return message.strip().partition("\n")[0]


def message_lines(message: str) -> list[str]:
    """Return a commit's message as lines that are set in."""
    return [f"    {line}".rstrip() for line in message.strip().splitlines()]


def commit_json(commit_id: bytes, commit: Commit) -> dict[str, JsonValue]:
    """Return all that a commit says."""
    return {
        "commit": commit_id.hex(),
        "top_hash": commit.top_hash,
        "parents": list(commit.parents),
        "author": commit.author,
        "time": commit.time,
        "message": commit.message,
        "entries": commit.entries,
        "bytes": commit.size,
    }


def _shown(path: tuple[bytes, ...], entry: Entry | None) -> str:
    folder = entry is not None and entry.kind is Kind.DIRECTORY
    return quote_name(display_path(path)) + ("/" if folder else "")


def difference_line(difference: Difference) -> str:
    """Return ``A path``, ``M path``, ``D path`` or ``R old -> new``; directories end in a slash."""
    shown = _shown(difference.path, difference.new or difference.old)
    if difference.old_path is not None:
        return f"R {_shown(difference.old_path, difference.old)} -> {shown}"
    return f"{difference.kind} {shown}"


_WORDS = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed"}


def difference_json(difference: Difference) -> dict[str, JsonValue]:
    """Return a difference as a record; sizes in bytes, None on the side where there is nothing."""
    old, new = difference.old, difference.new
    some = new or old
    return {
        "change": _WORDS[difference.kind],
        "path": display_path(difference.path),
        "old_path": display_path(difference.old_path) if difference.old_path is not None else None,
        "kind": some.kind.name.lower() if some is not None else None,
        "old_size": old.size if old is not None else None,
        "new_size": new.size if new is not None else None,
        "old_hash": old.hash.hex() if old is not None else None,
        "new_hash": new.hash.hex() if new is not None else None,
    }


def tally_json(tally: Tally) -> dict[str, JsonValue]:
    """Return the counts of a comparison."""
    return {
        "added": tally.added,
        "modified": tally.modified,
        "deleted": tally.deleted,
        "renamed": tally.renamed,
        "bytes_added": tally.bytes_added,
        "bytes_deleted": tally.bytes_deleted,
    }


def tally_line(tally: Tally) -> str:
    """Return the counts of a comparison in one line."""
    counts = [f"{tally.added} added", f"{tally.modified} modified", f"{tally.deleted} deleted"]
    if tally.renamed:
        counts.append(f"{tally.renamed} renamed")
    return f"{', '.join(counts)} (+{format_size(tally.bytes_added)}, -{format_size(tally.bytes_deleted)})"
