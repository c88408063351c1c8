"""The access log's file: bounded, and silent about a disk that fails."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from penstock.vfs.fuse.access_log import AccessLog


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
