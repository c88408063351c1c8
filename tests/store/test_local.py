"""What only the store in a directory does: durability, crashes, odd things found in the folder, a full disk."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import AccessError, NotFoundError, PenstockError, StoreUnreachableError, UsageError
from penstock.store.durable import STALE_AFTER, TEMPORARY_FOLDER
from penstock.store.local import LocalStore

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    return LocalStore(folder)


def keys(store: LocalStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def temporaries(folder: Path) -> list[str]:
    return os.listdir(folder / TEMPORARY_FOLDER)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Let this thread meet the file system as nobody does: root is refused nothing."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(0)


# Durability


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record, and do, what makes a write durable."""
    seen: list[tuple[str, str]] = []
    fsync, replace, link, mkdir = os.fsync, os.replace, os.link, os.mkdir

    def whole(name: str, folder: int | None) -> str:
        return name if folder is None else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)

    def spy_fsync(descriptor: int) -> None:
        seen.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def spy_replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(("name", whole(target, dst_dir_fd)))
        replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def spy_link(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        seen.append(("name", whole(target, dst_dir_fd)))
        link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    def spy_mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        seen.append(("make", whole(path, dir_fd)))

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    monkeypatch.setattr(os, "link", spy_link)
    monkeypatch.setattr(os, "mkdir", spy_mkdir)
    return seen


@pytest.mark.parametrize("operation", ["put", "create", "copy"])
def test_all_is_synced_in_order(store: LocalStore, folder: Path, events: list[tuple[str, str]], operation: str) -> None:
    if operation == "copy":
        store.put("source", b"body")
        events.clear()
        store.copy(store, "source", "a/b/key")
    else:
        getattr(store, operation)("a/b/key", b"body")
    named = events.index(("name", str(folder / "a/b/key")))
    content = [i for i, (what, path) in enumerate(events) if what == "sync" and f"/{TEMPORARY_FOLDER}/" in path]
    assert content
    assert max(content) < named
    assert ("sync", str(folder / "a/b")) in events[named:]
    for made in (folder / "a", folder / "a/b"):
        at = events.index(("make", str(made)))
        assert ("sync", str(made.parent)) in events[at:]
    if operation != "copy":
        assert ("sync", str(folder.parent)) in events[events.index(("make", str(folder))) :]


def test_a_folder_that_another_process_made_is_synced_too(
    store: LocalStore, folder: Path, events: list[tuple[str, str]]
) -> None:
    (folder / "a").mkdir(parents=True)
    events.clear()
    store.put("a/key", b"")
    assert ("sync", str(folder)) in events
    events.clear()
    store.put("a/other", b"")
    assert [path for what, path in events if what == "sync"][1:] == [str(folder / "a")]
    (folder / "b/empty").mkdir(parents=True)
    events.clear()
    LocalStore(folder).put("a/third", b"")  # whoever put something there has synced the way to it
    assert [path for what, path in events if what == "sync"][1:] == [str(folder / "a")]
    events.clear()
    LocalStore(folder).put("b/empty/key", b"")
    assert [path for what, path in events if what == "sync"][1:] == [str(folder / "b"), str(folder / "b/empty")]


_WRITER = """
import sys
from penstock.store.local import LocalStore
store = LocalStore(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    body = bytes([number % 256]) * 300_000
    store.put(f"put/{number % 7}", body)
    store.create(f"create/{number}", body)
    number += 1
"""


def test_killed_writers_leave_whole_objects(store: LocalStore, folder: Path) -> None:
    for attempt in range(6):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + 0.03 * attempt
            while time.monotonic() < deadline or not keys(store):
                pass
            writer.send_signal(signal.SIGKILL)
    found = list(store.list())
    assert found
    for info in found:
        body = store.get(info.key)
        assert len(body) == 300_000
        assert body == body[:1] * 300_000
    assert not [key for key in keys(store) if TEMPORARY_FOLDER in key]


# Temporary files


def test_nothing_temporary_stays(store: LocalStore, folder: Path) -> None:
    store.put("a", b"1")
    store.create("b", b"2")
    assert not store.create("b", b"3")
    store.copy(store, "a", "c")
    with pytest.raises(NotFoundError):
        store.copy(store, "nothing", "d")
    assert temporaries(folder) == []


def test_writing_sweeps_what_crashed_writers_left_and_reading_nothing(store: LocalStore, folder: Path) -> None:
    store.put("key", b"")
    ours, foreign = f"{os.getpid()}-{'0a' * 16}", "notes.txt"
    young = f"1-{'0b' * 16}"
    for name, age in ((ours, STALE_AFTER + 60), (foreign, STALE_AFTER + 60), (young, STALE_AFTER - 60)):
        path = folder / TEMPORARY_FOLDER / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    reader = LocalStore(folder)
    assert reader.get("key") == b""
    assert keys(reader) == ["key"]
    assert list(reader.list_folders()) == []
    assert sorted(temporaries(folder)) == sorted([ours, foreign, young])
    LocalStore(folder).put("other", b"")
    assert sorted(temporaries(folder)) == sorted([foreign, young])


def test_the_temporary_folder_can_be_removed_by_hand(store: LocalStore, folder: Path) -> None:
    store.put("a", b"1")
    (folder / TEMPORARY_FOLDER).rmdir()
    store.put("b", b"2")
    assert keys(store) == ["a", "b"]


@pytest.mark.parametrize("key", [TEMPORARY_FOLDER, TEMPORARY_FOLDER + "/x"])
def test_its_name_is_reserved(store: LocalStore, key: str) -> None:
    for call in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.head(key)):
        with pytest.raises(UsageError, match="reserved"):
            call()
    store.put(f"below/{key}", b"")
    assert keys(store) == [f"below/{key}"]


