"""The files that bytes lie in: opened, synced, closed, removed; on disks of both kinds, and moved between them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from views.changed import LAYOUTS, OWN, head_file, own_file, use_own_files

from penstock.overlay.content import data_files
from penstock.overlay.content.data_files import DataFiles
from penstock.overlay.content.libc import punch_hole
from penstock.overlay.content.shared_heads import HEAD_BYTES, Key, group_of

_APART = 64
"""Inodes that are so far apart have files of their own in both layouts."""


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The layout of an overlay in `tmp_path`."""
    if request.param == OWN:
        use_own_files(tmp_path)
    return str(request.param)


def _file_of(layout: str, key: Key) -> Key:
    return key if layout == OWN else group_of(key)


def _path_of(layout: str, directory: Path, inode: int) -> Path:
    return own_file(directory, inode, 0) if layout == OWN else head_file(directory, inode, 0)


def _synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which paths are synced; they are synced all the same."""
    seen: list[str] = []

    def spy(call: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            call(descriptor)

        return synced

    monkeypatch.setattr(os, "fdatasync", spy(os.fdatasync))
    monkeypatch.setattr(os, "fsync", spy(os.fsync))
    monkeypatch.setattr(data_files, "sync_file_system", spy(data_files.sync_file_system))
    return seen


def test_sync_reaches_each_file_written_and_each_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DataFiles(str(tmp_path))
    seen = _synced(monkeypatch)
    files.write((1, 0), 0, b"x")
    files.sync()
    head, own = head_file(tmp_path, 1, 0), own_file(tmp_path, 1, 0)
    assert set(seen) == {str(path) for path in (head, head.parent, tmp_path / "data", tmp_path)}
    seen.clear()
    files.sync()
    assert not seen
    files.write((1, 0), HEAD_BYTES - 1, b"xx")
    files.sync()
    assert set(seen) == {str(path) for path in (head, own, own.parent, tmp_path / "data")}
    seen.clear()
    files.write((1, 0), 0, b"y")
    files.sync()
    assert seen == [str(head)]
    seen.clear()
    files.write((1, 0), HEAD_BYTES, b"y")
    files.sync()
    assert seen == [str(own)]
    files.close()


def test_sync_reaches_each_name_on_a_disk_without_holes(
    disk_without_holes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DataFiles(str(disk_without_holes))
    seen = _synced(monkeypatch)
    files.write((1, 0), 0, b"x")
    files.sync()
    own = own_file(disk_without_holes, 1, 0)
    assert set(seen) == {str(path) for path in (own, own.parent, disk_without_holes / "data", disk_without_holes)}
    files.close()


def test_many_files_are_synced_at_once(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DataFiles(str(tmp_path))
    seen = _synced(monkeypatch)
    for number in range(100):
        files.write((number * _APART, 0), 0, b"x")
    files.sync()
    assert seen == [str(tmp_path / "data")]
    files.close()


def test_files_made_one_after_the_other_are_one_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DataFiles(str(tmp_path))
    files.sync()
    seen = _synced(monkeypatch)
    for inode in range(64):
        files.write((inode, 0), 0, b"x")
    files.sync()
    assert set(seen) == {str(tmp_path / "data" / "heads" / "0.0"), str(tmp_path / "data" / "heads")}
    files.close()


def test_a_sync_that_fails_is_tried_again(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DataFiles(str(tmp_path))
    files.write((1, 0), 0, b"x")

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.sync()
    seen = _synced(monkeypatch)
    files.sync()
    assert str(_path_of(layout, tmp_path, 1)) in seen
    files.close()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_are_open_at_a_time(tmp_path: Path, layout: str) -> None:
    before = _descriptors()
    files = DataFiles(str(tmp_path), open_files=4)
    for number in range(40):
        files.write((number * _APART, 0), 0, b"%02d" % number)
    assert _descriptors() - before <= 5
    for number in range(40):
        assert files.read((number * _APART, 0), 0, 2) == b"%02d" % number
    files.sync()
    assert _descriptors() - before <= 5
    files.close()
    assert _descriptors() == before


def test_a_file_in_use_is_not_closed(tmp_path: Path, layout: str) -> None:
    files = DataFiles(str(tmp_path), open_files=1)
    one, two = (0, 0), (_APART, 0)
    at = 0
    files.write(one, at, b"one")
    with files._use(_file_of(layout, one)) as descriptor:
        files.write(two, 0, b"two")
        files.remove(_file_of(layout, one))
        assert os.pread(descriptor, 3, at) == b"one"
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(descriptor)
    assert files.read(two, 0, 3) == b"two"
    files.close()


def test_nothing_is_left_of_finding_out_whether_the_disk_has_holes(tmp_path: Path, disk_without_holes: Path) -> None:
    DataFiles(str(tmp_path)).close()
    assert sorted(path.name for path in (tmp_path / "data").rglob("*")) == ["heads"]
    DataFiles(str(disk_without_holes)).close()
    assert [path.name for path in disk_without_holes.rglob("*")] == ["data"]


def test_a_disk_without_holes_keeps_each_file_in_its_own(disk_without_holes: Path) -> None:
    files = DataFiles(str(disk_without_holes))
    files.write((1, 0), HEAD_BYTES - 1, b"xx")
    files.write((2, 0), 0, b"two")
    files.cut((1, 0), HEAD_BYTES)
    assert own_file(disk_without_holes, 1, 0).stat().st_size == HEAD_BYTES
    assert files.read((1, 0), 0, HEAD_BYTES) == bytes(HEAD_BYTES - 1) + b"x"
    files.remove((1, 0))
    assert list(files.names()) == [(2, 0)]
    assert files.read((2, 0), 0, 3) == b"two"
    files.clear()
    assert not (disk_without_holes / "data" / "heads").exists()
    files.close()


def test_a_full_disk_is_not_asked_whether_it_has_holes(small_disk: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), open(small_disk / "full", "wb", 0) as stream:
        while True:
            stream.write(bytes(1 << 16))
    files = DataFiles(str(small_disk))
    os.unlink(small_disk / "full")
    files.write((1, 0), 0, b"one")
    assert own_file(small_disk, 1, 0).exists()
    assert files.read((1, 0), 0, 3) == b"one"
    files.clear()
    files.write((1, 0), 0, b"one")
    assert head_file(small_disk, 1, 0).exists()
    files.close()


def test_an_overlay_that_was_moved_to_a_disk_without_holes_goes_on(tmp_path: Path, disk_without_holes: Path) -> None:
    (tmp_path / "overlay").mkdir()
    before = DataFiles(str(tmp_path / "overlay"))
    before.write((1, 0), 0, b"one, and more")
    before.write((2, 0), HEAD_BYTES - 1, b"two")
    before.close()
    moved = disk_without_holes / "overlay"
    shutil.copytree(tmp_path / "overlay", moved)
    files = DataFiles(str(moved))
    files.cut((1, 0), 3)
    assert files.read((1, 0), 0, 3) == b"one"
    files.write((3, 0), 0, b"three")
    files.remove((1, 0))
    assert files.read((2, 0), HEAD_BYTES - 1, HEAD_BYTES + 2) == b"two"
    assert files.read((3, 0), 0, 5) == b"three"
    files.remove(group_of((1, 0)))
    assert not head_file(moved, 1, 0).exists()
    files.close()


def test_an_overlay_made_before_there_were_heads_gets_them_when_it_is_emptied(tmp_path: Path) -> None:
    use_own_files(tmp_path)
    files = DataFiles(str(tmp_path))
    files.write((1, 0), 0, b"one")
    files.write((1, 0), HEAD_BYTES - 1, b"xx")
    files.close()
    files = DataFiles(str(tmp_path))
    assert list(files.names()) == [(1, 0)]
    assert files.read((1, 0), 0, 3) == b"one"
    assert not (tmp_path / "data" / "heads").exists()
    files.clear()
    assert list(files.names()) == []
    files.write((1, 0), 0, b"one")
    assert set(files.names()) == {(1, 0), group_of((1, 0))}
    assert not own_file(tmp_path, 1, 0).exists()
    files.close()


def test_what_is_written_after_a_clear_that_failed_is_in_files_with_names(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DataFiles(str(tmp_path))
    for number in range(3):
        files.write((number * _APART, 0), 0, b"before")
    unlink = os.unlink
    removed: list[str] = []

    def failing(path: str) -> None:
        if removed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path)
        removed.append(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.clear()
    for number in range(3):
        files.write((number * _APART, 0), 0, b"after")
        assert _path_of(layout, tmp_path, number * _APART).read_bytes()[:5] == b"after"
    files.close()


def test_one_is_removed_while_others_of_its_group_are_written_and_read(tmp_path: Path) -> None:
    files = DataFiles(str(tmp_path))
    own = b"x" * 5000
    for inode in range(64):
        files.write((inode, 0), 0, own)
    end, turns = threading.Event(), 0
    wrong: list[str] = []

    def remove() -> None:
        try:
            for turn in range(300):
                files.remove((turn % 32, 0))
        except OSError as error:
            wrong.append(str(error))
        finally:
            end.set()

    thread = threading.Thread(target=remove)
    thread.start()
    while not end.is_set() or turns < 32:
        inode = 32 + turns % 32
        data = b"%06d" % turns * 1000
        files.write((inode, 0), turns % 7 * 5000, data)
        assert files.read((inode, 0), turns % 7 * 5000, turns % 7 * 5000 + 6000) == data
        turns += 1
    thread.join()
    assert not wrong
    for inode in range(32):
        assert files.read((inode, 0), 0, 5000) == bytes(5000)
    assert {key for key in files.names() if key[0] >= 0} == {(inode, 0) for inode in range(32, 64)}
    files.close()


def test_space_is_found_also_where_a_hole_was_punched(tmp_path: Path) -> None:
    """What `names` says of a group is what lseek(2) knows; so it must not miss what was written last."""
    files = DataFiles(str(tmp_path))
    for inode in (0, 5, 63):
        files.write((inode, 3), HEAD_BYTES - 1, b"x")
    with files._use(group_of((5, 3))) as descriptor:
        punch_hole(descriptor, 5 * HEAD_BYTES, HEAD_BYTES)
    assert set(files.names()) == {group_of((0, 3)), (0, 3), (63, 3)}
    files.close()
