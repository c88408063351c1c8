"""How a mount is doing: what `penstock status` shows. Made in the process that serves; sent over the control socket."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from contextlib import suppress

from penstock import __version__
from penstock.cache import CacheInfo
from penstock.manifest.records import parse_time
from penstock.mountpoint.mount_records import MountRecord
from penstock.mountpoint.mount_status import CacheStatus, MemoryStatus, MountStatus, SlowFile
from penstock.repo.read.snapshot import Snapshot
from penstock.store.mount_table import network_disk

__all__ = ["Vitals", "cache_note", "resident_bytes"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Return how much memory a process takes; 0 when it is gone."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * _PAGE
    return 0


def cache_note(snapshot: Snapshot) -> str:
    """Return what a user should know of the block cache of a mount, and of what it costs; empty when all is well."""
    mode, directory = snapshot.cache_mode, snapshot.cache_directory
    if mode != "ok":
        why = mode.removeprefix("degraded: ")
        return f"nothing is kept in the block cache, every read goes to the store: {why} ({directory})"
    disk = network_disk(str(directory))
    if disk:
        return (
            f"the block cache in {directory} lies on a network disk ({disk}): it is slower than a local one, and only "
            "safe while one machine uses it; PENSTOCK_CACHE_DIR names another place"
        )
    return ""


class Vitals:
    """Tells of one mount.

    `reads` returns the bytes given to readers and the handles that are open, `trouble` what is wrong with its overlay.

    `refused` returns why a commit would be, `busy` what is under way.
    """

    def __init__(
        self,
        record: MountRecord,
        snapshot: Snapshot,
        reads: Callable[[], tuple[int, int]],
        refused: Callable[[], str | None],
        busy: Callable[[], str],
        trouble: Callable[[], list[str]] = list,
    ) -> None:
        self._record = record
        self._snapshot = snapshot
        self._reads = reads
        self._trouble = trouble
        self._refused = refused
        self._busy = busy
        self._begun = parse_time(record.since)

    def status(self, access_log: str | None, slowest: list[SlowFile], damaged: list[str]) -> MountStatus:
        """Say how it is doing; `damaged` tells of files. Blocking: it looks at the cache's disk."""
        record, snapshot = self._record, self._snapshot
        counts = snapshot.counters()
        fetchers = snapshot.fetchers
        pids = fetchers.pids() if fetchers is not None else []
        info = snapshot.cache_info()
        asked = counts["hits"] + counts["misses"]
        bytes_read, open_files = self._reads()
        return MountStatus(
            handle=record.handle,
            mountpoint=record.mountpoint,
            bucket=record.bucket_url,
            dataset=record.dataset,
            top_hash=snapshot.top_hash.hex(),
            commit=snapshot.commit_id.hex() if snapshot.commit_id is not None else None,
            overlay=record.overlay,
            trouble=[*self._trouble(), *damaged],
            refused=self._refused(),
            offline=snapshot.offline,
            since=record.since,
            uptime=round((dt.datetime.now(dt.UTC) - self._begun).total_seconds(), 3),
            hits=counts["hits"],
            misses=counts["misses"],
            hit_rate=round(counts["hits"] / asked, 4) if asked else None,
            bytes_read=bytes_read,
            bytes_fetched=counts["bytes_fetched"],
            gets=counts["gets"],
            hedges=counts["hedges"],
            in_flight=fetchers.budget.held if fetchers is not None else 0,
            budget=fetchers.budget.limit if fetchers is not None else 0,
            restarts=record.restarts + (fetchers.restarts if fetchers is not None else 0),
            worker_pid=os.getpid(),
            fetcher_pids=pids,
            open_files=open_files,
            memory=MemoryStatus(resident_bytes(os.getpid()), sum(map(resident_bytes, pids))),
            cache=self._cache(info) if info is not None else None,
            log=record.log,
            access_log=access_log,
            program=__version__,
            slowest=slowest,
            busy=self._busy(),
        )

    def _cache(self, info: CacheInfo) -> CacheStatus:
        return CacheStatus(
            directory=str(info.directory),
            bytes=info.bytes,
            max_bytes=info.max_bytes,
            blocks=info.blocks,
            mode=info.mode,
            note=cache_note(self._snapshot),
        )
