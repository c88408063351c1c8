"""Serve a mount's files in this process, until the mount is gone or the supervisor asks for the end.

The first process of a mount: the root is read without a kernel, so that a store that fails says why; the kernel
mounts; the supervisor is given the session; the tree is read once through the kernel; only then is it told that files
can be read. A later process takes the session over and serves on; it needs no store for that, and what it cannot do
is the supervisor's to judge. Each process answers on the mount's control socket.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
from dataclasses import replace

import msgspec
import pyfuse3
import trio

from penstock.errors import PenstockError
from penstock.manifest.entry import NodeRef
from penstock.manifest.file_attributes import DEFAULT_UMASK
from penstock.manifest.records import format_time, parse_time
from penstock.manifest.tree import ROOT_INODE
from penstock.mountpoint.daemon.device import is_disconnected
from penstock.mountpoint.daemon.supervisor_link import Link, Mounted, Moved, Serving, Start
from penstock.mountpoint.daemon_messages import MountRequest
from penstock.mountpoint.kernel_mounts import SUBTYPE, KernelMount, fs_name, top_mount
from penstock.mountpoint.mount_records import MountRecord, access_log_path, control_path
from penstock.mountpoint.processes import boot_id, start_time
from penstock.overlay.tables.meta import Origin
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.vfs.ahead.trace_recorder import record
from penstock.vfs.files.filesystem import FileSystem, ReadOnlyFileSystem
from penstock.vfs.files.upper_layer import UpperLayer
from penstock.vfs.fuse.kernel_settings import tune
from penstock.vfs.fuse.listing_flag import ListingFlag
from penstock.vfs.fuse.operations import FuseOperations
from penstock.vfs.fuse.readers import Readers
from penstock.vfs.fuse.request_wait import wait_by_looking
from penstock.vfs.fuse.session import attach, mount, read_greeting
from penstock.vfs.fuse.writable_operations import WritableOperations
from penstock.vfs.source.tree_queries import TreeQueries
from penstock.vfs.source.workers import Workers

from .announcements import Announcements
from .control_socket import ControlSocket
from .jobs import Jobs
from .landing_check import LandingCheck
from .mount_commands import MountCommands
from .version_commands import VersionCommands
from .version_lease import VersionLease
from .vitals import Vitals, cache_note

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_TASKS = 256
"""Requests answered at once: as many as the kernel sends in the background."""
_TRIM = 5.0
"""Seconds between looks for evicted segments of the cache that are still mapped here: they take disk until let go."""
_LOOK = 1.0
"""Seconds between looks at whether the kernel is still there; only matters when a request is stuck."""
_DRAIN = 1.0
_FETCHERS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Processes that fetch: one is quicker than two on two cores, which the store's answers keep busy as well."""


def serve(start: Start, session: int | None, link: Link) -> None:
    """Mount, or serve the `session` on; returns when the mount is gone, or after SIGTERM.

    Any of `penstock.errors`, when it cannot be served.
    """
    request = start.request
    pin = msgspec.msgpack.decode(start.pin, type=Pin) if start.pin is not None else None
    with UpperLayer(request, start.parent, resumed=session is not None) as upper:
        pin = upper.pin(pin)
        snapshot = open_snapshot(
            request.handle,
            request.settings,
            fetchers=_FETCHERS,
            remember=True,
            pin=pin,
            set_aside=start.set_aside,
        )
        workers = Workers()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # heard in the event loop, and later the end has begun already
        try:
            if pin is None:
                upper.begin(snapshot)
            trio.run(_Serving(request, start, link, snapshot, workers, upper).run, session)
        finally:
            # A thread that waits for the store is left to the end of the process, and so is what it uses.
            if workers.drain(_DRAIN):
                snapshot.close()


