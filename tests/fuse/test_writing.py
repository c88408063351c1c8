"""What programs do to files of a writable mount, call by call."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import kill, program, until

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=WRITABLE).mountpoint)


def refused(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as told:
        call()
    return told.value.errno


def again(mounts: Mount, place: Path) -> None:
    """Unmount, and mount what is in the overlay."""
    assert unmount(str(place))
    mounts(options=WRITABLE)


def test_files_are_made_changed_and_still_there_after_mounting_again(place: Path, mounts: Mount, source: Path) -> None:
    (place / "new").write_text("new\n")
    (place / "folder" / "below").mkdir(parents=True)
    (place / "folder" / "below" / "file").write_bytes(b"\0\xff" * 100_000)
    with open(place / "big.bin", "r+b") as stream:
        stream.seek(2_000_000)
        stream.write(b"here")
    os.remove(place / "old")
    expected = bytearray((source / "big.bin").read_bytes())
    expected[2_000_000:2_000_004] = b"here"
    for _ in range(2):
        assert (place / "new").read_text() == "new\n"
        assert (place / "folder" / "below" / "file").read_bytes() == b"\0\xff" * 100_000
        assert (place / "big.bin").read_bytes() == expected
        assert not (place / "old").exists()
        again(mounts, place)


def test_a_shared_map_is_written_back(place: Path, mounts: Mount, source: Path) -> None:
    expected = bytearray((source / "big.bin").read_bytes())
    with open(place / "big.bin", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        for at in (0, 1_048_575, 1_048_576, 2_500_000, len(expected) - 1):
            mapped[at] = expected[at] = expected[at] ^ 0xFF
        mapped.flush()
        with open(place / "big.bin", "rb") as other:
            assert other.read() == expected
        mapped[7] = expected[7] = expected[7] ^ 0xFF  # not flushed: closing the map has to do
    again(mounts, place)
    assert (place / "big.bin").read_bytes() == expected


def test_writes_and_maps_of_one_file_see_each_other(place: Path) -> None:
    (place / "file").write_bytes(bytes(8192))
    with open(place / "file", "r+b", buffering=0) as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        stream.write(b"written")
        assert mapped[:7] == b"written"
        mapped[4096:4102] = b"mapped"
        assert os.pread(stream.fileno(), 6, 4096) == b"mapped"


_APPENDS = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print("ready", flush=True)
input()
for number in range(300):
    os.write(descriptor, sys.argv[2].encode() * 50 + b"%08d\\n" % number)
"""


def test_processes_that_append_lose_nothing(place: Path) -> None:
    path = place / "log"
    path.touch()
    with program(_APPENDS, path, "a") as one, program(_APPENDS, path, "b") as other:
        for writer in (one, other):
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        assert one.wait(60) == other.wait(60) == 0
    lines = path.read_bytes().splitlines()
    assert len(lines) == 600
    for letter in (b"a", b"b"):
        assert [line for line in lines if line[:1] == letter] == [letter * 50 + b"%08d" % at for at in range(300)]


def test_cuts_and_growth(place: Path, source: Path, mounts: Mount) -> None:
    original = (source / "big.bin").read_bytes()
    with open(place / "big.bin", "r+b") as stream:
        stream.truncate(1_500_000)
        assert os.fstat(stream.fileno()).st_size == 1_500_000
        stream.truncate(3_000_000)
    for _ in range(2):
        assert (place / "big.bin").read_bytes() == original[:1_500_000] + bytes(1_500_000)
        again(mounts, place)
    with open(place / "big.bin", "wb"):
        pass
    assert (place / "big.bin").read_bytes() == b""


def test_holes_take_no_space(place: Path, demo: LocalBucket, mounts: Mount) -> None:
    overlay = Path(os.environ["XDG_STATE_HOME"], "penstock", "overlays")
    with open(place / "sparse", "wb") as stream:
        stream.seek(1 << 40)
        stream.write(b"end")
    assert (place / "sparse").stat().st_size == (1 << 40) + 3
    with open(place / "sparse", "rb") as stream:
        assert stream.read(1 << 20) == bytes(1 << 20)
        stream.seek((1 << 40) - 5)
        assert stream.read() == bytes(5) + b"end"
    assert unmount(str(place))
    used = sum(path.lstat().st_blocks * 512 for path in overlay.rglob("*") if "sparse" not in path.name)
    assert used < 64 << 20


