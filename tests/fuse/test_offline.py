"""Mounts without a store: what was warmed is mounted and read; the rest is an error that the status explains."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy

from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.unmount import unmount
from penstock.progress import SILENT
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.warm.warm import warm

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]


@pytest.fixture
def lab(behind_proxy: Callable[[float], Settings]) -> Settings:
    """Push everything to S3; return the settings of a machine that reaches it through the proxy."""
    return behind_proxy(2.0)


def test_what_was_warmed_is_mounted_and_read_without_the_store(
    lab: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    report = warm(parse_handle("lab/data"), [], lab, SILENT)
    assert report.stopped == ""
    fault_proxy.down()
    before = len(fault_proxy.requests)
    info = mounts("lab/data", settings=lab)
    assert (info.top_hash, info.offline) == (report.top_hash.hex(), True)
    compared = subprocess.run(["diff", "-r", "--no-dereference", str(source), info.mountpoint], check=False, timeout=60)
    assert compared.returncode == 0
    status = ask(info.mountpoint, StatusRequest(), MountStatus)
    assert (status.offline, status.bytes_fetched, status.misses) == (True, 0, 0)
    assert "last opened here" in Path(info.log or "").read_text()
    assert len(fault_proxy.requests) == before
    fault_proxy.up()


def test_what_a_mount_has_read_is_there_offline_and_the_rest_comes_with_the_store(
    lab: Settings, mounts: Mount, fault_proxy: FaultProxy
) -> None:
    first = mounts("lab/data", settings=lab)
    assert ask(first.mountpoint, StatusRequest(), MountStatus).offline is False
    assert Path(first.mountpoint, "old").read_bytes() == b"old"
    assert unmount(first.mountpoint)
    fault_proxy.down()
    second = mounts("lab/data", settings=lab)
    assert Path(second.mountpoint, "old").read_bytes() == b"old"
    with pytest.raises(OSError, match="Input/output") as told:
        Path(second.mountpoint, "big.bin").read_bytes()
    assert told.value.errno == errno.EIO
    fault_proxy.up()
    assert len(Path(second.mountpoint, "big.bin").read_bytes()) > 3 << 20
