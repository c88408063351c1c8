"""Which mount a path lies in: as the table of mounts has it at that moment, in this process and in forked ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from penstock.store.mount_table import KernelMount, kernel_mounts, mount_of, network_disk, network_of


def mountpoint_of(path: Path) -> str:
    found = mount_of(str(path))
    assert found is not None
    return found.mountpoint


def test_every_mount_is_found_by_its_own_path() -> None:
    seen = {each.mountpoint: each for each in kernel_mounts()}  # of several at one place, the last
    for mountpoint, each in seen.items():
        assert mount_of(mountpoint) == each


def test_the_root_has_all_that_no_other_has() -> None:
    assert mount_of("/no/such/path") == mount_of("/")


@pytest.mark.parametrize(("fstype", "fuse"), [("fuse", True), ("fuseblk", True), ("fuse.sshfs", True), ("ext4", False)])
def test_what_a_program_serves(fstype: str, fuse: bool) -> None:
    assert KernelMount("/", (0, 1), fstype, "x").is_fuse == fuse


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_changes_are_seen_at_once_also_in_a_forked_child(tmp_path: Path) -> None:
    before = mountpoint_of(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        assert mountpoint_of(tmp_path / "x") == str(tmp_path)
        assert mountpoint_of(tmp_path.with_name(tmp_path.name + "-beside")) == before
        child = os.fork()
        if not child:
            inside = mountpoint_of(tmp_path) == str(tmp_path)
            subprocess.run(["umount", tmp_path], check=True)
            os._exit(0 if inside and mountpoint_of(tmp_path) == before else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        subprocess.run(["umount", "-q", tmp_path], check=False)
    assert mountpoint_of(tmp_path) == before


@pytest.mark.parametrize(
    ("fstype", "network"),
    [("ext4", ""), ("nfs4", "nfs4"), ("fuse.sshfs", "sshfs"), ("fuse.mergerfs", ""), ("fuseblk", ""), ("", "")],
)
def test_a_disk_that_other_machines_may_have_is_known_by_its_type(fstype: str, network: str) -> None:
    assert network_of(fstype) == network


def test_kernel_tables_are_no_network_disk() -> None:
    assert network_disk("/proc") == ""
    assert network_disk("/there/is/none") == ""