def test_programs_that_know_holes_keep_them(place: Path, tmp_path: Path, demo: LocalBucket, mounts: Mount) -> None:
    size = 32 << 20
    with open(place / "sparse", "wb") as stream:
        stream.truncate(size)
        stream.seek(30 << 20)
        stream.write(b"content")
    with open(place / "half", "wb") as stream:
        stream.write(b"x" * (2 << 20))
        stream.truncate(4 << 20)
    assert (place / "sparse").stat().st_blocks <= 8
    assert (place / "half").stat().st_blocks == (2 << 20) // 512
    assert int(subprocess.run(["du", "-k", place / "sparse"], capture_output=True, check=True).stdout.split()[0]) < 100

    def unpack(source: Path, name: str) -> Path:
        packed = subprocess.run(["tar", "-S", "-cf", "-", "sparse"], cwd=source, capture_output=True, check=True).stdout
        assert len(packed) < 100 << 10
        (tmp_path / name).mkdir()
        subprocess.run(["tar", "-xf", "-"], cwd=tmp_path / name, input=packed, check=True)
        return tmp_path / name / "sparse"

    copies = [unpack(place, "unpacked")]
    for number, options in enumerate(([], ["--sparse=always"])):
        copies.append(tmp_path / f"copy{number}")
        subprocess.run(["cp", *options, place / "sparse", copies[-1]], check=True)
    for copy in copies:
        assert copy.stat().st_blocks * 512 < 1 << 20
        assert copy.read_bytes() == (place / "sparse").read_bytes()
    # What no program that asks for holes itself is told: pyfuse3 has no lseek(2), and then all of it is content.
    descriptor = os.open(place / "sparse", os.O_RDONLY)
    assert (os.lseek(descriptor, 0, os.SEEK_DATA), os.lseek(descriptor, 0, os.SEEK_HOLE)) == (0, size)
    os.close(descriptor)
    open_working_copy(str(place), demo.settings).commit(CommitOptions("me", "sparse"), SILENT)
    assert unmount(str(place))
    mounts()
    # Of a version, blocks of 1 MiB that are zeros throughout.
    assert [(place / name).stat().st_blocks * 512 >> 20 for name in ("sparse", "half")] == [1, 2]


