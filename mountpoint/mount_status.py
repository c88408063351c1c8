"""What a working copy, and a mount, says of itself: the document of ``penstock status --json``.

Hashes are in hex, sizes in bytes, times in seconds, `since` in ISO 8601: as programs read it.
"""

from __future__ import annotations

import msgspec

__all__ = ["CacheStatus", "CopyStatus", "MemoryStatus", "MountStatus", "SlowFile"]


class CopyStatus(msgspec.Struct, frozen=True):
    """Where a working copy stands. `overlay` is the directory of its changes, None of a read-only mount."""

    handle: str
    bucket: str
    dataset: str
    top_hash: str
    commit: str | None
    overlay: str | None


class MemoryStatus(msgspec.Struct, frozen=True):
    """Resident bytes of the processes of a mount; pages of the cache that fetchers map are among theirs."""

    worker: int
    fetchers: int


class CacheStatus(msgspec.Struct, frozen=True):
    """The block cache. `note` is what a user should know of it, empty when all is well."""

    directory: str
    bytes: int
    max_bytes: int
    blocks: int
    mode: str
    note: str


class SlowFile(msgspec.Struct, frozen=True):
    """Seconds that readers of a file have waited, in all; `path` is within the mount."""

    path: str
    waited: float


class MountStatus(CopyStatus, frozen=True):
    """How a mount is doing.

    `trouble` says what is wrong with its overlay, and which files the store no longer has, a sentence each;
    `refused` why a commit would be refused, if it would. `hits` are blocks that readers found in the cache,
    `misses` those that they had to wait for; `hit_rate` is None before the first. `bytes_read` were given to
    readers (what the kernel had in its page cache never gets here); `bytes_fetched` came from the store in `gets`
    requests, of which `hedges` were sent a second time because the answer was late. `in_flight` bytes are on their
    way, `budget` at most. `restarts` counts processes that died and were started anew. `offline`: the store could
    not be reached when it was mounted. `access_log` is where accesses are written, `log` the mount's own. `program`
    is the version of Penstock that serves it, `slowest` are the files that readers waited for longest, `busy` is
    what it is at work on: a commit, a refresh; empty when nothing.
    """

    mountpoint: str
    trouble: list[str]
    refused: str | None
    offline: bool
    since: str
    uptime: float
    hits: int
    misses: int
    hit_rate: float | None
    bytes_read: int
    bytes_fetched: int
    gets: int
    hedges: int
    in_flight: int
    budget: int
    restarts: int
    worker_pid: int
    fetcher_pids: list[int]
    open_files: int
    memory: MemoryStatus
    cache: CacheStatus | None
    log: str | None
    access_log: str | None
    program: str
    slowest: list[SlowFile]
    busy: str
