"""Files that share one for their first MiB: none takes another's bytes along, and the shared one goes with the last."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.changed import HEADS, INODE, LAYOUTS, ChangedFile, Place, head_file
from views.edited import Edited, version_tree
from views.memory import Made

from penstock.manifest.entry import MAX_SIZE, Kind
from penstock.overlay.content.data_files import DataFiles
from penstock.overlay.content.removal import Removal
from penstock.overlay.content.shared_heads import HEAD_BYTES, group_of, members, place_of
from penstock.overlay.tables.schema import InodeRecord
from penstock.repo.read.snapshot import open_snapshot

_MEMBERS = 64


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, HEADS)
    yield made
    made.content.close()


def _group(place: Place, count: int = _MEMBERS) -> list[ChangedFile]:
    first = members(group_of((INODE, 0))).start
    return [ChangedFile(place, b"version", first + number) for number in range(count)]


def test_groups() -> None:
    for inode in (0, 1, 63, 64, INODE, (1 << 48) + 1, (1 << 62) + 77):
        group = group_of((inode, 7))
        assert group[0] < 0
        assert group[1] == 7
        assert inode in members(group)
        assert len(members(group)) == _MEMBERS
        assert place_of((inode, 7)) == members(group).index(inode) * HEAD_BYTES
        assert {group_of((each, 7)) for each in members(group)} == {group}
    assert group_of((63, 0)) != group_of((64, 0)) != group_of((64, 1))


def test_the_file_of_a_group_has_its_whole_length_at_once(place: Place) -> None:
    """Beyond its end XFS takes more than is written, and no disk gives back by punching what was reserved there."""
    (file,) = _group(place, 1)
    file.write(0, b"x")
    assert file.head_file(0).stat().st_size == _MEMBERS * HEAD_BYTES
    assert place.content.usage() <= 16 << 10


def test_what_goes_leaves_the_others_bytes(place: Place) -> None:
    files = _group(place, 4)
    for file in files[:3]:
        file.write(0, b"%d" % file.inode * 1000)
    files[3].write(0, bytes(7))  # zeros, which must not be taken for nothing
    assert files[3].model == bytes(7)
    for gone in (1, 0, 2):
        files[gone].drop()
        place.tables.checkpoint()
        for file in files:
            if file.model and file is not files[gone]:
                assert file.read() == file.model
        files[gone].model.clear()
    assert files[3].head_file(0).exists()
    place.reopen()
    place.remove_strays()
    assert files[3].read() == bytes(7)
    files[3].drop()
    place.tables.checkpoint()
    assert place.files() == []


def test_what_goes_gives_its_space_back_at_once(place: Place) -> None:
    files = _group(place, 3)
    for file in files:
        file.write(0, os.urandom(HEAD_BYTES + 1000))
    before = place.content.usage()
    files[1].drop()
    place.tables.checkpoint()
    assert place.content.usage() <= before - HEAD_BYTES
    assert files[0].read() == files[0].model
    assert files[2].read() == files[2].model
    assert not files[1].own_file(0).exists()


@pytest.mark.parametrize("count", [3, _MEMBERS])
def test_the_file_of_a_group_goes_with_the_last(place: Place, count: int) -> None:
    files = _group(place, count)
    for file in files:
        file.write(0, b"x" * 100)
    for file in files[:-1]:
        file.drop()
    place.tables.checkpoint()
    place.content._removal.settle()
    assert files[-1].read() == files[-1].model
    files[-1].drop()
    place.tables.checkpoint()
    assert place.files() == []


def test_a_group_goes_as_one_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _group(place)
    for file in files:
        file.write(0, b"x")
        file.drop()
    punched: list[int] = []
    monkeypatch.setattr("penstock.overlay.content.data_files.punch_hole", lambda *hole: punched.append(hole[1]))
    place.tables.checkpoint()
    place.content._removal.settle()
    assert place.files() == []
    assert punched == []


def test_generations_of_a_group_go_each_for_itself(place: Place) -> None:
    one, two = _group(place, 2)
    one.write(0, b"one, frozen")
    two.write(0, b"two, frozen")
    frozen = one.freeze(), two.freeze()
    one.write(0, b"ONE")
    assert one.head_file(0).exists()
    assert one.head_file(1).exists()
    for file, taken in zip((one, two), frozen, strict=True):
        file.land(taken)
        taken.end()
    place.tables.checkpoint()
    assert not one.head_file(0).exists()
    assert one.read() == b"ONE, frozen"
    assert two.read() == b"two, frozen"
    two.write(0, b"TWO")
    one.drop()
    place.tables.checkpoint()
    assert two.read() == two.model


class _Gate:
    """Stops the removal thread at the first file of heads that it removes, until told; else the test fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.timed_out = False
        self.path = ""
        self._unlink: Callable[[str], None] = os.unlink
        monkeypatch.setattr(os, "unlink", self._stop)

    def _stop(self, path: str) -> None:
        if "/heads/" in path and not self.reached.is_set():
            self.path = path
            self.reached.set()
            self.timed_out = not self.opened.wait(30)
        self._unlink(path)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Gate]:
    made = _Gate(monkeypatch)
    yield made
    made.opened.set()