class _Serving:
    """One process's part in a mount's life."""

    def __init__(
        self,
        request: MountRequest,
        start: Start,
        link: Link,
        snapshot: Snapshot,
        workers: Workers,
        upper: UpperLayer,
    ) -> None:
        self._request = request
        self._start = start
        self._link = link
        self._snapshot = snapshot
        self._workers = workers
        self._upper = upper
        self._holding = VersionLease(snapshot, workers, upper.is_dirty)
        before = start.record.refused if start.record is not None else None
        self._check = LandingCheck(snapshot, request.settings, workers, before)
        self._attachments: NodeRef | None = None
        self._readable: ReadOnlyFileSystem | None = None
        self._failure: PenstockError | None = None

    async def run(self, session: int | None) -> None:
        """Do it all."""
        epoch_ns, self._attachments = await self._workers.run(_told, self._snapshot)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, nursery.cancel_scope)
            operations = await self._operations(nursery, epoch_ns)
            nursery.start_soon(self._trim)
            nursery.start_soon(self._upper.checkpoint, self._workers)
            try:
                await self._serve(operations, session)
            except PenstockError as error:
                self._failure = error
            nursery.cancel_scope.cancel()
        await self._holding.end()
        if self._failure is not None:
            raise self._failure

    async def _operations(self, nursery: trio.Nursery, epoch_ns: int) -> FuseOperations:
        options = self._request.options
        uid = os.getuid() if options.uid is None else options.uid
        gid = os.getgid() if options.gid is None else options.gid
        umask = DEFAULT_UMASK if options.umask is None else options.umask
        readable = self._readable = ReadOnlyFileSystem(
            self._snapshot,
            nursery,
            self._workers,
            epoch_ns=epoch_ns,
            umask=umask,
            attachments=self._attachments,
        )
        if options.record_trace is not None:
            await nursery.start(record, options.record_trace, readable, self._snapshot, self._workers)
        self._upper.over(readable, self._snapshot, TreeQueries(self._snapshot, nursery, self._workers), self._workers)
        if self._request.options.writable:
            return WritableOperations(self._upper.file_system(), uid=uid, gid=gid)
        return FuseOperations(self._upper.file_system() if self._upper.is_there else readable, uid=uid, gid=gid)

    async def _serve(self, operations: FuseOperations, session: int | None) -> None:
        options = _kernel_options(self._request, _full_name(self._snapshot))
        greeting = self._start.greeting
        mounted: KernelMount | None = None
        if session is None or greeting is None:
            await _read_root(operations.file_system)
            session = mount(self._request.mountpoint, options)
            mounted = top_mount(self._request.mountpoint)
            assert mounted is not None  # the kernel has just said so
            greeting = read_greeting(session)
            self._link.send(Mounted(mounted.device, greeting, msgspec.msgpack.encode(self._snapshot.pin)), session)
        wait_by_looking(operations.arrived)
        device = await attach(operations, options, session, greeting, answer=mounted is not None)
        operations.detour = ListingFlag(device)
        try:
            async with trio.open_nursery() as serving:
                serving.start_soon(_end_with_connection, device, serving.cancel_scope)
                serving.start_soon(_loop, serving.cancel_scope)
                try:
                    await self._settle(mounted, operations, serving)
                except PenstockError as error:
                    self._failure = error
                    serving.cancel_scope.cancel()
        finally:
            operations.detour.close()
            pyfuse3.close(unmount=False)  # that is for the supervisor, when no other process is to follow

    async def _settle(
        self,
        mounted: KernelMount | None,
        operations: FuseOperations,
        nursery: trio.Nursery,
    ) -> None:
        """Answer questions, and say that files can be read; the first process sees first that they can."""
        ready: MountRecord | None = None
        if mounted is not None:
            tune(mounted.device, self._request.options.read_ahead_kib)
            if self._upper.directory is not None:
                await self._check.begin()
            record = ready = self._describe(mounted)
            try:
                await self._workers.run(_look, self._request.mountpoint)
            except OSError as error:
                raise PenstockError(
                    f"{self._request.mountpoint} is mounted but not readable", why=str(error)
                ) from error
        else:
            assert self._start.record is not None
            record = self._start.record
        jobs = Jobs(nursery, self._upper.explain)
        vitals = Vitals(
            record,
            self._snapshot,
            operations.reads,
            lambda: self._check.refused,
            lambda: jobs.busy,
            trouble=self._upper.trouble,
        )
        # Threads of their own: those of readers may all be waiting for a store that does not answer.
        announcements = Announcements(self._snapshot, operations.file_system.follower, Workers(4))
        operations.readers = Readers(lambda: _shown_version(self._snapshot))
        log = access_log_path(record.mountpoint)
        commands = MountCommands(vitals, operations, Workers(2), log, announcements, self._upper.is_dirty)
        assert self._readable is not None  # made with the operations
        versioning = VersionCommands(
            self._upper,
            self._readable,
            operations,
            self._snapshot,
            self._request.settings,
            self._workers,
            jobs,
            self._on_move,
        )
        table = commands.table() | versioning.table()
        versioning.recover()
        nursery.start_soon(self._holding.begin)
        nursery.start_soon(self._check.watch)
        assert record.control is not None
        try:
            control = ControlSocket(record.control, table)
        except OSError as error:
            raise PenstockError(
                f"{record.mountpoint} cannot be asked",
                why=f"no socket can be made in {os.path.dirname(record.control)}: {error.strerror}",
                fix="Set XDG_STATE_HOME to a directory on a disk that holds sockets.",
            ) from error
        nursery.start_soon(control.serve)
        self._link.send(Serving(ready))

    def _on_move(self, origin: Origin) -> None:
        version = origin.version
        self._snapshot.stand_at(version, origin.manifest)
        self._holding.move(version.top_hash)
        self._link.send(Moved(origin.handle, version.top_hash.hex(), version.commit.hex() if version.commit else None))

    def _describe(self, mounted: KernelMount) -> MountRecord:
        request, snapshot = self._request, self._snapshot
        return MountRecord(
            pid=self._start.parent,
            started=start_time(self._start.parent) or 0,
            mountpoint=request.mountpoint,
            device=mounted.device,
            handle=request.handle,
            bucket_url=snapshot.bucket_url,
            dataset=snapshot.dataset,
            top_hash=snapshot.top_hash.hex(),
            commit=snapshot.commit_id.hex() if snapshot.commit_id is not None else None,
            since=format_time(dt.datetime.now(dt.UTC)),
            log=request.log,
            control=control_path(self._start.parent),
            offline=snapshot.offline,
            worker_pid=os.getpid(),
            overlay=self._upper.directory,
            cache=cache_note(snapshot),
            refused=self._check.refused,
            boot=boot_id(),
        )

    async def _trim(self) -> None:
        while True:
            await trio.sleep(_TRIM)
            await self._workers.run(self._snapshot.trim)


