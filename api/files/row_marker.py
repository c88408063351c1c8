"""Whose an id is: the objects that say so, beside the files that a row or an upload has made.

    PLACE/ID/NAME                                 the files
    PLACE/.penstock-files/ID/claim-1              who makes them, created if absent: of two, one is the first
    PLACE/.penstock-files/ID/done-FUNCTION-KEY    written last: the files are all there, and what they were made of

Who finds a claim without a mark that the files are done takes it over when whoever holds it is no more: the next claim,
claim-2, is created if absent as well. That is known of processes of this machine only; whose claim was left on another
one is told, and can be taken with `take_over`.

**Invariant:** files below an id are written by who holds its last claim, and nobody else.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from penstock.errors import ConflictError, FormatTooNewError, IntegrityError, NotFoundError

from .fsspec_files import PlaceStore

__all__ = [
    "MARKER_FOLDER",
    "NOTHING_NOTED",
    "IdState",
    "RowRecord",
    "RunIdentity",
    "SentFile",
    "claim_id",
    "forget_id",
    "read_record",
    "read_states",
    "write_record",
]

MARKER_FOLDER = ".penstock-files"
FORMAT = 1
_MOST = 4 << 20
_running: set[str] = set()
_NAME = re.compile(r"(?:claim-([1-9][0-9]{0,8})|done-([0-9a-f]{16})-([0-9a-f]{16}))")


class RunIdentity(msgspec.Struct, frozen=True):
    """Who holds a claim: one run of a program, on one machine."""

    run: str
    host: str
    pid: int
    started: str
    time: float
    format: int = FORMAT

    @classmethod
    def mine(cls) -> RunIdentity:
        """Return that of a run of this process."""
        made = cls(secrets.token_hex(8), _host(), os.getpid(), _started(os.getpid()), time.time())
        _running.add(made.run)
        return made

    def end(self) -> None:
        """Say that the run is over: what it holds may be taken by the next one."""
        _running.discard(self.run)

    def is_gone(self) -> bool:
        """Whether it is known that the run is no more."""
        if self.host != _host():
            return False
        return _started(self.pid) != self.started or (self.pid == os.getpid() and self.run not in _running)


class SentFile(msgspec.Struct, frozen=True):
    """A file that was sent: where it is, as it is returned, and its bytes."""

    url: str
    size: int


class RowRecord(msgspec.Struct, frozen=True):
    """What is noted last: the files of an id, and of what and by what they were made. `key` is empty for an upload."""

    id: str
    outputs: dict[str, SentFile]
    function: str = ""
    key: str = ""
    inputs: dict[str, str] = {}
    format: int = FORMAT

    @property
    def mark(self) -> str:
        """The name that it has as an object."""
        return f"done-{self.function[:16] or '0' * 16}-{self.key[:16] or '0' * 16}"


class IdState(NamedTuple):
    """What there is of an id: its last claim, by number, and the mark that it is done. `is_foreign`: only files.

    `holder`: who has the claim, where it is not done.
    """

    claim: int = 0
    done: str | None = None
    is_foreign: bool = False
    holder: RunIdentity | None = None
    is_free: bool = True
    """Whether the holder is known to be no more."""

    @property
    def function(self) -> str:
        """The beginning of the hash of the function that made it."""
        return self.done[5:21] if self.done is not None else ""


NOTHING_NOTED = IdState()


def read_states(store: PlaceStore, base: str, only: str | None = None) -> Mapping[str, IdState]:
    """Return what is noted of ids below a folder (empty, or with a slash at its end), or of a single one."""
    states = _listed(store, base, only)
    for row_id, state in states.items():
        if state.claim and state.done is None:
            try:
                holder = _read_claim(store, base, row_id, state.claim)
            except NotFoundError:  # it was withdrawn meanwhile
                states[row_id] = NOTHING_NOTED
                continue
            is_free = holder.is_gone()
            if is_free:  # perhaps since a moment ago, because it has finished
                state = _listed(store, base, row_id).get(row_id, NOTHING_NOTED)
            states[row_id] = state._replace(holder=holder, is_free=is_free)
    return states


def _listed(store: PlaceStore, base: str, only: str | None) -> dict[str, IdState]:
    top = f"{base}{MARKER_FOLDER}/"
    states: dict[str, IdState] = {}
    for info in store.list(f"{top}{only}/" if only is not None else top):
        row_id, _, name = info.key.removeprefix(top).rpartition("/")
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        before = states.get(row_id, NOTHING_NOTED)
        if found[1]:
            states[row_id] = before._replace(claim=max(before.claim, int(found[1])))
        else:
            states[row_id] = before._replace(done=name)
    return states


def read_record(store: PlaceStore, base: str, row_id: str, mark: str) -> RowRecord:
    """Return the record of a row that is done. IntegrityError: it is none."""
    key = f"{base}{MARKER_FOLDER}/{row_id}/{mark}"
    return _decoded(store.get(key, limit=_MOST), RowRecord, f"{store.url}/{key}")


def write_record(store: PlaceStore, base: str, record: RowRecord) -> None:
    """Note that a row is done."""
    store.put(f"{base}{MARKER_FOLDER}/{record.id}/{record.mark}", msgspec.json.encode(record))


def claim_id(
    store: PlaceStore, base: str, row_id: str, state: IdState, who: RunIdentity, *, take_over: bool = False
) -> None:
    """Become the one who makes the files of an id, of which `state` is known. ConflictError: somebody else does."""
    if (
        state.done is None
        and state.holder is not None
        and not (state.is_free or take_over or state.holder.run == who.run)
    ):
        raise _in_use(row_id, state.holder)
    number = state.claim + 1
    if not store.create(f"{base}{MARKER_FOLDER}/{row_id}/claim-{number}", msgspec.json.encode(who)):
        holder = _read_claim(store, base, row_id, number)
        if holder.run != who.run:  # else this task is run a second time
            raise _in_use(row_id, holder)


def _read_claim(store: PlaceStore, base: str, row_id: str, number: int) -> RunIdentity:
    key = f"{base}{MARKER_FOLDER}/{row_id}/claim-{number}"
    return _decoded(store.get(key, limit=_MOST), RunIdentity, f"{store.url}/{key}")


def forget_id(store: PlaceStore, base: str, row_id: str) -> None:
    """Remove what is noted of an id."""
    folder = f"{base}{MARKER_FOLDER}/{row_id}/"
    store.delete([info.key for info in store.list(folder)])


def _in_use(row_id: str, holder: RunIdentity) -> ConflictError:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.time))
    return ConflictError(
        f"the id {row_id!r} is in use",
        why=f"process {holder.pid} on {holder.host} has begun with it at {since}",
        fix="Choose another id; or, if nobody is at it any more, take_over=True.",
    )


_T = TypeVar("_T", RunIdentity, RowRecord)


def _decoded(body: bytes, kind: type[_T], what: str) -> _T:
    try:
        found = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(
            f"{what} is malformed", why=str(error), fix="Remove it: what it stands for is made anew."
        ) from error
    if found.format > FORMAT:
        raise FormatTooNewError(f"{what} was written by a later Penstock", fix="Install that one.")
    return found


def _host() -> str:
    return socket.gethostname()


def _started(pid: int) -> str:
    """Return what tells a process from a later one with its number; empty: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
