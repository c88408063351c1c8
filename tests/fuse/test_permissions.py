"""Who may do what in a mount, and in what Penstock keeps on this machine; read-only and writable."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import now

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_records import control_path
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

NOBODY = 65534
STRANGER = 54321


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that everybody can reach; pytest's own is private."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_user(user: int, script: str, *arguments: object) -> tuple[int, str]:
    """Run a shell script as somebody else; return its exit code and all that it said."""
    drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
    command = [*drop, "sh", "-c", f"umask 022; {script}", "sh", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={"LC_ALL": "C"})
    return done.returncode, done.stdout + done.stderr


def modes(path: Path) -> tuple[int, int, int]:
    facts = path.lstat()
    return stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid


def test_what_is_kept_is_its_owners_alone(pushed: LocalBucket, mounts: Mount) -> None:
    before = os.umask(0)
    try:
        info = mounts(options=MountOptions(writable=True, allow_other=True))
        (Path(info.mountpoint) / "big.bin").read_bytes()
        (Path(info.mountpoint) / "new").write_text("new")
        os.sync()
    finally:
        os.umask(before)
    assert info.overlay is not None
    assert info.pid is not None
    control = Path(control_path(info.pid))
    for root in (Path(info.overlay), pushed.settings.cache_directory, control.parent):
        assert stat.S_IMODE(root.stat().st_mode) == 0o700, root
    for path in Path(info.overlay).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    assert now(info).alive


@pytest.mark.parametrize("writable", [False, True])
def test_a_second_user_stays_out(pushed: LocalBucket, mounts: Mount, public: Path, writable: bool) -> None:
    info = mounts(at=str(public / "mnt"), options=MountOptions(writable=writable))
    for script in ('cat "$1/small.txt"', 'ls "$1"', 'echo x > "$1/new"', 'stat "$1/small.txt"'):
        code, said = as_user(NOBODY, script, info.mountpoint)
        assert code != 0
        assert "Permission denied" in said, script
    assert unmount(info.mountpoint)


def test_modes_are_checked_for_other_users(pushed: LocalBucket, mounts: Mount, public: Path) -> None:
    info = mounts(at=str(public / "mnt"), options=MountOptions(writable=True, allow_other=True))
    root = Path(info.mountpoint)
    (root / "secret").write_text("secret")
    (root / "secret").chmod(0o600)
    (root / "closed").mkdir(mode=0o700)
    (root / "closed" / "file").touch()
    assert as_user(NOBODY, 'cat "$1/small.txt"', root) == (0, "hello world\n")
    for script in (
        'echo x > "$1/small.txt"',
        'echo x > "$1/new"',
        'mkdir "$1/new"',
        'rm "$1/old"',
        'mv "$1/old" "$1/newer"',
        'chmod 777 "$1/old"',
        'touch -d 2001-01-01 "$1/old"',
        'cat "$1/secret"',
        'ls "$1/closed"',
        'cat "$1/closed/file"',
    ):
        code, said = as_user(NOBODY, script, root)
        assert code != 0, script
        assert "ermission denied" in said or "not permitted" in said, (script, said)
    assert (root / "small.txt").read_text() == "hello world\n"
    assert sorted(os.listdir(root / "closed")) == ["file"]
    assert unmount(info.mountpoint)


def test_what_others_make_is_theirs(pushed: LocalBucket, mounts: Mount, public: Path) -> None:
    options = MountOptions(writable=True, allow_other=True)
    root = Path(mounts(at=str(public / "mnt"), options=options).mountpoint)
    (root / "shared").mkdir()
    (root / "shared").chmod(0o1777)
    (root / "shared" / "mine").write_text("mine")
    script = (
        'cd "$1/shared" && echo theirs > file && mkdir folder && ln -s file link && chmod 640 file && '
        "umask 077 && echo x > private"
    )
    assert as_user(NOBODY, script, root) == (0, "")
    expected = {"file": 0o640, "folder": 0o755, "link": 0o777, "private": 0o600}
    for _ in range(2):
        for name, mode in expected.items():
            assert modes(root / "shared" / name) == (mode, NOBODY, NOBODY)
        assert modes(root / "shared" / "mine")[1:] == (os.getuid(), os.getgid())
        # A directory that is sticky: each removes his own only.
        assert as_user(NOBODY, 'rm -f "$1/shared/mine"', root)[0] != 0
        assert as_user(STRANGER, 'rm -f "$1/shared/file"', root)[0] != 0
        assert as_user(STRANGER, 'cat "$1/shared/file"', root)[0] != 0
        assert unmount(str(root))
        mounts(at=str(root), options=options)
    assert as_user(NOBODY, 'rm -r "$1/shared/file" "$1/shared/folder"', root) == (0, "")
    assert unmount(str(root))


def test_a_directory_that_hands_its_group_on(pushed: LocalBucket, mounts: Mount, public: Path) -> None:
    root = Path(mounts(at=str(public / "mnt"), options=MountOptions(writable=True, allow_other=True)).mountpoint)
    shared = root / "shared"
    shared.mkdir()
    os.chown(shared, 0, 777)
    shared.chmod(0o2777)
    assert as_user(NOBODY, 'echo x > "$1/shared/file" && mkdir "$1/shared/folder"', root) == (0, "")
    assert modes(shared / "file") == (0o644, NOBODY, 777)
    assert modes(shared / "folder") == (0o2755, NOBODY, 777)
    assert unmount(str(root))


@pytest.mark.parametrize("writable", [False, True])
def test_owners_and_masks_can_be_chosen(pushed: LocalBucket, mounts: Mount, public: Path, writable: bool) -> None:
    options = MountOptions(uid=NOBODY, gid=4321, umask=0o027, allow_other=True, writable=writable)
    root = Path(mounts(at=str(public / "mnt"), options=options).mountpoint)
    expected = {".": 0o750, "small.txt": 0o640, "bin": 0o750, "bin/hello": 0o750, "bin/again": 0o777}
    for name, mode in expected.items():
        assert modes(root / name) == (mode, NOBODY, 4321), name
    assert as_user(NOBODY, 'cat "$1/small.txt"', root) == (0, "hello world\n")
    assert as_user(STRANGER, 'cat "$1/small.txt"', root)[0] != 0
    code, said = as_user(NOBODY, 'echo more >> "$1/small.txt"; echo new > "$1/new"; mkdir "$1/folder"', root)
    if writable:
        assert (code, said) == (0, "")
        # What was there keeps how it looks when it is changed; what is new is as its maker's umask has it.
        for name, mode in {**expected, "new": 0o644, "folder": 0o755}.items():
            assert modes(root / name)[:2] == (mode, NOBODY), name
        assert (root / "small.txt").read_text() == "hello world\nmore\n"
    else:
        assert code != 0
        assert "Read-only file system" in said
        with pytest.raises(OSError, match="Read-only") as told:
            (root / "small.txt").write_text("x")
        assert told.value.errno == errno.EROFS
    assert unmount(str(root))


def test_changing_owners_takes_what_it_takes_elsewhere(pushed: LocalBucket, mounts: Mount, public: Path) -> None:
    root = Path(mounts(at=str(public / "mnt"), options=MountOptions(writable=True, allow_other=True)).mountpoint)
    (root / "program").write_text("#!/bin/sh\n")
    os.chown(root / "program", NOBODY, NOBODY)
    (root / "program").chmod(0o6755)
    assert as_user(NOBODY, 'chown 0 "$1/program"', root)[0] != 0
    assert as_user(STRANGER, 'chmod 777 "$1/program"', root)[0] != 0
    assert as_user(NOBODY, 'echo more >> "$1/program"', root) == (0, "")
    assert modes(root / "program") == (0o755, NOBODY, NOBODY)  # who writes to it loses the set-uid bits
    assert unmount(str(root))


@pytest.mark.parametrize("allow_other", [False, True])
def test_root_may_do_all_but_run_what_nobody_may(pushed: LocalBucket, mounts: Mount, allow_other: bool) -> None:
    where = Path(mounts(options=MountOptions(writable=True, allow_other=allow_other)).mountpoint)
    script = where / "script"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o600)
    assert [os.access(script, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)] == [True, True, True, False]
    with pytest.raises(PermissionError):
        subprocess.run([script], check=True)
    script.chmod(0o001)
    assert os.access(script, os.R_OK | os.W_OK | os.X_OK)
    assert subprocess.run([script], check=True, capture_output=True, text=True).stdout == "ran\n"
    (where / "closed").mkdir(0o000)
    (where / "closed" / "in").write_text("there")
    assert os.access(where / "closed", os.X_OK)
    assert subprocess.run(["cat", "in"], cwd=where / "closed", check=True, capture_output=True).stdout == b"there"


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("echo more >> $1", 0o0777),
        ("truncate -s 2 $1", 0o0777),
        (": > $1", 0o0777),
        ("chown $2 $1", 0o0777),
        ("chgrp $2 $1", 0o0777),
        ("touch $1", 0o6777),
        ("cat $1 > /dev/null", 0o6777),
        ("chmod 2766 $1 && echo more >> $1", 0o2766),  # where the group may not run it, the bit is about locks
        ("echo more >> $1 && chmod 4755 $1", 0o4755),
    ],
)
def test_what_was_written_to_runs_as_nobody_else(pushed: LocalBucket, mounts: Mount, change: str, left: int) -> None:
    info = mounts(options=MountOptions(writable=True, allow_other=True))
    program = Path(info.mountpoint) / "program"
    program.write_text("some\n")
    os.chown(program, STRANGER, STRANGER)
    program.chmod(0o6777)
    subprocess.run(["sh", "-c", change, "sh", program, str(NOBODY)], check=True)
    assert stat.S_IMODE(program.stat().st_mode) == left
