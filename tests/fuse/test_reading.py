"""What programs see in a mount: the same as in the directory that was pushed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.memory import Made, Spec

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def run(*command: object) -> str:
    done = subprocess.run([os.fspath(part) for part in command], capture_output=True, check=False, timeout=60)  # type: ignore[call-overload]  # paths and text
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.decode("utf-8", "surrogateescape")


def digests(top: Path) -> dict[bytes, str]:
    found = {}
    for folder, _, files in os.walk(os.fsencode(top)):
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with open(path, "rb") as stream:
                    found[os.path.relpath(path, os.fsencode(top))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def test_it_is_equal_to_its_source(mounted: Path, source: Path) -> None:
    assert run("diff", "-r", "--no-dereference", source, mounted) == ""
    assert digests(mounted) == digests(source)
    assert len(digests(mounted)) == 10


def test_find_and_recursive_copy(mounted: Path, source: Path, tmp_path: Path) -> None:
    listed = [sorted(run("find", top, "-printf", "%P %y %s %l\\0").split("\0")) for top in (source, mounted)]
    # Directories have a size of their own on disk.
    plain = [[line for line in lines if " d " not in line] for lines in listed]
    assert plain[0] == plain[1]
    run("cp", "-r", "--preserve=timestamps,links,mode", mounted, tmp_path / "copy")
    assert run("diff", "-r", "--no-dereference", source, tmp_path / "copy") == ""


def test_attributes(mounted: Path, source: Path) -> None:
    for name in ("big.bin", "bin/hello", "empty", "old", "small.txt", "bin/again", "dangling"):
        expected, found = (source / name).lstat(), (mounted / name).lstat()
        assert stat.filemode(found.st_mode) == stat.filemode(expected.st_mode), name
        assert found.st_size == expected.st_size
        if not stat.S_ISLNK(found.st_mode):
            assert found.st_mtime_ns == expected.st_mtime_ns
        assert found.st_nlink == 1
        assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
        assert found.st_blocks == (found.st_size + 511) // 512
        assert found.st_blksize == 1 << 20
    root = mounted.stat()
    assert root.st_ino == 1
    assert stat.filemode(root.st_mode) == "drwxr-xr-x"


def test_inode_numbers_are_the_same_in_a_listing_and_in_stat(mounted: Path) -> None:
    with os.scandir(mounted) as entries:
        for entry in entries:
            assert entry.inode() == entry.stat(follow_symlinks=False).st_ino
    inodes = {path.lstat().st_ino for path in mounted.rglob("*")}
    assert len(inodes) == len(list(mounted.rglob("*")))


def test_symlinks(mounted: Path) -> None:
    assert os.readlink(mounted / "bin" / "again") == "hello"
    assert (mounted / "bin" / "again").read_text().startswith("#!")
    assert os.readlink(os.fsencode(mounted / "dangling")) == b"../nowhere/\xff"
    with pytest.raises(FileNotFoundError):
        (mounted / "dangling").read_bytes()


def test_programs_run(mounted: Path) -> None:
    assert run(mounted / "bin" / "hello") == "hello from a mount\n"
    with pytest.raises(PermissionError):
        subprocess.run([mounted / "small.txt"], check=False)


def test_odd_names(mounted: Path) -> None:
    names = os.fsencode(mounted / "names")
    assert sorted(os.listdir(names)) == [
        b"a\nb",
        b"comma,back\\slash",
        b"not-utf8-\xff\xfe",
        b"x" * 255,
        "ünï".encode(),
    ]
    for name, content in ((b"a\nb", b"newline"), (b"not-utf8-\xff\xfe", b"bytes"), (b"x" * 255, b"long")):
        with open(os.path.join(names, name), "rb") as stream:
            assert stream.read() == content
    with pytest.raises(OSError, match="too long") as told:
        os.stat(os.path.join(names, b"x" * 256))
    assert told.value.errno == errno.ENAMETOOLONG
    with pytest.raises(FileNotFoundError):
        os.stat(os.path.join(names, b"nothing"))


def test_memory_maps(mounted: Path, source: Path) -> None:
    expected = (source / "big.bin").read_bytes()
    with (mounted / "big.bin").open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[2_000_000:2_000_100] == expected[2_000_000:2_000_100]
        assert mapped[-8:] == b"the tail"
        assert mapped[:] == expected


def test_reads_at_any_place(mounted: Path, source: Path) -> None:
    expected = (source / "big.bin").read_bytes()
    descriptor = os.open(mounted / "big.bin", os.O_RDONLY)
    try:
        for offset in (0, 1, (1 << 20) - 1, 1 << 20, 2_500_000, len(expected) - 1, len(expected), 1 << 40):
            for size in (1, 4096, 1 << 21):
                assert os.pread(descriptor, size, offset) == expected[offset : offset + size]
    finally:
        os.close(descriptor)


def test_many_readers_at_once(mounted: Path, source: Path) -> None:
    expected = hashlib.sha256((source / "big.bin").read_bytes()).hexdigest()
    found: list[str] = []

    def read() -> None:
        found.append(hashlib.sha256((mounted / "big.bin").read_bytes()).hexdigest())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 8


def test_the_tree_takes_no_writes(mounted: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: (mounted / "new").touch(),
        lambda: (mounted / "small.txt").open("r+b"),
        lambda: (mounted / "small.txt").open("wb"),
        lambda: (mounted / "small.txt").unlink(),
        lambda: (mounted / "small.txt").rename(mounted / "x"),
        lambda: (mounted / "small.txt").chmod(0o600),
        lambda: os.utime(mounted / "small.txt"),
        lambda: os.chown(mounted / "small.txt", 0, 0),
        lambda: os.truncate(mounted / "small.txt", 0),
        lambda: (mounted / "folder").mkdir(),
        lambda: (mounted / "empty-folder").rmdir(),
        lambda: (mounted / "link").symlink_to("x"),
        lambda: os.link(mounted / "small.txt", mounted / "hard"),
        lambda: os.mkfifo(mounted / "pipe"),
        lambda: os.setxattr(mounted / "small.txt", "user.x", b"y"),
        lambda: os.removexattr(mounted / "small.txt", "user.penstock.hash"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only") as told:
            attempt()
        assert told.value.errno == errno.EROFS


def test_extended_attributes(mounted: Path, demo: LocalBucket) -> None:
    path = mounted / "big.bin"
    assert os.getxattr(path, "user.penstock.cached") == b"0/4"
    with path.open("rb") as stream:
        stream.seek(2 << 20)
        stream.read(10)
    cached = int(os.getxattr(path, "user.penstock.cached").split(b"/")[0])
    assert 1 <= cached <= 4
    assert os.listxattr(path) == os.listxattr(mounted) == []
    assert str(demo.directory).encode() in os.getxattr(path, "user.penstock.physical")
    assert os.getxattr(mounted, "user.penstock.handle") == b"demo/data"
    assert len(os.getxattr(mounted, "user.penstock.top_hash")) == 64
    assert os.getxattr(mounted / "bin", "user.penstock.top_hash") == os.getxattr(mounted, "user.penstock.top_hash")
    assert os.listxattr(mounted / "bin" / "again", follow_symlinks=False) == []
    with pytest.raises(OSError, match="No data") as told:
        os.getxattr(path, "user.nothing")
    assert told.value.errno == errno.ENODATA


def test_the_size_of_the_file_system(mounted: Path, source: Path) -> None:
    facts = os.statvfs(mounted)
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in files)
    assert 0 <= facts.f_blocks * facts.f_frsize - total < facts.f_frsize
    assert facts.f_files == len(list(source.rglob("*"))) + 1
    assert (facts.f_bfree, facts.f_bavail, facts.f_ffree, facts.f_namemax) == (0, 0, 0, 255)
    assert facts.f_flag & os.ST_RDONLY


def test_listing_again_asks_the_store_for_nothing(mounted: Path, demo: LocalBucket) -> None:
    def fetched() -> int:
        return int(os.getxattr(mounted, "user.penstock.bytes_fetched"))

    run("ls", "-lR", mounted)
    (mounted / "small.txt").read_bytes()
    before = fetched()
    run("ls", "-lR", mounted)
    (mounted / "small.txt").read_bytes()
    assert fetched() == before


def test_only_what_is_read_is_fetched(mounted: Path) -> None:
    before = int(os.getxattr(mounted, "user.penstock.bytes_fetched"))
    assert before < 20_000  # the tree itself
    assert (mounted / "small.txt").read_bytes() == b"hello world\n"
    assert int(os.getxattr(mounted, "user.penstock.bytes_fetched")) == before + 12


def test_deep_paths(demo: LocalBucket, tmp_path: Path, mounts: Mount) -> None:
    spec: Spec = {b"leaf": Made(b"down here")}
    for _ in range(200):
        spec = {b"directory": spec}
    write_tree(tmp_path / "deep", spec)
    demo.push(tmp_path / "deep")
    mountpoint = mounts().mountpoint
    assert Path(mountpoint, *["directory"] * 200, "leaf").read_bytes() == b"down here"
    assert len(run("find", mountpoint).splitlines()) == 202


def test_an_empty_dataset(demo: LocalBucket, tmp_path: Path, mounts: Mount) -> None:
    (tmp_path / "nothing").mkdir()
    demo.push(tmp_path / "nothing")
    mountpoint = mounts().mountpoint
    assert os.listdir(mountpoint) == []
    assert run("ls", "-a", mountpoint).split() == [".", ".."]
    assert os.statvfs(mountpoint).f_blocks == 0


def test_a_directory_of_a_version(demo: LocalBucket, source: Path, mounts: Mount) -> None:
    demo.push(source)
    mountpoint = Path(mounts("demo/data:main/bin").mountpoint)
    assert sorted(os.listdir(mountpoint)) == ["again", "hello"]
    assert run(mountpoint / "again") == "hello from a mount\n"


def test_a_huge_directory(demo: LocalBucket, tmp_path: Path, mounts: Mount) -> None:
    count = 50_000
    (tmp_path / "huge").mkdir()
    for number in range(count):
        os.close(os.open(tmp_path / "huge" / f"{number:06d}", os.O_CREAT | os.O_WRONLY))
    demo.push(tmp_path / "huge")
    shutil.rmtree(tmp_path / "huge")
    mountpoint = mounts().mountpoint
    assert run("ls", "-f", mountpoint).split("\n")[2:-1] == [f"{number:06d}" for number in range(count)]
    assert Path(mountpoint, "047777").stat().st_size == 0
    seeks = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.readdir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
stream = libc.opendir(sys.argv[1].encode())
places = {}
for number in range(48000):
    place = libc.telldir(stream)
    name = libc.readdir(stream).contents.name
    if number % 7919 == 0:
        places[place] = name
for place, name in reversed(places.items()):
    libc.seekdir(stream, place)
    assert libc.readdir(stream).contents.name == name, (place, name)
libc.rewinddir(stream)
assert libc.readdir(stream).contents.name == b"."
print(len(places))
"""
    assert run(sys.executable, "-c", seeks, mountpoint) == "7\n"


