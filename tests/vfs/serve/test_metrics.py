"""Metrics as text, and the access log's file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.mountpoint.mount_status import CacheStatus, MemoryStatus, MountStatus
from penstock.vfs.fuse.access_log import AccessLog
from penstock.vfs.serve.metrics import prometheus_text

STATUS = MountStatus(
    handle="demo/x",
    bucket="file:///b",
    dataset='a "b"\\c\nd',
    version="ab" * 32,
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
)


def test_names_that_need_escapes_come_through() -> None:
    text = prometheus_text(STATUS)
    text.encode("utf-8")
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] = sample.value
            assert sample.labels["dataset"] == STATUS.dataset
            assert sample.labels["mountpoint"] == "/mnt/\\udcff ünï"
    assert values["penstock_fetched_bytes_total"] == 1 << 60
    assert values["penstock_offline"] == 1
    assert values["penstock_cache_degraded"] == 1
    assert values["penstock_up_seconds"] == 1.5


def test_an_access_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), most=1000)
    for number in range(100):
        log.write("read", b"%d" % number, begun=time.monotonic(), offset=0, size=number, hit=True)
    log.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log", "log.1"]
    assert path.stat().st_size <= 1000
    assert (tmp_path / "log.1").stat().st_size <= 1000
    lines = [json.loads(line) for name in ("log.1", "log") for line in (tmp_path / name).read_text().splitlines()]
    assert [line["size"] for line in lines] == list(range(100 - len(lines), 100))
    AccessLog(str(path), most=1000).close()
    assert path.stat().st_size > 0  # one that goes on keeps what is there


def test_a_log_whose_disk_fails_ends_silently(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="symbolic"):
        AccessLog(str(path))
    log = AccessLog("/dev/full")
    for _ in range(2):
        log.write("open", b"x", begun=time.monotonic())
    log.close()
