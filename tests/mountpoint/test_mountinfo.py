"""The kernel's table of mounts, as text and for real."""

from __future__ import annotations

from pathlib import Path

from penstock.mountpoint.kernel_mounts import KernelMount, fs_name, kernel_mounts, top_mount


def test_lines_with_escapes_and_optional_fields(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        rb"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue" + b"\n"
        rb"40 35 0:57 / /mnt/a\040b\011c\134d ro - fuse.penstock demo/x:main ro,user_id=0"
        + b"\n41 35 0:58 / /mnt/\xff - fuse.penstock x ro\n".replace(b" - ", b" rw - ")
    )
    assert kernel_mounts(str(table)) == [
        KernelMount("/mnt2", (98, 0), "ext3", "/dev/root", "/mnt1"),
        KernelMount("/mnt/a b\tc\\d", (0, 57), "fuse.penstock", "demo/x:main"),
        KernelMount("/mnt/\udcff", (0, 58), "fuse.penstock", "x"),
    ]
    assert [found.is_ours for found in kernel_mounts(str(table))] == [False, True, True]


def test_this_machine() -> None:
    proc = top_mount("/proc")
    assert proc is not None
    assert proc.fstype == "proc"
    assert top_mount("/proc/nowhere") is None


def test_sources_are_printable_and_hold_nothing_that_an_option_could_not() -> None:
    assert fs_name("s3://bucket/data:main/a-b_c") == "s3://bucket/data:main/a-b_c"
    assert fs_name('a,b c\\d"é\udcff') == "a%2Cb%20c%5Cd%22%C3%A9%FF"
