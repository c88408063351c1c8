"""What the kernel was told when a mount began: read where it says so itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket

from penstock.mountpoint.kernel_mounts import top_mount
from penstock.mountpoint.known_mounts import MountInfo

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Path]:
    """Return where the kernel shows its FUSE connections, a directory each."""
    where = tmp_path / "connections"
    where.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount what shows the kernel's side")
def test_many_requests_are_sent_at_once(pushed: LocalBucket, mounts: Mount, connections: Path) -> None:
    found = top_mount(mounts().mountpoint)
    assert found is not None
    connection = connections / str(found.device[1])
    assert int((connection / "max_background").read_text()) == 256
    assert int((connection / "congestion_threshold").read_text()) == 192
