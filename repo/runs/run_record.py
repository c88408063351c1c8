"""Stamps and records of runs as they are written: JSON, bounded, and believed only after a strict look. Pure.

A *stamp* says what a process has opened: versions by their hashes, the files of each that were meant, and their order.
A *run record* is what of a stamp is about one dataset, with who trained what; docs/FORMAT.md has its key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from penstock.errors import FormatTooNewError, IntegrityError, UsageError
from penstock.manifest.hashing import content_hash
from penstock.manifest.records import format_time, parse_time

__all__ = ["MOST_RUN", "DataOrder", "FileSubset", "OpenedData", "ProcessStamp", "RunRecord", "read_stamp", "stamp_json"]

MOST_RUN = 64 << 10
"""Bytes of a run record."""
_MOST_STAMP = 16 << 20
_FORMAT = 1
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class FileSubset(msgspec.Struct, frozen=True):
    """Which files of a version were meant: those that `filter` is true for, or a `function` of that name.

    `digest` is of which these are, by their places in the tree.
    """

    files: int
    filter: _Text | None = None
    function: _Text | None = None
    digest: _Text = ""


class DataOrder(msgspec.Struct, frozen=True):
    """In which order they were given out: `penstock.torch.Sampler` has the same parameters."""

    shuffle: bool
    seed: int
    epoch: int
    rank: int = 0
    ranks: int = 1
    drop_last: bool = False


class OpenedData(msgspec.Struct, frozen=True):
    """One version that was opened `by` a package, a torch dataset or a mount, at `subdir` ("" is all of it).

    `handle` is how it was named, `bucket` the address of its bucket. `changed`: a mount that had changes which are in
    no version.
    """

    by: _Text
    handle: _Text
    bucket: _Text
    dataset: _Text
    top_hash: str
    commit: str | None = None
    subdir: str = ""
    subset: FileSubset | None = None
    order: DataOrder | None = None
    mountpoint: str | None = None
    changed: bool = False


class ProcessStamp(msgspec.Struct, frozen=True):
    """What a process had opened at a moment. `unanswered` are mounts that could not say who has read from them."""

    penstock: int
    time: str
    opened: tuple[OpenedData, ...]
    left_out: int = 0
    unanswered: tuple[str, ...] = ()


class RunRecord(msgspec.Struct, frozen=True):
    """One run on a dataset: who trained what, with which parameters, and what of the dataset it had opened."""

    penstock: int
    run: str
    time: str
    author: _Text
    name: _Text
    model: _Text
    url: _Text
    parameters: dict[str, Any]
    opened: tuple[OpenedData, ...]

    def encode(self) -> bytes:
        """Write the record. UsageError: it is too large."""
        body = msgspec.json.encode(self)
        if len(body) > MOST_RUN:
            raise UsageError(
                f"the record of run {self.name!r} is too large",
                why=f"it has {len(body):,} bytes, and may have {MOST_RUN:,}",
                fix="Give fewer parameters: a record is read with all others of its dataset.",
            )
        return body

    @classmethod
    def decode(cls, body: bytes, expected: bytes) -> RunRecord:
        """Read the record whose bytes have this hash. IntegrityError: it is none."""
        if len(body) > MOST_RUN or content_hash(body) != expected:
            raise IntegrityError("a record of a run is damaged", why="its bytes are not those that its name stands for")
        try:
            _check_format(msgspec.json.decode(body), "record of a run")
            found = msgspec.json.decode(body, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise IntegrityError("a record of a run is malformed", why=str(error)) from error
        for each in found.opened:
            if problem := _problem(each):
                raise IntegrityError("a record of a run is malformed", why=problem)
        parse_time(found.time, "record of a run")
        return found


def stamp_json(stamp: ProcessStamp) -> dict[str, Any]:
    """Return a stamp as plain values, for a checkpoint; without what is not known."""
    told: dict[str, Any] = msgspec.to_builtins(stamp)
    told["unanswered"] = list(stamp.unanswered)
    told["opened"] = [{name: value for name, value in each.items() if value is not None} for each in told["opened"]]
    return told


def read_stamp(given: Mapping[str, Any] | str | bytes) -> ProcessStamp:
    """Return what a stamp says: plain values, or JSON; a document that has one as ``penstock`` is looked into.

    UsageError: it is no stamp. FormatTooNewError: of a later Penstock.
    """
    fix = "Give what penstock.stamp() returned, as JSON."
    if isinstance(given, str | bytes):
        if len(given) > _MOST_STAMP:
            raise UsageError("this is no stamp", why=f"it has {len(given):,} bytes", fix=fix)
        try:
            given = msgspec.json.decode(given)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError("this is no stamp", why=f"it is no JSON: {error}", fix=fix) from error
    if isinstance(given, Mapping) and isinstance(given.get("penstock"), Mapping):
        given = given["penstock"]
    if not isinstance(given, Mapping):
        raise UsageError("this is no stamp", why=f"it is a {type(given).__name__}", fix=fix)
    _check_format(given, "stamp")
    try:
        found = msgspec.convert(dict(given), ProcessStamp)
    except (msgspec.ValidationError, RecursionError) as error:
        raise UsageError("this is no stamp", why=str(error), fix=fix) from error
    for each in found.opened:
        if problem := _problem(each):
            raise UsageError("this is no stamp", why=problem, fix=fix)
    return found


def new_stamp(opened: tuple[OpenedData, ...], left_out: int, unanswered: tuple[str, ...], now: Any) -> ProcessStamp:
    """Return the stamp of a moment."""
    return ProcessStamp(_FORMAT, format_time(now), opened, left_out, unanswered)


def _check_format(given: Any, what: str) -> None:
    number = given.get("penstock") if isinstance(given, Mapping) else None
    if isinstance(number, int) and number > _FORMAT:
        raise FormatTooNewError(f"a {what} of format {number}", why=f"this Penstock reads {_FORMAT}", fix="Upgrade it.")


def _problem(opened: OpenedData) -> str:
    for name, value in (("top_hash", opened.top_hash), ("commit", opened.commit)):
        if value is not None and not _HASH.match(value):
            return f"{name} is {value[:80]!r}, and no 64 lower-case hex digits"
    return ""
