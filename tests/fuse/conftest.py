"""Real mounts of a real version. Whatever a test leaves mounted is taken down, and its daemon ended, by pid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from views.bucket import LocalBucket, push, write_tree
from views.memory import Link, Made, Spec

from penstock.mountpoint.detach import detach
from penstock.mountpoint.kernel_mounts import kernel_mounts
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount import mount
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.processes import end, start_time
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings

Mount = Callable[..., MountInfo]
PLAIN = MountOptions()

BIG = bytes(os.urandom(3 << 20)) + b"the tail"

EVERYTHING: Spec = {
    b"big.bin": Made(BIG),
    b"bin": {b"hello": Made(b"#!/bin/sh\necho hello from a mount\n", executable=True), b"again": Link(b"hello")},
    b"dangling": Link(b"../nowhere/\xff"),
    b"empty": Made(),
    b"empty-folder": {},
    b"names": {
        b"a\nb": Made(b"newline"),
        b"not-utf8-\xff\xfe": Made(b"bytes"),
        b"x" * 255: Made(b"long"),
        b"comma,back\\slash": Made(b"odd"),
        "ünï".encode(): Made(b"accents"),
    },
    b"old": Made(b"old", mtime_ns=1_000_000_007),
    b"small.txt": Made(b"hello world\n"),
}


@pytest.fixture
def demo(tmp_path: Path) -> LocalBucket:
    """Return an empty bucket, called demo."""
    return LocalBucket(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory with one of everything in it."""
    write_tree(tmp_path / "source", EVERYTHING)
    return tmp_path / "source"


@pytest.fixture
def mounts(demo: LocalBucket, tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts a handle on a new directory."""
    begun: list[MountInfo] = []

    def begin(
        handle: str = "demo/data",
        at: str = "mnt",
        options: MountOptions = PLAIN,
        settings: Settings | None = None,
    ) -> MountInfo:
        place = tmp_path / at
        place.mkdir(exist_ok=True)
        info = mount(handle, str(place), settings or demo.settings, options)
        begun.append(info)
        return info

    started: dict[int, int | None] = {}
    try:
        yield begin
    finally:
        for info in begun:
            assert info.pid is not None
            started[info.pid] = start_time(info.pid)
        for found in kernel_mounts():
            if found.is_ours and (
                found.mountpoint.startswith(f"{tmp_path}/") or found.mountpoint in {info.mountpoint for info in begun}
            ):
                with suppress(OSError):
                    detach(found.mountpoint, lazy=True)
        for pid, since in started.items():
            if since is not None:
                end(pid, since, 5)


@pytest.fixture
def pushed(demo: LocalBucket, source: Path) -> LocalBucket:
    """Return the bucket with everything in ``demo/data``."""
    demo.push(source)
    return demo


@pytest.fixture
def mounted(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a mount of everything."""
    return Path(mounts().mountpoint)


@pytest.fixture
def behind_proxy(
    demo: LocalBucket,
    bucket: str,
    source: Path,
    aws_environment: dict[str, str],
    fault_proxy: FaultProxy,
    tmp_path: Path,
) -> Callable[[float], Settings]:
    """Push everything to S3; return what makes the settings of another machine, which reaches it through the proxy.

    It is given the deadline of a call to the store, in seconds.
    """
    del aws_environment
    plain = replace(demo.settings, remotes={})
    push(source, f"s3://{bucket}/data", plain)

    def settings(deadline: float) -> Settings:
        lab = Remote(
            name="lab",
            url=f"s3://{bucket}",
            endpoint_url=fault_proxy.endpoint,
            addressing_style="path",
            deadline=deadline,
        )
        return replace(plain, cache_directory=tmp_path / "other-cache", remotes={"lab": lab})

    return settings
