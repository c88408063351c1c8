"""The upper layer of a mount: an overlay, there from the beginning where it is writable, and else from a refresh on.

A read-only mount that is moved to another version keeps the inodes that the kernel knows, as a writable one does: what
differs is clean records in an overlay of its own, which goes when the mount goes. It
belongs to the event loop's thread.
"""

from __future__ import annotations

import logging
import os
import shutil
from types import TracebackType
from typing import Self

import trio

from penstock.errors import IntegrityError, PenstockError
from penstock.mountpoint.daemon_messages import MountRequest
from penstock.mountpoint.mount_records import moved_path
from penstock.mountpoint.overlay_notes import note_overlay, overlay_directory
from penstock.mountpoint.working_copy.overlay_directory import adopt, open_overlay, pin_of, resumed
from penstock.overlay.disk import directory_gone, disk_error
from penstock.overlay.overlay import Overlay
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot
from penstock.vfs.source.tree_queries import TreeQueries
from penstock.vfs.source.workers import Workers

from .filesystem import ReadOnlyFileSystem
from .writable import WritableFileSystem

__all__ = ["UpperLayer"]

_log = logging.getLogger(__name__)

_CHECKPOINT = 1.0
"""Seconds between looks at whether the overlay's tables are to be written."""


class UpperLayer:
    """What lies over the version of one mount. `resumed`: another process has served the mount before.

    `parent` is the supervisor's process id.
    """

    def __init__(self, request: MountRequest, parent: int, *, resumed: bool) -> None:
        self._request = request
        self._moved = moved_path(parent)
        self._resumed = resumed
        self._overlay: Overlay | None = None
        self._file_system: WritableFileSystem | None = None
        self._below: tuple[ReadOnlyFileSystem, Snapshot, TreeQueries, Workers] | None = None

    def __enter__(self) -> Self:
        """Open the overlay, if there is to be one. ConflictError: it is in use, or holds changes of something else."""
        options = self._request.options
        if options.writable:
            directory = options.overlay_directory or overlay_directory(self._request.mountpoint)
            self._overlay = open_overlay(directory, trusted=self._resumed)
            note_overlay(self._request.mountpoint, directory)
        elif self._resumed and os.path.exists(self._moved):
            self._overlay = open_overlay(self._moved, trusted=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._overlay is None:
            return
        try:
            self._overlay.close()
        except (OSError, IntegrityError) as failure:  # the journal has it all
            _log.error("the overlay could not be written at the end: %s", failure)

    def pin(self, given: Pin | None) -> Pin | None:
        """Return what the version is opened by: `given`, the supervisor's, unless the overlay is at another one."""
        overlay = self._overlay
        if overlay is None:
            return given
        if given is None:
            return resumed(overlay, self._request.handle, self._request.settings)
        if overlay.origin is None:
            raise IntegrityError(f"the overlay in {overlay.directory} is empty", why="the mount has used it before")
        return pin_of(overlay.origin)

    def begin(self, snapshot: Snapshot) -> None:
        """Have an overlay without changes begin anew over a version."""
        if self._overlay is not None:
            adopt(self._overlay, snapshot)

    def over(self, readable: ReadOnlyFileSystem, snapshot: Snapshot, asker: TreeQueries, workers: Workers) -> None:
        """Say what it lies over."""
        self._below = readable, snapshot, asker, workers
        if self._overlay is not None and not self._resumed:
            self._overlay.remove_orphans()

    @property
    def is_there(self) -> bool:
        """Whether there is an overlay."""
        return self._overlay is not None

    @property
    def directory(self) -> str | None:
        """Where the changes of a writable mount are; None: it is read-only."""
        return self._overlay.directory if self._overlay is not None and self._request.options.writable else None

    def explain(self, error: OSError) -> PenstockError:
        """Return what an OSError is to whoever asked for something."""
        assert self._overlay is not None  # nothing else of a mount raises any
        return disk_error(error, self._overlay.directory)

    def trouble(self) -> list[str]:
        """Return what is wrong with the overlay, in words. Blocking."""
        overlay = self._overlay
        if overlay is None:
            return []
        gone = directory_gone(overlay.directory)
        return [f"{text} is damaged" for text in overlay.records.damage.found()] + ([gone.what] if gone else [])

    def is_dirty(self) -> bool:
        """Whether there are changes that were not committed."""
        return self._overlay is not None and self._overlay.is_dirty()

    def file_system(self) -> WritableFileSystem:
        """Return the version with the overlay over it; of a read-only mount, the overlay is made now."""
        if self._file_system is None:
            assert self._below is not None  # said when the mount began
            readable, snapshot, asker, workers = self._below
            handles_are_out = self._resumed
            if self._overlay is None:
                handles_are_out = True
                shutil.rmtree(self._moved, ignore_errors=True)  # of a process of the same id, before
                self._overlay = open_overlay(self._moved)
                adopt(self._overlay, snapshot)
            self._file_system = WritableFileSystem(
                readable, snapshot, asker, workers, self._overlay, resumed=handles_are_out
            )
        return self._file_system

    async def checkpoint(self, workers: Workers) -> None:
        """Have the overlay's tables written now and then, its data before them."""
        told = ""
        while True:
            await trio.sleep(_CHECKPOINT)
            overlay = self._overlay
            if overlay is not None and overlay.records.needs_checkpoint():
                try:
                    await workers.run(overlay.content.sync)  # most of it, off the event loop
                    overlay.records.checkpoint()
                except (OSError, IntegrityError) as error:  # the journal has it all: the next one may find room
                    if told != str(error):
                        _log.error("the overlay's tables cannot be written: %s", error)
                    told = str(error)
            if overlay is not None:
                overlay.records.hold_reserve()
                with trio.CancelScope(shield=True):  # the thread reads by a snapshot that ends here
                    await _sum_up(overlay, workers)


async def _sum_up(overlay: Overlay, workers: Workers) -> None:
    """Sum what was written and is left alone now, so that damage to it is noticed."""
    sums = overlay.content.sums
    if not (due := sums.due()):
        return
    try:
        await workers.run(overlay.content.sync)
        with overlay.records.snapshot() as reader:
            digests = await workers.run(sums.digests, reader, due)
        for _ in sums.keep(due, digests):
            await trio.lowlevel.checkpoint()
    except (OSError, IntegrityError) as error:
        _log.error("what was changed cannot be summed: %s", error)
