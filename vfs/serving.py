"""Serve one mount in this process until it is unmounted or the process is asked to end.

The order of things: the root is read without a kernel, so that a store that fails says why; the kernel mounts; the
tree is read once through the kernel; the state file is written; only then is `ready` called.

The end always comes: SIGTERM unmounts; while that is refused because the mount is in use, files go on being served
for a grace period; then the mount is taken out of sight and whoever still uses it gets errors.
**Invariant:** the mountpoint is unmounted only while it is this mount that is on top of it.

pyfuse3 has one session a process. Used by `daemon` and `mounting` (in the foreground).
"""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pyfuse3
import trio

from penstock.errors import PenstockError
from penstock.manifest.records import format_time, parse_time
from penstock.repo.handle import parse_handle
from penstock.repo.snapshot import Snapshot, open_snapshot

from .commands import MountCommands
from .control import ControlSocket
from .detach import detach
from .filesystem import ReadOnlyFileSystem
from .fuse import FuseOperations
from .mountinfo import SUBTYPE, KernelMount, fs_name, top_mount
from .preflight import mount_failure
from .processes import start_time
from .registry import MountRecord, access_log_path, control_path, register, sweep, unregister
from .status import Vitals
from .tuning import tune
from .wire import MountRequest
from .workers import Workers

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_TASKS = 256
"""Requests answered at once: as many as the kernel sends in the background."""
_GRACE = 5.0
"""Seconds for which a mount in use is served on after SIGTERM."""
_RETRY = 0.2
_TRIM = 5.0
"""Seconds between looks for evicted segments of the cache that are still mapped here: they take disk until let go."""
_LOOK = 1.0
"""Seconds between looks at whether the kernel is still there; only matters when a request is stuck."""
_DRAIN = 1.0
_FETCHERS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Processes that fetch: one is quicker than two on two cores, which the store's answers keep busy as well."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(request: MountRequest, ready: Callable[[MountRecord], None]) -> None:
    """Mount and serve; returns when the mount is gone. `ready` is called, in the event loop, when it is readable.

    Any of `penstock.errors`, as long as it is not readable.
    """
    snapshot = open_snapshot(request.handle, request.settings, fetchers=_FETCHERS, remember=True)
    workers = Workers()
    try:
        trio.run(_Serving(request, snapshot, workers, ready).run)
    finally:
        # A thread that waits for the store is left to the end of the process, and so is what it uses.
        if workers.drain(_DRAIN):
            snapshot.close()