def test_locks(mounted: Path) -> None:
    with (mounted / "small.txt").open("rb") as first, (mounted / "small.txt").open("rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_UN)
        fcntl.lockf(second, fcntl.LOCK_SH | fcntl.LOCK_NB)


@pytest.mark.parametrize("writable", [False, True])
def test_handles_of_files_outlive_what_the_kernel_remembers(pushed: LocalBucket, mounts: Mount, writable: bool) -> None:
    """As an NFS server has them: name_to_handle_at(2), then open_by_handle_at(2) with caches dropped."""
    place = Path(mounts(options=MountOptions(writable=writable)).mountpoint)
    libc = ctypes.CDLL(None, use_errno=True)
    names = ["big.bin", "bin/hello", "names", "small.txt", "empty"]
    handles = []
    for name in names:
        handle = ctypes.create_string_buffer(struct.pack("Ii128x", 128, 0))
        number = ctypes.c_int()
        assert libc.name_to_handle_at(-100, os.fsencode(place / name), handle, ctypes.byref(number), 0) == 0
        handles.append(handle)
    Path("/proc/sys/vm/drop_caches").write_text("2")
    mount = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    for name, handle in zip(names, handles, strict=True):
        descriptor = libc.open_by_handle_at(mount, handle, os.O_RDONLY)
        assert descriptor >= 0, (name, os.strerror(ctypes.get_errno()))
        assert os.fstat(descriptor).st_ino == (place / name).stat().st_ino
        if name == "small.txt":
            assert os.read(descriptor, 100) == b"hello world\n"
        os.close(descriptor)
    os.close(mount)
