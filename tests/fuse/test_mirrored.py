"""A mount of a data set that several buckets have: it is read while either of them does not answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy

from penstock.api.datasets.dataset import Dataset
from penstock.api.mounts.mounts import mount
from penstock.mountpoint.unmount import unmount
from penstock.repo.settings.settings import Settings

pytestmark = [pytest.mark.fuse, pytest.mark.s3]


@pytest.mark.parametrize("gone", ["first", "other"])
def test_a_mount_reads_on_when_a_bucket_is_gone(
    behind_proxy: Callable[[float], Settings],
    source: Path,
    fault_proxy: FaultProxy,
    tmp_path: Path,
    gone: str,
) -> None:
    lab = behind_proxy(2.0)
    copies = f"file://{tmp_path}/copies"
    assert Dataset("lab/data", lab).mirror(copies).changed
    names = ("lab", copies) if gone == "first" else (copies, "lab")
    place = tmp_path / "mirrored"
    place.mkdir()
    settings = replace(lab, cache_directory=tmp_path / "third-cache")
    info = mount(f"{names[0]}/data", str(place), also=[names[1]], settings=settings)
    try:
        assert (place / "old").read_bytes() == b"old"
        fault_proxy.down()
        compared = subprocess.run(["diff", "-r", "--no-dereference", str(source), info.mountpoint], check=False)
        assert compared.returncode == 0
    finally:
        fault_proxy.up()
        unmount(info.mountpoint, force=True)
    # And is opened by what the other one has, when the first does not answer.
    fault_proxy.down()
    again = mount(f"{names[0]}/data", str(place), also=[names[1]], settings=settings)
    try:
        assert (again.top_hash, again.offline) == (info.top_hash, False)
    finally:
        fault_proxy.up()
        unmount(again.mountpoint, force=True)