class _Serving:
    """One mount on its way from mounting to the end."""

    def __init__(
        self, request: MountRequest, snapshot: Snapshot, workers: Workers, ready: Callable[[MountRecord], None]
    ) -> None:
        self._request = request
        self._snapshot = snapshot
        self._workers = workers
        self._ready = ready
        self._mount: KernelMount | None = None
        self._failure: PenstockError | None = None

    async def run(self) -> None:
        """Do it all."""
        epoch_ns = await self._workers.run(_epoch_ns, self._snapshot)
        async with trio.open_nursery() as nursery:
            options = self._request.options
            file_system = ReadOnlyFileSystem(self._snapshot, nursery, self._workers, epoch_ns=epoch_ns)
            operations = FuseOperations(
                file_system,
                uid=os.getuid() if options.uid is None else options.uid,
                gid=os.getgid() if options.gid is None else options.gid,
            )
            nursery.start_soon(self._trim)
            try:
                await _read_root(file_system)
                self._mount = _mount(operations, self._request, _full_name(self._snapshot))
            except PenstockError as error:
                self._failure = error
            else:
                await self._serve(operations)
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _trim(self) -> None:
        while True:
            await trio.sleep(_TRIM)
            await self._workers.run(self._snapshot.trim)

    async def _serve(self, operations: FuseOperations) -> None:
        record: MountRecord | None = None
        try:
            async with trio.open_nursery() as serving:
                serving.start_soon(self._end_on_signal, serving.cancel_scope)
                serving.start_soon(self._end_with_connection, serving.cancel_scope)
                serving.start_soon(self._loop, serving.cancel_scope)
                await operations.initialized.wait()
                record = await self._settle(operations, serving)
                if record is None:
                    serving.cancel_scope.cancel()
        finally:
            if record is not None:
                unregister(record)
            # Lazily, and only where nobody else has done it: libfuse goes by the path alone.
            pyfuse3.close(unmount=self._is_mounted())

    async def _loop(self, scope: trio.CancelScope) -> None:
        try:
            await pyfuse3.main(max_tasks=_TASKS)
        finally:
            scope.cancel()

    async def _settle(self, operations: FuseOperations, nursery: trio.Nursery) -> MountRecord | None:
        """Read the tree through the kernel, tune, answer questions, register, and say that it is ready."""
        request, snapshot, mount = self._request, self._snapshot, self._mount
        assert mount is not None
        tune(mount.device, request.options.read_ahead_kib)
        record = MountRecord(
            pid=os.getpid(),
            started=start_time(os.getpid()) or 0,
            mountpoint=request.mountpoint,
            device=mount.device,
            handle=request.handle,
            bucket_url=snapshot.bucket_url,
            dataset=snapshot.dataset,
            top_hash=snapshot.top_hash.hex(),
            commit=snapshot.commit_id.hex() if snapshot.commit_id is not None else None,
            since=format_time(dt.datetime.now(dt.UTC)),
            log=request.log,
            control=control_path(os.getpid()),
            offline=snapshot.offline,
        )
        try:
            await self._workers.run(_look, request.mountpoint)
            sweep()
            nursery.start_soon(self._control(record, operations).serve)
            register(record)
            self._ready(record)
        except (OSError, PenstockError) as error:
            self._failure = (
                error
                if isinstance(error, PenstockError)
                else PenstockError(f"{request.mountpoint} is mounted but not readable", why=str(error))
            )
            return None
        _log.info("mounted %s at %s, version %s", request.handle, request.mountpoint, record.top_hash)
        return record

    def _control(self, record: MountRecord, operations: FuseOperations) -> ControlSocket:
        assert record.control is not None
        vitals = Vitals(record, self._snapshot, operations.reads)
        # Threads of their own: those of readers may all be waiting for a store that does not answer.
        commands = MountCommands(vitals, operations, Workers(2), access_log_path(record.mountpoint))
        return ControlSocket(record.control, commands.table())

    async def _end_with_connection(self, scope: trio.CancelScope) -> None:
        """End when the kernel has, though a request may still wait for the store: pyfuse3 would wait with it."""
        poll = select.poll()
        poll.register(_fuse_device(), 0)
        while not poll.poll(0):  # noqa: ASYNC110  # POLLERR, no longer connected, is all that the kernel tells
            await trio.sleep(_LOOK)
        scope.cancel()

    async def _end_on_signal(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(*_SIGNALS) as received:
            number = await anext(received)
            _log.info("%s: unmounting", signal.Signals(number).name)
            with trio.move_on_after(_GRACE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._unmount_when_free, nursery.cancel_scope)
                    await anext(received)  # a second signal: at once, then
                    nursery.cancel_scope.cancel()
            if self._is_mounted():
                _log.warning("%s is still in use: its users get errors from now on", self._request.mountpoint)
                await self._workers.run(_detach_lazily, self._request.mountpoint)
            scope.cancel()

    async def _unmount_when_free(self, scope: trio.CancelScope) -> None:
        while self._is_mounted():
            try:
                await self._workers.run(detach, self._request.mountpoint, lazy=False)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    _log.warning("unmounting failed: %s", error.strerror)
                    break
            await trio.sleep(_RETRY)
        scope.cancel()

    def _is_mounted(self) -> bool:
        return self._mount is not None and top_mount(self._request.mountpoint) == self._mount


def _full_name(snapshot: Snapshot) -> str:
    """Return the handle with the ref that it leaves out."""
    return str(replace(parse_handle(snapshot.handle), ref=snapshot.version.ref))


def _epoch_ns(snapshot: Snapshot) -> int:
    """Return the time of the version, in nanoseconds since 1970; 0 when it was named by its top hash."""
    commit = snapshot.commit()
    return round(parse_time(commit.time).timestamp()) * 1_000_000_000 if commit is not None else 0


async def _read_root(file_system: ReadOnlyFileSystem) -> None:
    handle = await file_system.opendir(pyfuse3.ROOT_INODE)
    await file_system.readdir(handle, 0)
    file_system.releasedir(handle)


def _mount(operations: FuseOperations, request: MountRequest, name: str) -> KernelMount:
    """Have the kernel mount, as `name`; libfuse and fusermount3 give their reasons on standard error only."""
    options = {
        "ro",
        "default_permissions",
        f"fsname={fs_name(name)}",
        f"subtype={SUBTYPE}",
        *(["allow_other"] if request.options.allow_other else []),
    }
    sys.stderr.flush()
    before = os.dup(2)
    told = os.memfd_create("libfuse")
    try:
        os.dup2(told, 2)
        try:
            pyfuse3.init(operations, request.mountpoint, options)
        finally:
            os.dup2(before, 2)
    except RuntimeError as error:
        reasons = os.pread(told, 4096, 0).decode("utf-8", "replace")
        raise mount_failure(request.mountpoint, reasons) from error
    finally:
        os.close(before)
        os.close(told)
    mount = top_mount(request.mountpoint)
    assert mount is not None  # the kernel has just said so
    return mount


def _fuse_device() -> int:
    """Return the descriptor of this process's only FUSE session."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them is gone
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                return int(name)
    raise AssertionError("a session without a descriptor")


def _look(mountpoint: str) -> None:
    os.stat(mountpoint)
    with os.scandir(mountpoint) as entries:
        next(entries, None)


def _detach_lazily(mountpoint: str) -> None:
    with suppress(OSError):  # it was unmounted meanwhile
        detach(mountpoint, lazy=True)
