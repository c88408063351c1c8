"""Mount a version: checks, a daemon in a process of its own, and its word that the tree is readable.

Needs neither pyfuse3 nor trio.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace

from penstock.errors import PenstockError, StoreUnreachableError, UsageError
from penstock.mountpoint.daemon.supervisor import supervise
from penstock.mountpoint.daemon_messages import MountRequest, decode_answer
from penstock.mountpoint.detach import detach
from penstock.mountpoint.kernel_mounts import top_mount
from penstock.mountpoint.known_mounts import MountInfo, info_of
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_records import MountRecord, log_path
from penstock.mountpoint.preflight import check_fuse, check_mountpoint, claimed
from penstock.mountpoint.processes import end, start_time
from penstock.mountpoint.service_manager import notify
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.warm.trace import begin_trace
from penstock.waits import waiting_for
from penstock.wire import encode_message

__all__ = ["mount", "mount_foreground"]

_DEFAULTS = MountOptions()
_MOST_ANSWER = 1 << 20
_GRACE = 5.0


def mount(
    handle: str, mountpoint: str, settings: Settings, options: MountOptions = _DEFAULTS, *, timeout: float = 120.0
) -> MountInfo:
    """Mount what a handle names at a directory, and return when it is readable; a daemon serves it from then on.

    `timeout` in seconds. UsageError, NotFoundError (with the nearest names), ConflictError (mounted already),
    AccessError, IntegrityError, StoreUnreachableError: each leaves nothing mounted.
    """
    request = _checked(handle, mountpoint, settings, options, daemon=True)
    with claimed(request.mountpoint):
        return info_of(_start(request, timeout))


def mount_foreground(
    handle: str,
    mountpoint: str,
    settings: Settings,
    options: MountOptions = _DEFAULTS,
    *,
    ready: Callable[[MountInfo], None] = lambda _: None,
) -> None:
    """Mount, with this process as the daemon; returns when it is unmounted, or after SIGINT, SIGTERM or SIGHUP.

    `ready` is called once the tree is readable, and systemd told (`Type=notify`). Call it from the main thread. Errors
    as `mount`.
    """
    request = _checked(handle, mountpoint, settings, options, daemon=False)
    with ExitStack() as claim:
        claim.enter_context(claimed(request.mountpoint))

        def is_ready(record: MountRecord) -> None:
            claim.close()
            ready(info_of(record))
            notify(READY="1", STATUS=f"{record.handle} is at {record.mountpoint}")

        try:
            supervise(request, is_ready)
        finally:
            notify(STOPPING="1")


def _start(request: MountRequest, timeout: float) -> MountRecord:
    """Start a daemon and return what it says."""
    assert request.log is not None
    with open(request.log, "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            # -P: the working directory may be a dataset with a file called trio.py in it.
            [sys.executable, "-P", "-m", "penstock.mountpoint.daemon.daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    started = start_time(process.pid)
    assert process.stdin is not None
    assert process.stdout is not None
    # The daemon outlives this call and most callers; a caller that lives on must not be left with a zombie.
    threading.Thread(target=process.wait, name="penstock-mount", daemon=True).start()
    with process.stdin, process.stdout:
        try:
            with suppress(BrokenPipeError):  # it died at once: its log says why
                process.stdin.write(encode_message(request))
                process.stdin.close()
            with waiting_for(f"the store of {request.handle}, to mount it"):
                answer = _answer(process.stdout.fileno(), timeout)
        except BaseException:  # Ctrl-C does not reach the daemon, which has a session of its own
            _abandon(process.pid, started, request.mountpoint)
            raise
    if answer is None or not answer.endswith(b"\n"):
        _abandon(process.pid, started, request.mountpoint)
        raise _silent(request, begin) if answer is not None else _late(request, timeout)
    try:
        return decode_answer(answer)
    except PenstockError as error:
        if not error.fix and type(error) is PenstockError:
            error.fix = f"The log is {request.log}"
        raise


def _checked(handle: str, mountpoint: str, settings: Settings, options: MountOptions, *, daemon: bool) -> MountRequest:
    parse_handle(handle)
    check_fuse(options)
    path = check_mountpoint(mountpoint, settings.cache_directory, options)
    if options.record_trace is not None:
        options = replace(options, record_trace=_trace(options.record_trace, path))
    return MountRequest(handle, path, settings, options, log_path(path) if daemon else None)


def _trace(path: str, mountpoint: str) -> str:
    """Make the file of a trace; return its path as the daemon needs it."""
    found = os.path.realpath(path)
    if found.startswith(mountpoint.rstrip("/") + "/"):
        raise UsageError(
            f"the trace {path} lies in the directory that is mounted over",
            why="nobody could read it there",
            fix="Name a file outside it.",
        )
    begin_trace(found)
    return found


def _answer(descriptor: int, timeout: float) -> bytes | None:
    """Return the daemon's answer: a line, less when it ended before, None when the time is over."""
    until = time.monotonic() + timeout
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < _MOST_ANSWER:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not readable:
            return None
        part = os.read(descriptor, 65536)
        if not part:
            break
        answer += part
    return answer


def _abandon(pid: int, started: int | None, mountpoint: str) -> None:
    """See off a daemon that has not answered, and what it may have mounted; `started` is None when it is gone."""
    if started is not None:
        end(pid, started, _GRACE)
    found = top_mount(mountpoint)
    if found is not None and found.is_ours:
        with suppress(OSError):  # the daemon's own end may have done it
            detach(mountpoint, lazy=True)


def _late(request: MountRequest, timeout: float) -> PenstockError:
    return StoreUnreachableError(
        f"{request.handle} was not mounted",
        why=f"it was not readable within {timeout:g} s",
        fix=f"The log is {request.log}",
    )


def _silent(request: MountRequest, begin: int) -> PenstockError:
    """Return the error for a daemon that ended without a word; what Python wrote last is in its log."""
    assert request.log is not None
    with open(request.log, "rb") as log:
        log.seek(begin)
        lines = log.read(65536).decode("utf-8", "replace").strip().splitlines()
    why = lines[-1] if lines else "it does not say why"
    return PenstockError("the mount's daemon ended at once", why=why, fix=f"The log is {request.log}")