def _many_going(place: Place, gate: _Gate) -> tuple[list[ChangedFile], list[ChangedFile]]:
    """Have two groups in line to be removed, by a thread that is at the first; return the files of that one first."""
    first = members(group_of((INODE, 0))).start
    files = [ChangedFile(place, b"", first + number) for number in range(2 * _MEMBERS)]
    for file in files:
        file.write(0, b"before %d" % file.inode)
        file.replace(file.inode)
    place.tables.checkpoint()
    assert gate.reached.wait(30)
    groups = files[:_MEMBERS], files[_MEMBERS:]
    return groups if gate.path == str(files[0].head_file(0)) else (groups[1], groups[0])


def test_a_write_takes_its_group_out_of_the_line_and_waits_for_nothing(place: Place, gate: _Gate) -> None:
    _, waiting = _many_going(place, gate)
    waiting[5].write(3, b"after")
    elsewhere = ChangedFile(place, b"", INODE + 1000)
    elsewhere.write(0, b"somewhere else")
    assert not gate.opened.is_set()
    gate.opened.set()
    place.content._removal.settle()
    assert not gate.timed_out
    assert place.files() == sorted(
        os.path.relpath(file.head_file(0), Path(place.directory, "data")) for file in (waiting[5], elsewhere)
    )
    assert waiting[5].read() == b"\0\0\0after"
    assert elsewhere.read() == b"somewhere else"
    # What the others had is gone all the same.
    assert {key for key in place.content._files.names() if key[0] >= 0} >= {(waiting[5].inode, 0)}
    assert place.content._files.read((waiting[4].inode, 0), 0, 5) == bytes(5)
    place.reopen()
    assert waiting[5].read() == b"\0\0\0after"


def test_a_write_waits_for_the_end_of_the_file_that_it_would_be_in(place: Place, gate: _Gate) -> None:
    going, _ = _many_going(place, gate)
    written = threading.Event()

    def write() -> None:
        going[5].write(3, b"after")
        written.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not written.wait(0.2)
    gate.opened.set()
    thread.join(30)
    assert written.is_set()
    place.content._removal.settle()
    assert going[5].head_file(0).exists()
    assert going[5].read() == b"\0\0\0after"


def test_the_line_goes_on_after_a_file_that_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = DataFiles(str(tmp_path))
    keys = [(number * _MEMBERS, 0) for number in range(20)]
    for key in keys:
        files.write(key, 0, b"x")
    unlink = os.unlink

    def failing(path: str) -> None:
        if path == str(head_file(tmp_path, *keys[3])):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path)

    monkeypatch.setattr(os, "unlink", failing)
    removal = Removal(files)
    removal.add([group_of(key) for key in keys])
    removal.settle()
    assert set(files.names()) == {group_of(keys[3]), keys[3]}
    assert "stays until it is opened again" in caplog.text
    removal.keep(keys[3])  # which waits for nothing
    files.close()


def test_what_a_crash_has_left_of_groups_is_removed(place: Place) -> None:
    kept = _group(place, 3)
    kept[0].write(0, b"kept")
    kept[2].write(HEAD_BYTES, b"kept far out")
    none = InodeRecord(Kind.FILE, 0o644)
    beside, far = kept[0].inode + 10, kept[0].inode + 640
    place.content.write(beside, none, 0, bytes(range(256)) * 1000, 0)
    place.content.write(far, none, 0, b"of a group that nothing names", 0)
    place.content.write(far + 64, none, HEAD_BYTES, b"in a file of its own", 0)
    for number in range(20):
        place.content.write(far + 1000 + number, none, 0, b"many: they go in a thread", 4)
    head_file(place.directory, far + 128, 0).touch()
    before = place.content.usage()
    place.crash(place.tables.copy())
    place.remove_strays()
    assert {key for key in place.content._files.names() if key[0] >= 0} == {(kept[0].inode, 0), (kept[2].inode, 0)}
    data = Path(place.directory, "data")
    assert place.files() == sorted(str(path.relative_to(data)) for path in (kept[0].head_file(0), kept[2].own_file(0)))
    assert place.content.usage() <= before - 256_000
    assert place.content._files.read((beside, 0), 0, 256_000) == bytes(256_000)
    for file in kept:
        assert file.read() == file.model
    assert place.content.strays(place.tables) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file_across_the_border(tmp_path: Path, layout: str) -> None:
    place = Place(tmp_path, layout)
    file = ChangedFile(place, b"v" * (3 * HEAD_BYTES))
    data = random.Random(3).randbytes(100_000)
    file.write(HEAD_BYTES - 50_000, data)
    assert file.read() == file.model
    for start, end in ((0, 3), (-3, 0), (-3, 3), (-50_001, 50_001)):
        start, end = HEAD_BYTES + start, HEAD_BYTES + end
        assert file.read(start, end) == file.model[start:end]
    file.write(HEAD_BYTES - 1, b"xy")
    assert file.read() == file.model
    assert len(file.content.segments(file.inode, file.record, 0, MAX_SIZE)) == 3
    file.truncate(HEAD_BYTES)
    file.truncate(HEAD_BYTES + 10)
    assert file.read() == file.model
    file.truncate(HEAD_BYTES - 10)
    place.tables.checkpoint()
    file.truncate(HEAD_BYTES + 10)
    assert file.read() == file.model
    place.reopen()
    assert file.read() == file.model
    assert place.content.strays(place.tables) == []
    file.drop()
    place.tables.checkpoint()
    assert place.files() == []
    place.content.close()


