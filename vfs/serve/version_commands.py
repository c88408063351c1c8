"""What a writable mount's daemon does about versions: commit what changed, take in what others did, drop changes.

Each is a job (`jobs`). The overlay belongs to the event loop; what blocks runs in threads, and a job that is cancelled,
or whose mount goes away, ends where nothing is half-done. What the kernel remembers and what is true no longer is
invalidated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import pyfuse3
import trio

from penstock.errors import ConflictError, UsageError
from penstock.mountpoint.working_copy.changes import list_changes, newest
from penstock.mountpoint.working_copy.commit import fields_of
from penstock.mountpoint.working_copy.discard import plan_of, restored_line
from penstock.mountpoint.working_copy.overlay_check import finding_line
from penstock.overlay.commit.layer_merge import LayerMerge
from penstock.overlay.commit.overlay_commit import OverlayCommit
from penstock.overlay.commit.recovery import Recovery
from penstock.overlay.commit.settlement import Settling
from penstock.overlay.discard import Discard
from penstock.overlay.inspection.inspection import inspect_snapshot
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.clean_records import Stale
from penstock.overlay.tree.lower import Lower
from penstock.repo.history.side_choice import choice
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship
from penstock.vfs.files.upper_layer import UpperLayer
from penstock.vfs.files.writable import WritableFileSystem
from penstock.vfs.fuse.listing_flag import ListingFlag
from penstock.vfs.fuse.operations import FuseOperations
from penstock.vfs.source.workers import Workers

from .control_socket import ControlArguments, ControlCommand
from .jobs import Job, Jobs, blocking, wait_for_takers

__all__ = ["VersionCommands"]

_log = logging.getLogger(__name__)


class VersionCommands:
    """Commits and refreshes of one mount."""

    def __init__(
        self,
        upper: UpperLayer,
        operations: FuseOperations,
        snapshot: Snapshot,
        settings: Settings,
        workers: Workers,
        jobs: Jobs,
        moved: Callable[[Origin], None],
    ) -> None:
        """Begin. `moved` is told when the mount is at another version."""
        self._upper = upper
        self._operations = operations
        self._snapshot = snapshot
        self._settings = settings
        self._workers = workers
        self._jobs = jobs
        self._moved = moved

    def table(self) -> dict[str, ControlCommand]:
        """Return the commands by name."""
        found: dict[str, ControlCommand] = {
            "refresh": self._refresh,
            "job": self._jobs.state,
            "cancel": self._jobs.cancel,
        }
        if self._upper.directory is not None:
            found |= {"commit": self._commit, "changes": self._changes, "discard": self._discard, "check": self._check}
        return found

    @property
    def _fs(self) -> WritableFileSystem:
        """The file system with its upper layer; a read-only mount has none before its first refresh."""
        file_system = self._upper.file_system()
        if self._operations.file_system is not file_system:
            self._operations.show(file_system)
        return file_system

    async def _commit(self, arguments: ControlArguments) -> dict[str, object]:
        authorship = Authorship(_text(arguments, "author") or "", _text(arguments, "message") or "", "commit")
        # To a merge the branch is ours, and what is committed theirs; to whoever commits it is the other way round.
        choose = choice(ours=_texts(arguments, "theirs"), theirs=_texts(arguments, "ours"))
        branch, tag = _text(arguments, "branch"), _text(arguments, "tag")
        dry_run = arguments.get("dry_run") is True

        async def work(job: Job) -> object:
            await self._recover(job)
            commit = OverlayCommit(
                self._fs.overlay,
                self._fs.editor,
                self._snapshot,
                self._settings,
                authorship,
                branch=branch,
                tag=tag,
                choose=choose,
                dry_run=dry_run,
            )
            try:
                commit.begin()
                if await blocking(self._workers, job, lambda: commit.build(job.progress)):
                    commit.intend()
                    await blocking(self._workers, job, commit.land)
                else:
                    await blocking(self._workers, job, commit.name)
                if not dry_run:
                    await self._settle(commit.settle(self._fs.is_open))
            finally:
                commit.close()
                if commit.leaves_layers:
                    await self._take_steps(LayerMerge(self._fs.overlay, self._fs.editor))
            return fields_of(commit.report)

        return self._jobs.start("commit", work)

    async def _changes(self, arguments: ControlArguments) -> dict[str, object]:
        """List what differs from the last commit, a line each as `list_changes` makes them."""
        overlay, every = self._fs.overlay, arguments.get("every") is True

        async def work(job: Job) -> object:
            origin, counters = overlay.origin, overlay.counters
            assert origin is not None  # it is mounted
            with overlay.records.snapshot() as reader:

                def tell() -> None:
                    for line in list_changes(reader, origin, counters.committed, self._snapshot, every=every):
                        job.lines.append(line)
                        wait_for_takers(job)

                await blocking(self._workers, job, tell)
            return {}

        return self._jobs.start("look at what changed", work, looks=True)

    async def _refresh(self, arguments: ControlArguments) -> dict[str, object]:
        """Move to what the handle names now, and keep what was changed here where nobody else changed it."""
        rebase = arguments.get("rebase") is True

        async def work(job: Job) -> object:
            overlay = self._fs.overlay
            await self._recover(job)
            origin, counters = overlay.origin, overlay.counters
            assert origin is not None  # it is mounted
            newer = await blocking(self._workers, job, partial(newest, origin, self._snapshot))
            if newer is not None:
                if not rebase and overlay.is_dirty():
                    raise ConflictError(
                        "the mount has changes that are not committed",
                        why=f"{origin.handle} has moved on to {newer.origin.manifest.top_hash.hex()[:12]} meanwhile",
                        fix="Commit them (they are merged with what others did), or: penstock refresh --rebase DIR",
                    )
                await self._settle(
                    Settling(
                        overlay,
                        self._fs.editor,
                        newer.origin,
                        counters.committed,
                        newer.changes,
                        None,
                        None,
                        self._fs.is_open,
                    )
                )
                origin = newer.origin
            return {
                "handle": origin.handle,
                "top_hash": origin.manifest.top_hash.hex(),
                "commit": origin.commit.hex() if origin.commit is not None else None,
                "moved": newer is not None,
                "changes": len(newer.changes) if newer is not None else 0,
            }

        return self._jobs.start("refresh", work)

    async def _discard(self, arguments: ControlArguments) -> dict[str, object]:
        """Put paths back, or everything; a line for each as `restored_line` makes them."""
        paths, dry_run = _texts(arguments, "paths"), arguments.get("dry_run") is True
        overlay = self._fs.overlay

        async def work(job: Job) -> object:
            await self._recover(job)
            origin, sequence = overlay.origin, overlay.counters.committed
            assert origin is not None  # it is mounted
            with overlay.records.snapshot() as reader:
                plan = await blocking(
                    self._workers, job, lambda: plan_of(reader, origin, sequence, self._snapshot, paths)
                )
            if not dry_run:
                await self._take_steps(Discard(overlay, self._fs.editor, plan, self._fs.is_open))
            job.lines.extend(map(restored_line, plan))
            return {}

        return self._jobs.start("discard", work)

    async def _check(self, _: ControlArguments) -> dict[str, object]:
        """Look through the overlay; a line for each thing that is damaged, as `overlay_check.finding_line` has it."""
        overlay = self._fs.overlay

        async def work(job: Job) -> object:
            origin = overlay.origin
            assert origin is not None  # it is mounted
            with overlay.records.snapshot() as reader:
                tallies = overlay.records.tallies()

                def look() -> int:
                    lower = Lower(origin.lower, reader, self._snapshot.load, origin.metadata)
                    found = inspect_snapshot(reader, overlay.content, lower, tallies)
                    for each in found:
                        job.lines.append(finding_line(each))
                        wait_for_takers(job)
                    return sum(count for count, _ in tallies)

                records = await blocking(self._workers, job, look)
            return {"directory": overlay.directory, "records": records}

        return self._jobs.start("check", work, looks=True)

    def recover(self) -> None:
        """See to what a process that died has left: a commit that may have landed, files that nothing names."""
        if self._upper.directory is None:
            return

        async def work(job: Job) -> object:
            await self._recover(job)
            return {}

        async def tidy(job: Job) -> object:
            content = self._fs.overlay.content
            with self._fs.overlay.records.snapshot() as reader:
                strays = await blocking(self._workers, job, lambda: content.strays(reader))
                unsummed = await blocking(self._workers, job, lambda: list(content.sums.missing(reader)))
            content.remove(strays)
            content.sums.note(unsummed)
            return {}

        with suppress(ConflictError):  # something is under way already: it looks first, too
            self._jobs.start("recovery", work)
        self._jobs.start("tidying", tidy, looks=True)

    async def _recover(self, job: Job) -> None:
        recovery = Recovery(self._fs.overlay, self._fs.editor, self._snapshot)
        if recovery.is_needed:
            landed = await blocking(self._workers, job, recovery.look)
            _log.info("the commit that was interrupted has%s landed", "" if landed else " not")
            settling = recovery.settle(self._fs.is_open)
            if settling is not None:
                await self._settle(settling)

    async def _settle(self, settling: Settling) -> None:
        """Have the overlay take note of what landed."""
        await self._take_steps(settling)
        origin = self._fs.overlay.origin
        assert origin is not None  # it is mounted
        self._moved(origin)

    async def _take_steps(self, steps: Settling | Discard | LayerMerge) -> None:
        """Change the overlay in small steps, and have the kernel forget what is no longer so."""
        with trio.CancelScope(shield=True):
            try:
                while await self._fs.ask(steps.step):
                    await trio.lowlevel.checkpoint()
            finally:
                # In a thread: the kernel may hold a lock for a request that waits for this very loop.
                detour = self._operations.detour
                assert detour is not None  # the session is there
                await self._workers.run(_forget, steps.stale, detour)


def _forget(stale: Sequence[Stale], detour: ListingFlag) -> None:
    """Have the kernel forget names, content and listings that are no longer what it knows. Blocking."""
    with detour.notifying:
        for each in stale:
            with suppress(OSError):  # the kernel does not know it
                pyfuse3.invalidate_entry(each.parent, each.name)
            if each.inode:
                with suppress(OSError):
                    pyfuse3.invalidate_inode(each.inode, attr_only=False)
        for parent in {each.parent for each in stale}:
            with suppress(OSError):
                pyfuse3.invalidate_inode(parent, attr_only=False)


def _text(arguments: ControlArguments, name: str) -> str | None:
    value = arguments.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}", why="text is wanted")
    return value


def _texts(arguments: ControlArguments, name: str) -> Sequence[str]:
    value = arguments.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{name} is {value!r}", why="a list of paths is wanted")
    return value
