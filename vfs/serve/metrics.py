"""The status of a mount as Prometheus reads it (text exposition format 0.0.4). Pure.

Written out here rather than by a client library: it is twenty lines, and the counts are kept elsewhere already.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.mountpoint.mount_status import MountStatus

__all__ = ["prometheus_text"]

_Value = Callable[[MountStatus], float | int | None]


def _degraded(status: MountStatus) -> int | None:
    return int(status.cache.mode != "ok") if status.cache is not None else None


_METRICS: tuple[tuple[str, str, str, _Value], ...] = (
    ("up_seconds", "gauge", "Seconds since it was mounted.", lambda s: s.uptime),
    ("block_hits_total", "counter", "Blocks that readers found in the cache.", lambda s: s.hits),
    ("block_misses_total", "counter", "Blocks that readers had to wait for.", lambda s: s.misses),
    ("read_bytes_total", "counter", "Bytes given to readers.", lambda s: s.bytes_read),
    ("fetched_bytes_total", "counter", "Bytes fetched from the store.", lambda s: s.bytes_fetched),
    ("gets_total", "counter", "Requests for bytes to the store.", lambda s: s.gets),
    ("hedges_total", "counter", "Requests sent again because the answer was late.", lambda s: s.hedges),
    ("in_flight_bytes", "gauge", "Bytes on their way from the store.", lambda s: s.in_flight),
    ("budget_bytes", "gauge", "Most bytes on their way at once.", lambda s: s.budget),
    ("restarts_total", "counter", "Processes that died and were started anew.", lambda s: s.restarts),
    ("open_files", "gauge", "Open file handles.", lambda s: s.open_files),
    ("offline", "gauge", "1 when it was mounted without its store.", lambda s: int(s.offline)),
    ("worker_resident_bytes", "gauge", "Memory of the process that serves.", lambda s: s.memory.worker),
    ("fetchers_resident_bytes", "gauge", "Memory of the processes that fetch.", lambda s: s.memory.fetchers),
    ("cache_bytes", "gauge", "Bytes that the block cache takes on disk.", lambda s: s.cache.bytes if s.cache else None),
    ("cache_max_bytes", "gauge", "Most bytes that it may take.", lambda s: s.cache.max_bytes if s.cache else None),
    (
        "cache_degraded",
        "gauge",
        "1 while the disk of the cache refuses.",
        _degraded,
    ),
)


def prometheus_text(status: MountStatus) -> str:
    """Return the metrics of one mount, labelled with dataset, version and mountpoint."""
    labels = ",".join(f'{name}="{_escaped(getattr(status, name))}"' for name in ("dataset", "version", "mountpoint"))
    lines = []
    for name, kind, told, value in _METRICS:
        if (number := value(status)) is not None:
            name = f"penstock_{name}"
            lines += [f"# HELP {name} {told}", f"# TYPE {name} {kind}", f"{name}{{{labels}}} {number}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    # Names of files may hold bytes that are no UTF-8, and the format has to be.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