async def _loop(scope: trio.CancelScope) -> None:
    try:
        # None of them ends before all do: one that has answered comes for its turn (`detour`).
        await pyfuse3.main(min_tasks=_TASKS, max_tasks=_TASKS)
    finally:
        scope.cancel()


async def _end_with_connection(device: int, scope: trio.CancelScope) -> None:
    """End when the kernel has, though a request may still wait for the store."""
    while not is_disconnected(device):  # noqa: ASYNC110  # the kernel tells nobody who does not ask
        await trio.sleep(_LOOK)
    scope.cancel()


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as received:
        await anext(received)
        scope.cancel()


def _full_name(snapshot: Snapshot) -> str:
    """Return the handle with the ref that it leaves out."""
    return str(replace(parse_handle(snapshot.handle), ref=snapshot.version.ref))


def _shown_version(snapshot: Snapshot) -> tuple[str, str | None]:
    return snapshot.top_hash.hex(), snapshot.commit_id.hex() if snapshot.commit_id is not None else None


def _told(snapshot: Snapshot) -> tuple[int, NodeRef | None]:
    """Return what the version's commit says: its time, in nanoseconds since 1970, and what is attached to it.

    0 and None when it was named by its top hash.
    """
    commit = snapshot.commit()
    if commit is None:
        return 0, None
    return round(parse_time(commit.time).timestamp()) * 1_000_000_000, snapshot.attachments()


async def _read_root(file_system: FileSystem) -> None:
    handle = await file_system.opendir(ROOT_INODE)
    await file_system.readdir(handle, 0)
    file_system.releasedir(handle)


def _kernel_options(request: MountRequest, name: str) -> set[str]:
    options = request.options
    # Where only root gets in, modes forbid nothing but to run a file (`access`). A kernel that checks them all the same
    # asks for a directory's attributes after each change in it: one request more for each file that is made.
    checks = not (options.writable and os.geteuid() == 0 and not options.allow_other)
    return {
        *([] if options.writable else ["ro"]),
        *(["default_permissions"] if checks else []),
        f"fsname={fs_name(name)}",
        f"subtype={SUBTYPE}",
        *(["allow_other"] if options.allow_other else []),
    }


def _look(mountpoint: str) -> None:
    os.stat(mountpoint)
    with os.scandir(mountpoint) as entries:
        next(entries, None)
