"""Ask the daemon of a mount: the client's end of `control`. Blocking; needs neither pyfuse3 nor trio."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.errors import CancelledError, PenstockError
from penstock.progress import SILENT, Progress, ProgressMirror, StageState

from .error_form import failure_from_json
from .known_mounts import find_mount, record_at
from .registry import MountRecord

__all__ = ["answers", "ask", "follow"]

_PATIENCE = 5.0
_POLL = 0.1
_MOST_ANSWER = 16 << 20


def ask(mountpoint: str, command: str, *, timeout: float = _PATIENCE, **arguments: object) -> dict[str, Any]:
    """Return what the daemon of the mount at a directory answers to a command; `timeout` in seconds.

    NotFoundError: nothing of ours is mounted there. AccessError: it is another user's. PenstockError: its daemon is
    gone, or does not answer in time. What the daemon itself refuses comes out as the error that it met.
    """
    record = _record(mountpoint)
    request = json.dumps({"command": command, **arguments}).encode("ascii") + b"\n"
    try:
        body = _exchange(record, request, time.monotonic() + timeout)
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
    return _answer(record, body)


def follow(
    mountpoint: str,
    command: str,
    progress: Progress = SILENT,
    line: Callable[[Any], None] = lambda _: None,
    **arguments: object,
) -> dict[str, Any]:
    """Have a mount do what takes its time (`jobs`), and return what comes of it; `progress` is told how far it is.

    `line` is given what comes of it piece by piece.

    Errors as `ask`, and what it fails with. KeyboardInterrupt, and CancelledError of `progress`: it is cancelled first.
    """
    job = ask(mountpoint, command, timeout=_PATIENCE, **arguments)["job"]
    mirror = ProgressMirror(progress)
    try:
        while True:
            state = ask(mountpoint, "job", job=job)
            mirror.show(msgspec.convert(state["progress"], list[StageState]))
            for each in state["lines"]:
                line(each)
            if state["done"]:
                result: dict[str, Any] = state["result"]
                return result
            if not state["lines"]:
                time.sleep(_POLL)
    except (KeyboardInterrupt, CancelledError):
        ask(mountpoint, "cancel", job=job)
        raise


def answers(record: MountRecord, timeout: float = 2.0) -> bool:
    """Whether a daemon answers at all, within so many seconds."""
    try:
        return bool(_exchange(record, b'{"command": "status"}\n', time.monotonic() + timeout))
    except OSError:
        return False


def _record(mountpoint: str) -> MountRecord:
    record = record_at(mountpoint)
    if record is not None:
        return record
    mount = find_mount(mountpoint, "status")
    raise PenstockError(
        f"the daemon of {mount.mountpoint} is gone",
        why="it was killed, or it failed",
        fix=f"penstock umount {mount.mountpoint} cleans up; penstock mount mounts it anew.",
    )


def _exchange(record: MountRecord, request: bytes, until: float) -> bytes:
    """Send a request and return all that comes back. OSError, TimeoutError among it."""
    path = record.control
    if path is None:
        raise OSError("it was mounted by another version of Penstock")
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(0.001, until - time.monotonic()))
            # As `control` binds it: the path may be longer than an address holds.
            connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            connection.sendall(request)
            body = bytearray()
            while not body.endswith(b"\n") and len(body) < _MOST_ANSWER:
                connection.settimeout(max(0.001, until - time.monotonic()))
                part = connection.recv(65536)
                if not part:
                    break
                body += part
            return bytes(body)
    finally:
        os.close(directory)


def _answer(record: MountRecord, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
        if (failed := found.get("error")) is None:
            answer: dict[str, Any] = found["answer"]
            return answer
        failure = failure_from_json(failed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PenstockError(
            f"the daemon of {record.mountpoint} answers something else", why="it may have ended just now"
        ) from error
    raise failure
