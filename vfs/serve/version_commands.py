"""What a writable mount's daemon does about versions: commit what changed, take in what others did, drop changes.

Each is a job (`jobs`) that takes steps in the order that `overlay.commit.steps` gives them. The overlay belongs to the
event loop; what blocks runs in threads, and a job that is cancelled, or whose mount goes away, ends where nothing is
half-done. What the kernel remembers and what is true no longer is invalidated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec
import pyfuse3
import trio

from penstock.errors import ConflictError, PenstockError
from penstock.manifest.tree import ROOT_INODE
from penstock.mountpoint.control_messages import (
    CancelRequest,
    ChangesRequest,
    CheckRequest,
    CommitRequest,
    DiscardRequest,
    JobStarted,
    JobStateRequest,
    RefreshRequest,
)
from penstock.mountpoint.working_copy.change_lines import discard_line, list_changes
from penstock.overlay.commit.steps import (
    OpenOverlay,
    Rounds,
    RoundWork,
    Steps,
    Thread,
    commit_steps,
    discard_steps,
    recovery_steps,
    refresh_steps,
)
from penstock.overlay.inspection.inspection import inspect_snapshot
from penstock.overlay.outcomes import CheckReport, CommitReport, RefreshReport
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.clean_records import Stale
from penstock.overlay.tree.lower import Lower
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings
from penstock.vfs.files.filesystem import ReadOnlyFileSystem
from penstock.vfs.files.upper_layer import UpperLayer
from penstock.vfs.files.writable import WritableFileSystem
from penstock.vfs.fuse.listing_flag import ListingFlag
from penstock.vfs.fuse.operations import FuseOperations
from penstock.vfs.source.workers import Workers

from .control_socket import ControlCommand
from .jobs import Job, Jobs, blocking, wait_for_takers

__all__ = ["VersionCommands"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class VersionCommands:
    """Commits and refreshes of one mount."""

    def __init__(
        self,
        upper: UpperLayer,
        readable: ReadOnlyFileSystem,
        operations: FuseOperations,
        snapshot: Snapshot,
        settings: Settings,
        workers: Workers,
        jobs: Jobs,
        moved: Callable[[Origin], None],
    ) -> None:
        """Begin. `moved` is told when the mount is at another version."""
        self._upper = upper
        self._readable = readable
        self._operations = operations
        self._snapshot = snapshot
        self._settings = settings
        self._workers = workers
        self._jobs = jobs
        self._moved = moved

    def table(self) -> dict[type[msgspec.Struct], ControlCommand]:
        """Return the commands by the classes of their requests."""
        found: dict[type[msgspec.Struct], ControlCommand] = {
            RefreshRequest: self._refresh,
            JobStateRequest: self._jobs.state,
            CancelRequest: self._jobs.cancel,
        }
        if self._upper.directory is not None:
            found |= {
                CommitRequest: self._commit,
                ChangesRequest: self._changes,
                DiscardRequest: self._discard,
                CheckRequest: self._check,
            }
        return found

    @property
    def _fs(self) -> WritableFileSystem:
        """The file system with its upper layer; a read-only mount has none before its first refresh."""
        file_system = self._upper.file_system()
        if self._operations.file_system is not file_system:
            self._operations.show(file_system)
        return file_system

    @property
    def _opened(self) -> OpenOverlay:
        """The overlay as steps need it; those that are taken in a worker load nodes as that may."""
        file_system = self._fs
        return OpenOverlay(file_system.overlay, file_system.editor, self._snapshot, file_system.is_open)

    async def _commit(self, request: CommitRequest, client: int) -> JobStarted:
        def steps(job: Job) -> Steps[CommitReport]:
            return commit_steps(self._opened, self._settings, request.options, job.progress)

        return self._jobs.start("commit", lambda job: self._take(job, steps(job)), client=client)

    async def _changes(self, request: ChangesRequest, client: int) -> JobStarted:
        """List what differs from the last commit, a line each."""
        overlay = self._fs.overlay

        async def work(job: Job) -> None:
            origin, counters = overlay.origin, overlay.counters
            assert origin is not None  # it is mounted
            with overlay.records.snapshot() as reader:

                def tell() -> None:
                    for line in list_changes(reader, origin, counters.committed, self._snapshot, every=request.every):
                        job.lines.append(line)
                        wait_for_takers(job)

                await blocking(self._workers, job, tell)

        return self._jobs.start("look at what changed", work, client=client, looks=True)

    async def _refresh(self, request: RefreshRequest, client: int) -> JobStarted:
        def steps() -> Steps[RefreshReport]:
            return refresh_steps(self._opened, rebase=request.rebase)

        return self._jobs.start("refresh", lambda job: self._take(job, steps()), client=client)

    async def _discard(self, request: DiscardRequest, client: int) -> JobStarted:
        async def work(job: Job) -> None:
            steps = discard_steps(self._opened, request.paths, dry_run=request.dry_run)
            job.lines.extend(map(discard_line, await self._take(job, steps)))

        return self._jobs.start("discard", work, client=client)

    async def _check(self, _: CheckRequest, client: int) -> JobStarted:
        """Look through the overlay; a line for each thing that is damaged."""
        overlay = self._fs.overlay

        async def work(job: Job) -> CheckReport:
            origin = overlay.origin
            assert origin is not None  # it is mounted
            with overlay.records.snapshot() as reader:
                tallies = overlay.records.tallies()

                def look() -> int:
                    lower = Lower(origin.lower, reader, self._snapshot.load, origin.metadata)
                    found = inspect_snapshot(reader, overlay.content, lower, tallies)
                    for each in found:
                        job.lines.append(each)
                        wait_for_takers(job)
                    return sum(count for count, _ in tallies)

                records = await blocking(self._workers, job, look)
            return CheckReport(overlay.directory, records)

        return self._jobs.start("check", work, client=client, looks=True)

    def recover(self) -> None:
        """See to what a process that died has left: a commit that may have landed, files that nothing names."""
        if self._upper.directory is None:
            return

        async def work(job: Job) -> None:
            await self._take(job, recovery_steps(self._opened))

        async def tidy(job: Job) -> None:
            content = self._fs.overlay.content
            with self._fs.overlay.records.snapshot() as reader:
                strays = await blocking(self._workers, job, lambda: content.strays(reader))
                unsummed = await blocking(self._workers, job, lambda: list(content.sums.missing(reader)))
            content.remove(strays)
            content.sums.note(unsummed)

        with suppress(ConflictError):  # something is under way already: it looks first, too
            self._jobs.start("recovery", work)
        self._jobs.start("tidying", tidy, looks=True)

    async def _take(self, job: Job, steps: Steps[_T]) -> _T:
        """Take steps, each where it belongs; return what comes of them. Files are served meanwhile."""
        failure: BaseException | None = None
        value: object = None
        while True:
            try:
                step = steps.send(value) if failure is None else steps.throw(failure)
            except StopIteration as end:
                result: _T = end.value
                return result
            failure, value = None, None
            try:
                if isinstance(step, Rounds):
                    await self._take_rounds(step.work)
                elif step.thread is Thread.ANY:
                    value = await blocking(self._workers, job, step.call)
                else:
                    value = step.call()
            except BaseException as error:  # noqa: BLE001  # the generator raises it again, once it has cleared up
                failure = error

    async def _take_rounds(self, work: RoundWork) -> None:
        """Change the overlay in small steps, and have the kernel forget what is no longer so."""
        overlay = self._fs.overlay
        before = overlay.origin
        with trio.CancelScope(shield=True):
            try:
                while await self._fs.ask(work.step):
                    await trio.lowlevel.checkpoint()
            finally:
                # In a thread: the kernel may hold a lock for a request that waits for this very loop.
                detour = self._operations.detour
                assert detour is not None  # the session is there
                await self._workers.run(_forget, work.stale, detour)
        if overlay.origin is not None and overlay.origin != before:
            self._moved(overlay.origin)
            await self._attach()

    async def _attach(self) -> None:
        """Show what is attached to the version that the mount is at now, and have the kernel forget what was."""
        names = {each.entry.name for each in await self._readable.attached()}
        self._readable.attach(None)
        try:
            self._readable.attach(await self._workers.run(self._snapshot.attachments))
        except PenstockError as error:  # the version is whole without
            _log.warning("what is attached to the version is not shown: %s", error)
        names |= {each.entry.name for each in await self._readable.attached()}
        detour = self._operations.detour
        if names and detour is not None:
            await self._workers.run(_forget, [Stale(ROOT_INODE, name, 0) for name in sorted(names)], detour)


def _forget(stale: Sequence[Stale], detour: ListingFlag) -> None:
    """Have the kernel forget names, content and listings that are no longer what it knows. Blocking."""
    with detour.notifying:
        for each in stale:
            with suppress(OSError):  # the kernel does not know it
                # Who watches a file by inotify(7) is told that it is gone; of other changes the kernel tells nobody.
                pyfuse3.invalidate_entry(each.parent, each.name, each.inode if each.gone else 0)
            if each.inode:
                with suppress(OSError):
                    pyfuse3.invalidate_inode(each.inode, attr_only=False)
        for parent in {each.parent for each in stale}:
            with suppress(OSError):
                pyfuse3.invalidate_inode(parent, attr_only=False)
