"""System calls that few file systems all have, one by one, and namespaces that a mount may be made in."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

_libc = ctypes.CDLL(None, use_errno=True)
_FICLONE = 0x40049409
_FIEMAP = 0xC020660B
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_NOREPLACE, _EXCHANGE, _WHITEOUT = 1, 2, 4


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=MountOptions(writable=True)).mountpoint)


def told(call: Callable[[], object]) -> str:
    """Return the name of the errno that a call ends with, ``ok`` when it does not."""
    try:
        result = call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return errno.errorcode[ctypes.get_errno()] if isinstance(result, int) and result < 0 else "ok"


def test_what_each_call_answers(place: Path) -> None:
    file, other = place / "file", place / "other"
    file.write_bytes(b"0123456789" * 1000)
    other.write_bytes(b"")
    one, two = os.open(file, os.O_RDWR), os.open(other, os.O_RDWR)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    at = ctypes.c_int64
    names = [os.fsencode(place / name) for name in ("first", "second")]

    def rename(flags: int) -> object:
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        return _libc.renameat2(-100, names[0], -100, names[1], flags)

    assert {
        "fallocate": told(lambda: _libc.fallocate(one, 0, at(0), at(4096))),
        "fallocate keep size": told(lambda: _libc.fallocate(one, _KEEP_SIZE, at(0), at(4096))),
        "fallocate punch": told(lambda: _libc.fallocate(one, _KEEP_SIZE | _PUNCH_HOLE, at(0), at(4096))),
        "posix_fallocate": told(lambda: os.posix_fallocate(one, 0, 20_000)),
        "copy_file_range": told(lambda: os.copy_file_range(one, two, 10_000, 0, 0)),
        "FICLONE": told(lambda: fcntl.ioctl(two, _FICLONE, one)),
        "FIEMAP": told(lambda: fcntl.ioctl(one, _FIEMAP, bytes(56))),
        "SEEK_DATA": told(lambda: os.lseek(one, 5, os.SEEK_DATA)),
        "fsync of a directory": told(lambda: os.fsync(directory)),
        "syncfs": told(lambda: _libc.syncfs(one)),
        "rename no replace": told(lambda: rename(_NOREPLACE)),
        "rename exchange": told(lambda: rename(_EXCHANGE)),
        "rename whiteout": told(lambda: rename(_WHITEOUT)),
    } == {
        "fallocate": "ENOTSUP",
        "fallocate keep size": "ENOTSUP",
        "fallocate punch": "ENOTSUP",
        "posix_fallocate": "ok",
        "copy_file_range": "ok",
        "FICLONE": "ENOTSUP",
        "FIEMAP": "ENOTSUP",
        "SEEK_DATA": "ok",
        "fsync of a directory": "ok",
        "syncfs": "ok",
        "rename no replace": "EEXIST",
        "rename exchange": "ok",
        "rename whiteout": "EINVAL",
    }
    assert os.fstat(one).st_size == 20_000
    assert other.read_bytes() == file.read_bytes()[:10_000]
    for descriptor in (one, two, directory):
        os.close(descriptor)
    born = subprocess.run(["stat", "-c", "%W", file], capture_output=True, text=True, check=True).stdout
    assert born in ("0\n", "-\n")


def test_direct_access_leases_and_maps_of_two_processes(place: Path) -> None:
    file = place / "file"
    file.write_bytes(bytes(8192))
    direct = os.open(file, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as page:
        page[:6] = b"direct"
        assert os.pwritev(direct, [page], 4096) == 4096
        assert os.preadv(direct, [page], 0) == 4096
        assert page[:6] == bytes(6)
    os.close(direct)
    assert file.read_bytes()[4096:4102] == b"direct"
    lease = os.open(file, os.O_RDONLY)
    assert fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK) == 0
    assert fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_UNLCK) == 0
    os.close(lease)
    code = (
        "import mmap, os, sys; file = os.open(sys.argv[1], os.O_RDWR); shared = mmap.mmap(file, 8192)\n"
        "shared[:5] = b'child'; print(shared[100:106].decode())"
    )
    descriptor = os.open(file, os.O_RDWR)
    with mmap.mmap(descriptor, 8192) as shared:
        shared[100:106] = b"parent"
        done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
        assert (done.stdout, shared[:5]) == ("parent\n", b"child")
        os.pwrite(descriptor, b"written", 200)
        assert shared[200:207] == b"written"
    os.close(descriptor)


def test_names_of_any_encoding_and_paths_of_any_depth(place: Path) -> None:
    top = os.fsencode(place)
    for name in (
        "é".encode("latin-1"),
        "日本".encode("shift-jis"),
        "日本".encode("utf-16-le"),
        "é".encode(),
        b"e\xcc\x81",
    ):
        os.mkdir(os.path.join(top, name))
        Path(os.fsdecode(os.path.join(top, name, name))).write_bytes(name)
        assert os.listdir(os.path.join(top, name)) == [name]
    deep = place / Path(*(f"d{number}" for number in range(200)))
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    (place / "d0").rename(place / "moved")
    assert (place / "moved" / deep.relative_to(place / "d0") / "file").read_text() == "deep"
    shutil.rmtree(place / "moved")
    assert not (place / "moved").exists()


@pytest.mark.parametrize("namespace", [["--user", "--map-root-user", "--mount"], ["--mount", "--pid", "--fork"]])
def test_a_mount_in_a_namespace_of_its_own(pushed: LocalBucket, tmp_path: Path, namespace: list[str]) -> None:
    """As a container is made: the mount is made, changed, asked and ended in there, and nobody outside sees it."""
    place = tmp_path / "mnt"
    place.mkdir()
    script = """set -e
        "$0" -m penstock remote add demo "$2" > /dev/null
        "$0" -m penstock mount --writable demo/data "$1" > /dev/null
        cat "$1/small.txt"
        echo new > "$1/new"
        "$0" -m penstock diff "$1" || true
        "$0" -m penstock umount "$1"
    """
    options = [*namespace, "--mount-proc"] if "--pid" in namespace else namespace
    done = subprocess.run(
        ["unshare", *options, "sh", "-c", script, sys.executable, place, pushed.directory],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "hello world\nA new\n"), done.stderr
    assert "what was changed is kept" in done.stderr
    assert os.listdir(place) == []