def test_a_write_that_finds_no_room_beyond_the_border(small_disk: Path) -> None:
    place = Place(small_disk, HEADS)
    file, beside = _group(place, 2)
    file.write(HEAD_BYTES - 4, b"before")
    beside.write(0, b"beside")
    tables = place.tables.copy()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.write(HEAD_BYTES - 10, bytes(4 << 20))
    assert tables._values == place.tables._values
    # What is on both sides was overwritten in part, as on any disk; nothing else has changed.
    assert file.record.size == HEAD_BYTES + 2
    assert file.read(0, HEAD_BYTES - 4) == file.model[:-6]
    assert beside.read() == beside.model
    # The first write to a file leaves nothing of it, and what its group has.
    new = ChangedFile(place, b"", beside.inode + 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        new.write(HEAD_BYTES - 10, bytes(4 << 20))
    place.tables.checkpoint()
    assert not new.own_file(0).exists()
    file.drop()
    place.tables.checkpoint()
    assert place.content.usage() <= 16 << 10
    assert beside.read() == beside.model
    new.write(HEAD_BYTES - 10, bytes(2 << 20))
    assert new.read() == new.model


def test_files_come_and_go_in_one_group_while_a_thread_removes(place: Place) -> None:
    """What is removed and what is written lie beside each other; each is written before the removal has ended."""
    draw = random.Random(11)
    first = members(group_of((INODE, 0))).start
    files = [ChangedFile(place, b"", first + number) for number in range(3 * _MEMBERS)]
    for turn in range(25):
        for file in draw.sample(files, 2 * _MEMBERS):
            if file.record.layers and draw.random() < 0.7:
                file.replace(file.inode)
            else:
                file.write(draw.choice([0, 10, 4096, HEAD_BYTES - 2]), draw.randbytes(draw.choice([3, 9000])))
        if turn % 8 == 7:
            for file in files:
                file.replace(file.inode)
        place.tables.checkpoint()
        for file in draw.sample(files, _MEMBERS):
            file.write(draw.choice([0, 100]), draw.randbytes(draw.choice([5, 5000])))
            assert file.read() == file.model
    place.content._removal.settle()
    for file in files:
        assert file.read() == file.model
    place.reopen()
    for file in files:
        assert file.read() == file.model
        file.drop()
    place.reopen()
    assert place.files() == []


def test_inodes_are_named_by_the_tables_of_their_own_group(place: Place) -> None:
    """Records of the groups on both sides do not keep one, whatever their generations."""
    first = members(group_of((INODE, 0))).start
    for inode in (first - 1, first + _MEMBERS):
        ChangedFile(place, b"", inode).write(0, b"neighbour")
    place.content.write(first, InodeRecord(Kind.FILE, 0o644), 0, b"stray", 0)
    last = ChangedFile(place, b"", first + _MEMBERS - 1)
    last.generation = 1
    last.write(0, b"of another generation")
    place.remove_strays()
    assert not head_file(place.directory, first, 0).exists()
    assert head_file(place.directory, first, 1).exists()
    assert head_file(place.directory, first - 1, 0).exists()
    assert head_file(place.directory, first + _MEMBERS, 0).exists()
    assert last.read() == b"of another generation"


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"a": Made(b"first\n"), b"large": Made(b"l" * (3 * HEAD_BYTES))})
    made.push(tmp_path / "source")
    return made


def test_an_overlay_made_before_there_were_heads_is_written_and_committed(bucket: LocalBucket, tmp_path: Path) -> None:
    directory = tmp_path / "overlay"
    edited = Edited(bucket, directory)
    edited.close()
    heads = directory / "data" / "heads"
    heads.rmdir()  # as it was then
    edited = Edited(bucket, directory)
    edited.write("a", 2, b"XX")
    edited.write("large", HEAD_BYTES - 2, b"across")
    edited.create("new", b"n" * (HEAD_BYTES + 7))
    edited.create("gone", b"gone")
    edited.unlink("gone")
    before = edited.tree()
    edited.close()
    edited = Edited(bucket, directory)
    assert edited.tree() == before
    assert edited.read("a") == b"fiXXt\n"
    edited.truncate("new", HEAD_BYTES - 1)
    edited.write("new", HEAD_BYTES + 3, b"again")
    before = edited.tree()
    assert edited.commit().changed
    assert edited.tree() == before == version_tree(open_snapshot("demo/data", bucket.settings, cached=False))
    edited.overlay.records.checkpoint()
    assert edited.overlay.content.strays(edited.overlay.records) == []
    assert not heads.exists()
    assert not any(path.is_file() for path in (directory / "data").rglob("*"))
    edited.overlay.begin(edited.origin)
    assert heads.is_dir()
    edited.close()
