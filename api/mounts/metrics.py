"""Mounts as Prometheus reads them: one family a metric for all of them, labelled with dataset, version, mountpoint.

`penstock status --metrics` prints what `mount_metrics` returns; `serve_metrics` is the exporter, which asks all
mounts of the machine whenever it is asked. A mount that does not answer is there with ``penstock_up 0``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from penstock.errors import AccessError
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.service_manager import notify

from .reports import MountReport, mount_report, mount_reports

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = ["METRICS", "mount_metrics", "serve_metrics"]

_LABELS = ("dataset", "top_hash", "mountpoint")


def _degraded(status: MountStatus) -> int | None:
    return int(status.cache.mode != "ok") if status.cache is not None else None


METRICS: tuple[tuple[str, str, str, Callable[[MountStatus], float | int | None]], ...] = (
    ("uptime_seconds", "gauge", "Seconds since it was mounted.", lambda s: s.uptime),
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
    ("cache_degraded", "gauge", "1 while the disk of the cache refuses.", _degraded),
)
"""Name without ``penstock_``, type, help, and the value; None: the mount has none."""


def mount_metrics(directory: str | os.PathLike[str]) -> str:
    """Return what Prometheus reads of a mount (text format 0.0.4). NotFoundError: nothing is mounted there."""
    from prometheus_client import generate_latest

    return generate_latest(_registry(lambda: [mount_report(directory)])).decode()


def serve_metrics(host: str, port: int, ready: Callable[[int], None], over: threading.Event) -> None:
    """Serve ``/metrics`` of all mounts over HTTP until `over` is set; `ready` is called with the port.

    Port 0 is any that is free. AccessError: the address is taken, not this machine's, or not allowed.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, host, _registry(mount_reports))
    except OSError as error:
        raise AccessError(
            f"the exporter cannot listen at {host}:{port}",
            why=error.strerror or str(error),
            fix="Name another address: --listen 127.0.0.1:9403",
        ) from error
    try:
        ready(server.server_port)
        notify(READY="1", STATUS=f"metrics are at {host}:{server.server_port}")
        over.wait()
    finally:
        notify(STOPPING="1")
        server.shutdown()
        server.server_close()
        thread.join()


def _registry(reports: Callable[[], list[MountReport]]) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(reports))
    return registry


class _Collector:
    """What a registry of the library's asks whenever it is asked itself."""

    def __init__(self, reports: Callable[[], list[MountReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """Ask the mounts, and yield a family for each metric."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        reports = self._reports()
        up = GaugeMetricFamily("penstock_up", "1 while the mount answers.", labels=("mountpoint",))
        for report in reports:
            up.add_metric((_text(report.mountpoint),), int(report.status is not None))
        yield up
        for name, kind, told, value in METRICS:
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
                f"penstock_{name}", told, labels=_LABELS
            )
            for report in reports:
                if report.status is not None and (number := value(report.status)) is not None:
                    family.add_metric([_text(getattr(report.status, label)) for label in _LABELS], number)
            yield family


def _text(name: str) -> str:
    """Return a name as the format can hold it: names of files may have bytes that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
