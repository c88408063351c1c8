"""Ask the daemon of a mount: the client's end of the control socket. Blocking; needs neither pyfuse3 nor trio."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any, TypeVar

from penstock import __version__
from penstock.error_form import raise_form
from penstock.errors import CancelledError, PenstockError
from penstock.progress import SILENT, Progress, ProgressMirror
from penstock.waits import waiting_for
from penstock.wire import MOST, NoMessageError, checked, encode_message, parse

from .control_messages import (
    PROTOCOL,
    Answer,
    CancelRequest,
    Envelope,
    JobStarted,
    JobState,
    JobStateRequest,
    Question,
    Request,
    RequestRefusal,
    StatusRequest,
)
from .known_mounts import MountInfo, dead_mount, find_mount, mount_at, record_at
from .mount_records import MountRecord

__all__ = ["answers", "ask", "follow", "record_to_ask"]

_PATIENCE = 5.0
_POLL = 0.1
_T = TypeVar("_T")


def ask(mountpoint: str, request: Request, answer: type[_T], *, timeout: float = _PATIENCE) -> _T:
    """Return what the daemon of the mount at a directory answers, which is an `answer`; `timeout` in seconds.

    NotFoundError: nothing of ours is mounted there. AccessError: it is another user's. PenstockError: its daemon is
    gone, does not answer in time, or is of another version. What it refuses comes out as the error that it met.
    """
    record = record_to_ask(mountpoint)
    try:
        with waiting_for(f"the mount at {record.mountpoint}"):
            body = _exchange(record, encode_message(Question(request)), time.monotonic() + timeout)
    except TimeoutError as error:
        raise PenstockError(
            f"the daemon of {record.mountpoint} does not answer",
            why=f"process {record.pid} has been asked {timeout:g} s ago",
            fix=f"Its log is {record.log}; penstock umount --force {record.mountpoint} ends it.",
        ) from error
    except OSError as error:
        raise PenstockError(
            f"the daemon of {record.mountpoint} cannot be asked",
            why=error.strerror or str(error),
            fix=f"Its log is {record.log}",
        ) from error
    return _answer(record, body, answer)


def follow(
    mountpoint: str, request: Request, line: type[_T], result: Any, progress: Progress = SILENT
) -> Generator[_T, None, Any]:
    """Have a mount do what takes its time (`jobs`): yield its lines, each a `line`; return its result, a `result`.

    `progress` is shown how far it is. Errors as `ask`, and what it fails with. Who stops iterating, Ctrl-C and a
    CancelledError of `progress` cancel it.
    """
    job = ask(mountpoint, request, JobStarted).job
    mirror = ProgressMirror(progress)
    try:
        while True:
            state = ask(mountpoint, JobStateRequest(job), JobState)
            if state.done:  # what has landed has landed: nothing is cancelled any more
                for each in state.lines:
                    yield checked(each, line)
                return checked(state.result, result)
            mirror.show(state.progress)
            for each in state.lines:
                yield checked(each, line)
            if not state.lines:
                time.sleep(_POLL)
    except NoMessageError as error:
        raise PenstockError(f"the daemon of {mountpoint} answers something else", why=str(error)) from error
    except (KeyboardInterrupt, GeneratorExit, CancelledError):
        with suppress(PenstockError):  # it has ended, or there is nobody to tell
            ask(mountpoint, CancelRequest(job), JobState)
        raise


def answers(record: MountRecord, timeout: float = 2.0) -> bool:
    """Whether a daemon answers at all, within so many seconds."""
    try:
        return bool(_exchange(record, encode_message(Question(StatusRequest())), time.monotonic() + timeout))
    except (OSError, PenstockError):
        return False


def record_to_ask(mountpoint: str) -> MountRecord:
    """Return the record of the mount at a directory, whose daemon lives. Errors as `ask`."""
    record = record_at(mountpoint)
    if record is not None:
        return record
    mount = find_mount(mountpoint, "status")
    raise dead_mount(mount_at(mount.mountpoint) or MountInfo(mount.mountpoint, mount.source, False))


def _exchange(record: MountRecord, question: bytes, until: float) -> bytes:
    """Send a question and return all that comes back. OSError, TimeoutError among it."""
    path = record.control
    if path is None:
        raise _other_version(record, Envelope())
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(0.001, until - time.monotonic()))
            # As `control_socket` binds it: the path may be longer than an address holds.
            connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            connection.sendall(question)
            body = bytearray()
            while not body.endswith(b"\n") and len(body) < MOST:
                connection.settimeout(max(0.001, until - time.monotonic()))
                part = connection.recv(65536)
                if not part:
                    break
                body += part
            return bytes(body)
    finally:
        os.close(directory)


def _answer(record: MountRecord, body: bytes, answer: type[_T]) -> _T:
    try:
        value = parse(body)
        envelope: Envelope = checked(value, Envelope)
        if envelope.protocol != PROTOCOL:
            raise _other_version(record, envelope)
        found: Answer | RequestRefusal = checked(value, Answer | RequestRefusal)
        if isinstance(found, RequestRefusal):
            raise_form(found.error)
        result: _T = checked(found.answer, answer)
        return result
    except NoMessageError as error:
        raise PenstockError(
            f"the daemon of {record.mountpoint} answers something else", why="it may have ended just now"
        ) from error


def _other_version(record: MountRecord, envelope: Envelope) -> PenstockError:
    theirs = f"of Penstock {envelope.version}" if envelope.version else "of an older Penstock"
    return PenstockError(
        f"the mount at {record.mountpoint} was made by another version of Penstock",
        why=f"its daemon is {theirs}, protocol {envelope.protocol}; this is {__version__}, protocol {PROTOCOL}",
        fix=f"penstock restart {record.mountpoint} has this one serve it, without an unmount.",
    )
