"""Mounts as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.api.mounts import metrics
from penstock.api.mounts.metrics import METRICS, mount_metrics
from penstock.api.mounts.reports import MountReport
from penstock.mountpoint.mount_status import CacheStatus, MemoryStatus, MountStatus, SlowFile

STATUS = MountStatus(
    handle="demo/x",
    bucket="file:///b",
    dataset='a "b"\\c\nd',
    top_hash="ab" * 32,
    commit=None,
    overlay=None,
    mountpoint="/mnt/\udcff ünï",
    trouble=[],
    refused=None,
    offline=True,
    since="2026-01-01T00:00:00Z",
    uptime=1.5,
    hits=3,
    misses=1,
    hit_rate=0.75,
    bytes_read=10,
    bytes_fetched=1 << 60,
    gets=2,
    hedges=1,
    in_flight=0,
    budget=128 << 20,
    restarts=1,
    worker_pid=1,
    fetcher_pids=[2],
    open_files=0,
    memory=MemoryStatus(1, 2),
    cache=CacheStatus("/c", 5, 6, 1, "degraded: disk full", ""),
    log=None,
    access_log=None,
    program="0.1.0",
    slowest=[SlowFile("a", 1.5)],
    busy="",
)


def test_names_that_need_escapes_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "mount_report", lambda directory: MountReport(directory, STATUS))
    text = mount_metrics(STATUS.mountpoint)
    text.encode("utf-8")
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] = sample.value
            assert sample.labels["mountpoint"] == "/mnt/\\udcff ünï"
            if sample.name != "penstock_up":
                assert sample.labels["dataset"] == STATUS.dataset
    assert values["penstock_fetched_bytes_total"] == 1 << 60
    assert values["penstock_offline"] == 1
    assert values["penstock_cache_degraded"] == 1
    assert values["penstock_uptime_seconds"] == 1.5
    assert values.keys() == {"penstock_up", *(f"penstock_{name}" for name, *_ in METRICS)}