def test_a_file_ends_where_one_of_the_overlays_disk_does(place: Path, isolated_home: Path) -> None:
    def told(directory: Path, call: str, size: int) -> int | None:
        descriptor = os.open(directory / "large", os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(descriptor, b"x", size - 1) if call == "pwrite" else os.ftruncate(descriptor, size)
        except OSError as error:
            return error.errno
        finally:
            os.close(descriptor)
            os.unlink(directory / "large")
        return None

    state = isolated_home / "state"
    sizes = [1 << 33, *(1 << bits for bits in range(42, 63, 4)), 17 << 40]
    found = [(told(place, call, size), told(state, call, size)) for size in sizes for call in ("pwrite", "ftruncate")]
    assert all(mine == disk for mine, disk in found), found
    assert errno.EFBIG in {mine for mine, _ in found}


def test_copies_within_the_kernel(place: Path, source: Path) -> None:
    expected = (source / "big.bin").read_bytes()
    for name, copy in (("ranged", os.copy_file_range), ("sent", os.sendfile)):
        with open(place / "big.bin", "rb") as reader, open(place / name, "wb") as writer:
            done = 0
            while done < len(expected):
                if copy is os.sendfile:
                    count = os.sendfile(writer.fileno(), reader.fileno(), done, len(expected) - done)
                else:
                    count = os.copy_file_range(reader.fileno(), writer.fileno(), len(expected) - done, done, done)
                assert count
                done += count
        assert (place / name).read_bytes() == expected
    shutil.copy(place / "big.bin", place / "copied")
    assert (place / "copied").read_bytes() == expected


_TRIES_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as stream:
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            lock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print("free", end=" ")
        except BlockingIOError:
            print("held", end=" ")
"""


def tried(path: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _TRIES_LOCK, path], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_locks_between_processes(place: Path) -> None:
    path = place / "small.txt"
    with open(path, "r+b") as stream:
        assert tried(path) == ["free", "free"]
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert tried(path) == ["held", "free"]
        fcntl.lockf(stream, fcntl.LOCK_EX, 5, 0)
        assert tried(path) == ["held", "held"]
        fcntl.flock(stream, fcntl.LOCK_UN)
        fcntl.lockf(stream, fcntl.LOCK_UN)
        assert tried(path) == ["free", "free"]


def test_the_space_that_is_free(place: Path, tmp_path: Path) -> None:
    facts, disk = os.statvfs(place), os.statvfs(os.environ["XDG_STATE_HOME"])
    assert not facts.f_flag & os.ST_RDONLY
    free, expected = facts.f_bavail * facts.f_frsize, disk.f_bavail * disk.f_frsize
    assert abs(free - expected) < 2 << 30  # others use that disk, too
    assert facts.f_ffree > 1 << 20
    assert facts.f_blocks > facts.f_bfree


def test_a_file_without_a_name_is_refused_as_tools_expect(place: Path) -> None:
    # Python's tempfile and glib go on with a name that they remove for EOPNOTSUPP; that is how they are used here.
    assert refused(lambda: os.open(place, os.O_TMPFILE | os.O_RDWR)) == errno.EOPNOTSUPP
    tempfiles = "import tempfile, sys; f = tempfile.TemporaryFile(dir=sys.argv[1]); f.write(b'x'); f.seek(0); f.read()"
    subprocess.run([sys.executable, "-c", tempfiles, place], check=True)


def test_space_cannot_be_reserved_and_programs_are_told(place: Path) -> None:
    with open(place / "file", "wb") as stream:
        number = stream.fileno()
        assert _libc.fallocate(number, 0, ctypes.c_long(0), ctypes.c_long(4096)) == -1
        assert ctypes.get_errno() == errno.EOPNOTSUPP
        os.posix_fallocate(number, 0, 10_000)  # the C library then writes zeros
    assert (place / "file").read_bytes() == bytes(10_000)


def test_what_is_removed_while_open_stays_until_it_is_closed(place: Path, source: Path) -> None:
    inodes = os.statvfs(place).f_files
    original = (source / "big.bin").read_bytes()
    with open(place / "big.bin", "r+b") as stream, open(place / "new", "w+b") as new:
        new.write(b"before")
        new.flush()
        os.remove(place / "big.bin")
        os.remove(place / "new")
        assert os.fstat(stream.fileno()).st_nlink == 0
        assert refused(lambda: os.stat(place / "big.bin")) == errno.ENOENT
        (place / "big.bin").write_bytes(b"another")
        stream.seek(1_000_000)
        stream.write(b"still")
        stream.seek(0)
        assert stream.read() == original[:1_000_000] + b"still" + original[1_000_005:]
        new.seek(0)
        assert new.read() == b"before"
        os.fchmod(new.fileno(), 0o600)
        os.ftruncate(new.fileno(), 3)
        assert os.fstat(new.fileno()).st_size == 3
    assert (place / "big.bin").read_bytes() == b"another"
    assert os.statvfs(place).f_files == inodes


def test_a_file_that_another_replaces_while_open(place: Path) -> None:
    (place / "next").write_text("next")
    with open(place / "small.txt") as stream:
        os.rename(place / "next", place / "small.txt")
        assert stream.read() == "hello world\n"
    assert (place / "small.txt").read_text() == "next"


def test_a_file_may_be_made_without_opening_it(place: Path) -> None:
    os.mknod(place / "plain", stat.S_IFREG | 0o640)
    assert stat.filemode((place / "plain").stat().st_mode) == "-rw-r-----"
    subprocess.run(["cp", place / "small.txt", place / "copied"], check=True)
    subprocess.run(["mv", place / "copied", place / "moved"], check=True)
    assert (place / "moved").read_text() == "hello world\n"


def test_modes_times_and_owners(place: Path, mounts: Mount) -> None:
    path, folder, link = place / "small.txt", place / "names", place / "bin" / "again"
    os.chmod(path, 0o4751)
    os.chmod(folder, 0o1777)
    os.utime(path, ns=(1_111_111_111_000_000_001, 1_222_222_222_000_000_002))
    os.utime(link, ns=(5, 1_333_333_333_000_000_003), follow_symlinks=False)
    os.utime(folder, ns=(-5_000_000_000, -7_000_000_001))
    os.chown(place / "old", 1234, 4321)
    os.lchown(link, 1, 2)
    for _ in range(2):
        facts = path.stat()
        assert stat.S_IMODE(facts.st_mode) == 0o4751
        assert (facts.st_atime_ns, facts.st_mtime_ns) == (1_111_111_111_000_000_001, 1_222_222_222_000_000_002)
        assert link.lstat().st_mtime_ns == 1_333_333_333_000_000_003
        assert folder.stat().st_mtime_ns == -7_000_000_001
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert ((place / "old").stat().st_uid, (place / "old").stat().st_gid) == (1234, 4321)
        assert (link.lstat().st_uid, link.lstat().st_gid) == (1, 2)
        assert (place / "big.bin").stat().st_uid == os.getuid()
        again(mounts, place)


def test_times_follow_changes(place: Path) -> None:
    path, folder = place / "names" / "a\nb", place / "names"
    os.utime(path, ns=(1, 1))
    os.utime(folder, ns=(1, 1))
    with open(path, "ab") as stream:
        stream.write(b"more")
    assert path.stat().st_mtime_ns > 1 << 60
    assert path.stat().st_ctime_ns > 1 << 60
    assert folder.stat().st_mtime_ns == 1
    (folder / "another").touch()
    assert folder.stat().st_mtime_ns > 1 << 60
    for empty in (place / "empty", place / "made"):
        empty.touch()
        os.utime(empty, ns=(1, 1))
        os.close(os.open(empty, os.O_WRONLY | os.O_TRUNC))
        assert empty.stat().st_mtime_ns > 1 << 60


def test_extended_attributes_are_metadata(place: Path, mounts: Mount) -> None:
    path = place / "small.txt"
    os.setxattr(path, "user.meta.label", b"cat")
    os.setxattr(path, "user.meta.stars", b"5")
    os.setxattr(place / "names", "user.meta.kind", "ünï".encode())
    os.setxattr(path, "user.meta.label", b"dog", os.XATTR_REPLACE)
    assert refused(lambda: os.setxattr(path, "user.meta.label", b"x", os.XATTR_CREATE)) == errno.EEXIST
    assert refused(lambda: os.setxattr(path, "user.meta.none", b"x", os.XATTR_REPLACE)) == errno.ENODATA
    assert refused(lambda: os.setxattr(path, "security.selinux", b"x")) == errno.EOPNOTSUPP
    assert refused(lambda: os.setxattr(path, "user.meta.bytes", b"\xff")) == errno.EINVAL
    again(mounts, place)
    assert os.getxattr(path, "user.meta.label") == b"dog"
    assert os.getxattr(place / "names", "user.meta.kind") == "ünï".encode()
    assert {name for name in os.listxattr(path) if name.startswith("user.meta")} == {
        "user.meta.label",
        "user.meta.stars",
    }
    os.removexattr(path, "user.meta.stars")
    assert refused(lambda: os.removexattr(path, "user.meta.stars")) == errno.ENODATA
    assert refused(lambda: os.getxattr(path, "user.meta.stars")) == errno.ENODATA
    assert path.read_text() == "hello world\n"


def test_names_at_their_limits(place: Path, mounts: Mount) -> None:
    longest = "ä" * 127 + "x"
    (place / longest).write_text("long")
    assert refused(lambda: (place / (longest + "x")).touch()) == errno.ENAMETOOLONG
    assert refused(lambda: os.rename(place / longest, place / ("y" * 256))) == errno.ENAMETOOLONG
    os.mkdir(os.fsencode(place) + b"/\xff\xfe\n")
    again(mounts, place)
    assert (place / longest).read_text() == "long"
    assert b"\xff\xfe\n" in os.listdir(os.fsencode(place))


def test_deep_directories(place: Path, mounts: Mount) -> None:
    depth = 300
    descriptor = os.open(place, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d" * 50, dir_fd=descriptor)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
        if number == depth - 1:
            os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    again(mounts, place)
    found = subprocess.run(["find", place, "-name", "bottom", "-printf", "%d\n"], capture_output=True, check=True)
    assert found.stdout == b"%d\n" % (depth + 1)
    subprocess.run(["rm", "-r", place / ("d" * 50)], check=True)
    assert not (place / ("d" * 50)).exists()


def test_a_directory_cannot_go_below_itself(place: Path) -> None:
    (place / "one" / "two").mkdir(parents=True)
    assert refused(lambda: os.rename(place / "one", place / "one" / "two" / "three")) == errno.EINVAL
    assert refused(lambda: os.rename(place / "names", place / "one")) == errno.ENOTEMPTY
    assert refused(lambda: os.rename(place / "small.txt", place / "one")) == errno.EISDIR
    assert refused(lambda: os.rename(place / "one", place / "small.txt")) == errno.ENOTDIR


def test_ten_thousand_files_in_one_directory(place: Path, mounts: Mount) -> None:
    folder = place / "many"
    folder.mkdir()
    for number in range(10_000):
        os.close(os.open(folder / f"{number:05}", os.O_CREAT | os.O_WRONLY))
    for number in range(0, 10_000, 2):
        os.remove(folder / f"{number:05}")
    expected = [f"{number:05}" for number in range(1, 10_000, 2)]
    assert sorted(os.listdir(folder)) == expected
    again(mounts, place)
    assert sorted(os.listdir(folder)) == expected
    shutil.rmtree(folder)
    assert not folder.exists()


def test_a_directory_that_changes_while_it_is_listed(place: Path) -> None:
    folder = place / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"old-{number:04}").touch()
    seen: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            seen.append(entry.name)
            if entry.name.startswith("old-"):
                number = int(entry.name[4:])
                os.remove(entry.path)
                if number % 3 == 0:
                    (folder / f"new-{number:04}").touch()
    assert sorted(name for name in seen if name.startswith("old-")) == [f"old-{number:04}" for number in range(3000)]
    assert len(seen) == len(set(seen))
    assert sorted(os.listdir(folder)) == [f"new-{number:04}" for number in range(0, 3000, 3)]


def test_removing_a_directory_of_thousands_of_a_version(demo: LocalBucket, tmp_path: Path, mounts: Mount) -> None:
    folder = tmp_path / "source" / "thousands"
    for number in range(4000):
        below = folder / f"{number % 20:02}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number}").write_text(f"{number}\n")
    (tmp_path / "source" / "kept").write_text("kept")
    demo.push(tmp_path / "source")
    place = Path(mounts(options=WRITABLE).mountpoint)
    os.rename(place / "thousands", place / "moved")
    assert (place / "moved" / "07" / "1007").read_text() == "1007\n"
    subprocess.run(["rm", "-rf", place / "moved"], check=True)
    assert os.listdir(place) == ["kept"]
    (place / "moved").mkdir()
    assert os.listdir(place / "moved") == []
    again(mounts, place)
    assert sorted(os.listdir(place)) == ["kept", "moved"]
    assert os.listdir(place / "moved") == []


def test_a_directory_removed_while_one_is_in_it(place: Path) -> None:
    code = (
        "import os; before = os.stat('.').st_ino; print('ready', flush=True); input()\n"
        "print(os.listdir('.'), os.stat('.').st_ino == before); open('file', 'w')"
    )
    (place / "folder").mkdir()
    with program(code, cwd=place / "folder") as process:
        os.rmdir(place / "folder")
        (place / "folder").mkdir()
        (place / "folder" / "other").touch()
        out, _ = process.communicate("\n", timeout=30)
        assert out == "[] True\n"
        assert process.returncode == 1  # FileNotFoundError: nothing can be made in it
    assert os.listdir(place / "folder") == ["other"]


def test_programs_that_were_written_run(place: Path) -> None:
    script = place / "script"
    script.write_text("#!/bin/sh\necho run from a mount\n")
    assert refused(lambda: subprocess.run([script], check=False)) == errno.EACCES
    script.chmod(0o755)
    assert subprocess.run([script], capture_output=True, check=True).stdout == b"run from a mount\n"


def test_what_was_removed_while_open_is_gone_after_a_crash(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts(options=WRITABLE)
    assert info.overlay is not None
    data, path = Path(info.overlay, "data"), Path(info.mountpoint, "file")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, bytes(1 << 20))
        os.remove(path)
        kill(info)
    finally:
        with suppress(OSError):
            os.close(descriptor)
    assert any(path.is_file() for path in data.rglob("*"))
    assert unmount(info.mountpoint)
    mounts(options=WRITABLE)
    until(lambda: not any(path.is_file() for path in data.rglob("*")), "its bytes are given back", 30)
