"""What can be said before anything is started: each refusal says what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import AccessError, NotFoundError, PenstockError, UsageError
from penstock.mountpoint.detach import detach
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.preflight import check_fuse, check_mountpoint, mount_failure
from penstock.mountpoint.unmount import unmount

PLAIN = MountOptions()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="mkdir -p"):
        check_mountpoint(str(tmp_path / "nothing"), tmp_path / "cache", PLAIN)


def test_something_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a directory"):
        check_mountpoint(str(tmp_path / "file"), tmp_path / "cache", PLAIN)


def test_a_directory_that_has_files(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "file").mkdir(parents=True)
    with pytest.raises(UsageError, match="--non-empty"):
        check_mountpoint(str(place), tmp_path / "cache", PLAIN)
    assert check_mountpoint(str(place), tmp_path / "cache", MountOptions(non_empty=True)) == str(place)


def test_links_and_relative_paths_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    monkeypatch.chdir(tmp_path)
    for name in ("place", "./place/", "link", "link/", str(tmp_path / "link")):
        assert check_mountpoint(name, tmp_path / "cache", PLAIN) == str(tmp_path / "place")


@pytest.mark.parametrize("below", ["cache", "cache/inside", "."])
def test_the_cache_and_the_mount_must_not_lie_in_each_other(tmp_path: Path, below: str) -> None:
    (tmp_path / "top" / "cache" / "inside").mkdir(parents=True)
    with pytest.raises(UsageError, match="cache"):
        check_mountpoint(str(tmp_path / "top" / below), tmp_path / "top" / "cache", MountOptions(non_empty=True))


def test_a_cache_beside_the_mount_is_fine(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    check_mountpoint(str(tmp_path / "place"), tmp_path / "place-cache", PLAIN)


def as_nobody(code: str, *arguments: str, user: int = 65534) -> str:
    """Run a piece of Python as a user without rights, with all modules loaded before the rights go."""
    prelude = (
        "import os, sys\n"
        "from penstock.mountpoint import preflight\n"
        "from penstock.mountpoint.mount_options import MountOptions\n"
        "from pathlib import Path\n"
        f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
        "try:\n"
    )
    body = f"    {code}\nexcept preflight.PenstockError as error:\n    print(type(error).__name__, error)\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + body, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_has_no_name_is_told_how_to_get_one() -> None:
    told = as_nobody("preflight.check_fuse(MountOptions())", user=54321)
    assert "user 54321 has none here" in told
    assert "penstock:x:54321:54321:" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_other_users_need_what_they_need(tmp_path: Path) -> None:
    assert "apt install fuse3" in as_nobody("os.environ['PATH'] = '/nowhere'; preflight.check_fuse(MountOptions())")
    told = as_nobody("preflight.check_fuse(MountOptions(allow_other=True))")
    assert "user_allow_other" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_a_table_of_mounts_nothing_is_mounted_that_could_not_be_unmounted() -> None:
    told = as_nobody("preflight.MOUNT_TABLE = '/nowhere/mtab'; preflight.check_fuse(MountOptions())")
    assert "ln -s ../proc/self/mounts /nowhere/mtab" in told


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("fusermount3: failed to open /etc/mtab: No such file or directory", errno.ENOENT),
        ("fusermount3: entry for /mnt not found in /etc/mtab", errno.EPERM),
        ("fusermount3: failed to unmount /mnt: Device or resource busy", errno.EBUSY),
        ("fusermount3: failed to unmount /mnt: Invalid argument", errno.EINVAL),
        ("fusermount3: could not determine username", errno.EIO),
    ],
)
def test_what_fusermount3_says_is_not_taken_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, number: int
) -> None:
    program = tmp_path / "fusermount3"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OSError, match=said) as caught:
        detach("/mnt", lazy=False)
    assert caught.value.errno == number


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lose the capability")
def test_root_without_the_capability_is_told() -> None:
    code = (
        "from penstock.mountpoint import mount_options, preflight; preflight.check_fuse(mount_options.MountOptions())"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "CAP_SYS_ADMIN" in done.stderr
    assert "--cap-add SYS_ADMIN" in done.stderr


@pytest.mark.fuse
def test_this_machine_can_mount() -> None:
    check_fuse(PLAIN)


def test_what_libfuse_says_reaches_the_user() -> None:
    told = mount_failure("/mnt", "fusermount3: mount failed: Operation not permitted\n")
    assert isinstance(told, AccessError)
    assert "Operation not permitted" in told.why
    assert "--cap-add" in told.fix
    other = mount_failure("/mnt", "fuse: unknown option\nmore\n")
    assert type(other) is PenstockError
    assert other.why == "fuse: unknown option; more"


def test_unmounting_what_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing is mounted"):
        unmount(str(tmp_path))
    with pytest.raises(NotFoundError, match="proc is mounted there"):
        unmount("/proc")
