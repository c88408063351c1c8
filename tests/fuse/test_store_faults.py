"""Mounts of a real S3 server, with a proxy in between that breaks it: a read ends in bytes or in an error."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import FlipByte, Stall
from views.bucket import LocalBucket, push
from views.living import kill, ours, program, until

from penstock.errors import ConflictError, StoreUnreachableError
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.processes import start_time
from penstock.mountpoint.unmount import unmount
from penstock.repo.settings.settings import Settings

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]


@pytest.fixture
def remote(behind_proxy: Callable[[float], Settings]) -> Settings:
    """Push everything to S3; return settings that reach it through the proxy, with a cache that holds none of it."""
    return behind_proxy(4.0)


def of_data(method: str, path: str) -> bool:
    """Whether a request reads a data object."""
    return method == "GET" and "/data/" in path


def test_with_nothing_but_variables_in_the_environment(
    demo: LocalBucket, bucket: str, source: Path, aws_environment: dict[str, str], mounts: Mount
) -> None:
    settings = replace(demo.settings, remotes={})
    push(source, f"s3://{bucket}/data", settings)
    info = mounts(f"s3://{bucket}/data", settings=settings)
    for name in ("small.txt", "big.bin", "bin/hello"):
        assert (Path(info.mountpoint) / name).read_bytes() == (source / name).read_bytes()


def test_a_byte_that_was_flipped_on_the_way_is_fetched_again(
    remote: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=remote)
    fault_proxy.fail(fault=FlipByte(5), match=of_data)
    assert (Path(info.mountpoint) / "big.bin").read_bytes() == (source / "big.bin").read_bytes()


def test_a_store_that_is_down_is_an_error_and_comes_back(
    remote: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=remote)
    path = Path(info.mountpoint) / "small.txt"
    fault_proxy.down()
    begun = time.monotonic()
    with pytest.raises(OSError, match="Input/output") as told:
        path.read_bytes()
    assert told.value.errno == errno.EIO
    assert time.monotonic() - begun < 15
    assert sorted(os.listdir(info.mountpoint)) == sorted(os.listdir(source))  # what is known is still there
    fault_proxy.up()
    assert path.read_bytes() == b"hello world\n"


def test_a_store_that_is_down_cannot_be_mounted(
    remote: Settings, mounts: Mount, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    fault_proxy.down()
    with pytest.raises(StoreUnreachableError):
        mounts("lab/data", settings=remote)
    assert ours(tmp_path) == []


READS = (
    "import sys\nprint('ready', flush=True)\n"
    "try:\n    open(sys.argv[1], 'rb').read(); print(0, flush=True)\n"
    "except OSError as error:\n    print(error.errno, flush=True)\ninput()"
)


def test_a_daemon_ends_though_a_request_of_a_dead_reader_is_stalled(
    remote: Settings, mounts: Mount, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    patient = replace(remote, remotes={"lab": replace(remote.remotes["lab"], deadline=60.0)})
    info = mounts("lab/data", settings=patient)
    stalled = fault_proxy.fail(fault=Stall(40), match=of_data, times=100)
    with program(READS, Path(info.mountpoint, "small.txt")):
        until(lambda: stalled.struck > 0, "the read has reached the store")
    begun = time.monotonic()
    assert unmount(info.mountpoint)
    assert time.monotonic() - begun < 8  # without being made to
    assert ours(tmp_path) == []


@pytest.mark.parametrize("by", ["force", "signal"])
def test_a_stalled_read_does_not_keep_a_mount_from_ending(
    remote: Settings, mounts: Mount, fault_proxy: FaultProxy, tmp_path: Path, by: str
) -> None:
    patient = replace(remote, remotes={"lab": replace(remote.remotes["lab"], deadline=60.0)})
    info = mounts("lab/data", settings=patient)
    stalled = fault_proxy.fail(fault=Stall(40), match=of_data, times=100)
    with program(READS, Path(info.mountpoint, "small.txt")) as process:
        until(lambda: stalled.struck > 0, "the read has reached the store")
        begun = time.monotonic()
        if by == "force":
            with pytest.raises(ConflictError) as told:
                unmount(info.mountpoint)
            assert f"process {process.pid}" in told.value.why
            assert unmount(info.mountpoint, force=True)
        else:
            kill(info, signal.SIGTERM)
        assert time.monotonic() - begun < 15
        assert start_time(info.pid or 0) is None
        assert ours(tmp_path) == []
        assert process.stdout is not None
        assert int(process.stdout.readline()) != 0