@pytest.mark.regress
def test_a_file_system_without_hard_links(store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of it in `test_naming`, and the contract suite."""

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    assert store.create("refs/1", b"mine")
    assert not store.create("refs/1", b"theirs")
    assert store.get("refs/1") == b"mine"
    assert temporaries(folder) == []


# What else may lie there


def test_an_object_cannot_hold_others(store: LocalStore) -> None:
    store.put("a", b"")
    store.put("b/c", b"")
    for call in (lambda: store.put("a/b", b""), lambda: store.create("a/b", b"")):
        with pytest.raises(UsageError, match="object"):
            call()
    for call in (lambda: store.put("b", b""), lambda: store.create("b", b"")):
        with pytest.raises(UsageError, match="object"):
            call()
    assert keys(store) == ["a", "b/c"]


def test_a_fifo_holds_nobody_up(store: LocalStore, folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert store.head("pipe") is None
    assert keys(store) == []
    with pytest.raises(NotFoundError):
        store.get("pipe")
    with pytest.raises(NotFoundError):
        store.copy(store, "pipe", "copy")


def test_names_that_cannot_be_keys_are_no_objects(store: LocalStore, folder: Path) -> None:
    store.put("good", b"")
    for name in (b"bad\xff", b"line\nbreak"):
        (folder / os.fsdecode(name)).write_bytes(b"")
    assert keys(store) == ["good"]


def test_what_vanishes_meanwhile_is_left_out(store: LocalStore) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        store.put(key, b"")
    listing = store.list()
    assert next(listing).key == "a/1"
    store.delete(["a/2", "b/1"])
    assert [info.key for info in listing] == ["c"]


def test_a_store_that_is_not_there(store: LocalStore, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="no directory"):
        store.get("key")
    folder.write_bytes(b"")
    with pytest.raises(UsageError, match="not a directory"):
        LocalStore(folder)
    with pytest.raises(UsageError):
        store.put("key", b"")


def test_names_that_are_too_long_for_a_file(store: LocalStore) -> None:
    with pytest.raises(UsageError, match="shorter"):
        store.put("n" * 256, b"")


def test_there_are_no_versions(store: LocalStore) -> None:
    store.put("key", b"")
    with pytest.raises(UsageError, match="version"):
        store.get("key", version_id="1")
    with pytest.raises(UsageError, match="version"):
        store.copy(store, "key", "copy", source_version_id="1")


def test_permissions_follow_the_umask(store: LocalStore, folder: Path) -> None:
    before = os.umask(0o027)
    try:
        store.put("a/key", b"")
    finally:
        os.umask(before)
    assert (folder / "a/key").stat().st_mode & 0o777 == 0o640
    assert (folder / "a").stat().st_mode & 0o777 == 0o750


# Refusals


def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "objects"
    store = LocalStore(folder)
    store.put("secret/key", b"")
    (folder / "secret").chmod(0o000)
    above = [parent for parent in tmp_path.parents if not parent.stat().st_mode & 0o001]
    modes = {parent: parent.stat().st_mode for parent in above}
    try:
        for parent in above:
            parent.chmod(modes[parent] | 0o001)
        with without_privileges():
            for call in (
                lambda: store.get("secret/key"),
                lambda: store.head("secret/key"),
                lambda: store.put("secret/new", b""),
                lambda: store.create("secret/new", b""),
                lambda: store.delete(["secret/key"]),
                lambda: keys(store, "secret/"),
                lambda: keys(store),
            ):
                with pytest.raises(AccessError) as caught:
                    call()
                assert str(folder) in caught.value.what
                assert caught.value.fix
    finally:
        (folder / "secret").chmod(0o755)
        for parent, mode in modes.items():
            parent.chmod(mode)


def test_a_full_disk(tmp_path: Path) -> None:
    """On a real file system of one mebibyte, in a mount namespace that ends with its process."""
    script = (
        "import sys\n"
        "from penstock.errors import StoreUnreachableError\n"
        "from penstock.store.local import LocalStore\n"
        "store = LocalStore(sys.argv[1])\n"
        "store.put('small', b'x' * 1000)\n"
        "try:\n"
        "    store.put('big', b'x' * 2_000_000)\n"
        "except StoreUnreachableError as error:\n"
        "    assert 'No space left' in str(error) and 'Free some space' in str(error), error\n"
        "else:\n"
        "    sys.exit('it fitted')\n"
        "assert [info.key for info in store.list()] == ['small']\n"
        "store.put('big', b'x' * 500_000)\n"  # what did not fit was removed again
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1/objects"'
    subprocess.run(
        ["unshare", *user, "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script],
        check=True,
        timeout=60,
    )


def test_a_limit_of_file_size(store: LocalStore, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UsageError, match="ulimit"):
            store.put("key", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert temporaries(folder) == []
    assert keys(store) == []


def test_too_many_open_files(store: LocalStore) -> None:
    store.put("key", b"body")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tempfile.TemporaryFile() as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(last.fileno(), soft), hard))
        held: list[int] = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            with pytest.raises(StoreUnreachableError, match="ulimit"):
                store.get("key")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in held:
                os.close(descriptor)
    assert store.get("key") == b"body"


# Copies


def test_copy_across_file_systems(store: LocalStore) -> None:
    """The kernel refuses to (EXDEV); the bytes are then read and written."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shared:
        assert os.stat(shared).st_dev != os.stat(tempfile.gettempdir()).st_dev
        source = LocalStore(shared)
        body = bytes(range(256)) * 10_000
        source.put("from", body)
        store.copy(source, "from", "a/to")
    assert store.get("a/to") == body


def test_errors_name_the_file(store: LocalStore, folder: Path) -> None:
    store.put("a", b"")
    with pytest.raises(PenstockError) as caught:
        store.put("a/b", b"")
    assert str(folder / "a/b") in str(caught.value)


@pytest.mark.usefixtures("deep_trees")
@pytest.mark.regress
def test_folders_without_end_are_not_followed(tmp_path: Path) -> None:
    """Deeper than any key, and than Python's stack."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "key").write_bytes(b"1")
    folder = os.open(tmp_path / "store", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    with LocalStore(str(tmp_path / "store")) as store:
        assert [found.key for found in store.list()] == ["key"]
