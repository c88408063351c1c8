"""The bytes of changed files, on a real disk: against a bytearray, frozen, full, cut off by a crash."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from views.tables import MemoryTables

from penstock.errors import IntegrityError
from penstock.manifest.entry import MAX_SIZE, Kind
from penstock.overlay import datafiles
from penstock.overlay.content import LOWER, ZEROS, Content, Segment
from penstock.overlay.datafiles import DataFiles
from penstock.overlay.model import INODES, Change, Record, inode_key

_INODE = 0x1234
_LOWER = bytes(range(1, 49))
_SPACE = 80


class _File:
    """One changed file, its tables and data files, and what a bytearray says of it."""

    def __init__(self, directory: Path | str, lower: bytes = b"", inode: int = _INODE) -> None:
        self.directory = str(directory)
        self.tables = MemoryTables()
        self.content = Content(self.directory, self.tables, self.tables.after_checkpoint)
        self.inode = inode
        self.lower = lower
        self.generation = 0
        self.record = Record(Kind.FILE, 0o644, size=len(lower), shown=len(lower))
        self.model = bytearray(lower)
        self._store(self.record, [])

    def _store(self, record: Record, changes: list[Change]) -> None:
        self.record = record
        self.tables.change([*changes, Change(INODES, inode_key(self.inode), record.encode())])

    def write(self, offset: int, data: bytes) -> None:
        self._store(*self.content.write(self.inode, self.record, offset, data, self.generation))
        if data:
            self._grow(offset + len(data))
            self.model[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self._store(*self.content.truncate(self.inode, self.record, size, self.generation))
        del self.model[size:]
        self._grow(size)

    def punch(self, start: int, end: int, *, keep_size: bool) -> None:
        self._store(*self.content.punch(self.inode, self.record, start, end, self.generation, keep_size=keep_size))
        if not keep_size:
            self._grow(end)
        end = min(end, len(self.model))
        if start < end:
            self.model[start:end] = bytes(end - start)

    def reserve(self, start: int, end: int, *, keep_size: bool) -> None:
        record = self.content.reserve(self.inode, self.record, start, end, self.generation, keep_size=keep_size)
        self._store(record, [])
        if not keep_size:
            self._grow(end)

    def merge(self) -> None:
        self._store(*self.content.merge(self.inode, self.record, self.generation))

    def freeze(self) -> _Frozen:
        self.generation += 1
        return _Frozen(self)

    def land(self, frozen: _Frozen) -> None:
        self._store(*self.content.landed(self.inode, self.record, frozen.record))
        self.lower = frozen.expected

    def read(self, start: int = 0, end: int = MAX_SIZE) -> bytes:
        return self.content.read_file(self.inode, self.record, start, end, self._below)

    def reopen(self) -> None:
        self.tables.checkpoint()
        self.content.close()
        self.content = Content(self.directory, self.tables, self.tables.after_checkpoint)
        value = self.tables.get(INODES, inode_key(self.inode))
        assert value is not None
        assert Record.decode(value) == self.record

    def data_file(self, generation: int) -> Path:
        return Path(self.directory) / "data" / f"{self.inode >> 8 & 255:02x}" / f"{self.inode:x}.{generation:x}"

    def _grow(self, size: int) -> None:
        self.model += bytes(max(0, size - len(self.model)))

    def _below(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.lower)
        return self.lower[start:end]


class _Frozen:
    """What a commit reads: the tables and the record of one moment."""

    def __init__(self, file: _File) -> None:
        self.tables = file.tables.copy()
        self.record = file.record
        self.lower = file.lower
        self.expected = bytes(file.model)
        self.keeping = file.content.keep(file.generation - 1)
        self.keeping.__enter__()

    def read(self, file: _File) -> bytes:
        return file.content.read_file(
            file.inode, self.record, 0, MAX_SIZE, lambda start, end: self.lower[start:end], self.tables
        )

    def end(self) -> None:
        self.keeping.__exit__(None, None, None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own (mounting it needs root, as the suite has in CI)."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "penstock-test", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


_offsets = st.integers(0, _SPACE)
_spans = st.tuples(_offsets, _offsets).filter(lambda span: span[0] != span[1]).map(sorted)
_writes = st.tuples(st.just("write"), _offsets, st.binary(max_size=24))
_edits = st.one_of(
    _writes,
    _writes,
    st.tuples(st.just("truncate"), _offsets),
    st.tuples(st.just("punch"), _spans, st.booleans()),
    st.tuples(st.just("reserve"), _spans, st.booleans()),
)
_steps = st.one_of(
    _edits,
    _edits,
    _edits,
    st.tuples(st.sampled_from(["freeze", "freeze", "land", "abort", "merge", "reopen", "checkpoint", "sync"])),
)


def _edit(file: _File, step: tuple[object, ...]) -> None:
    match step:
        case "write", int(offset), bytes(data):
            file.write(offset, data)
        case "truncate", int(size):
            file.truncate(size)
        case "punch", [int(start), int(end)], bool(keep_size):
            file.punch(start, end, keep_size=keep_size)
        case "reserve", [int(start), int(end)], bool(keep_size):
            file.reserve(start, end, keep_size=keep_size)
        case _:
            raise AssertionError(step)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", _LOWER]), st.lists(_steps, max_size=25), _spans)
def test_a_file_reads_as_a_bytearray_does(lower: bytes, steps: list[tuple[object, ...]], asked: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = _File(directory, lower)
        frozen: _Frozen | None = None
        for step in steps:
            match step[0]:
                case "freeze" if frozen is None:
                    frozen = file.freeze()
                case "land" if frozen is not None:
                    file.land(frozen)
                    frozen.end()
                    frozen = None
                case "abort" if frozen is not None:
                    frozen.end()
                    frozen = None
                case "merge":
                    file.merge()
                case "reopen" if frozen is None:
                    file.reopen()
                case "checkpoint":
                    file.tables.checkpoint()
                case "sync":
                    file.content.sync()
                case "freeze" | "land" | "abort" | "reopen":
                    continue
                case _:
                    _edit(file, step)
            assert file.read() == file.model
            assert file.record.size == len(file.model)
            if frozen is not None:
                assert frozen.read(file) == frozen.expected
        start, end = asked
        assert file.read(start, end) == file.model[start:end]
        if frozen is not None:
            frozen.end()
        file.tables.checkpoint()
        assert file.content.strays(file.tables) == []
        assert file.read() == file.model
        file.content.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(_edits, max_size=8), st.lists(st.tuples(_edits, st.booleans()), min_size=1, max_size=8))
def test_a_crash_leaves_bytes_that_were_written_there(
    before: list[tuple[object, ...]], after: list[tuple[tuple[object, ...], bool]]
) -> None:
    """The tables go back to an earlier moment, the data files do not: as after a power loss."""
    with tempfile.TemporaryDirectory() as directory:
        file = _File(directory, _LOWER)
        for step in before:
            _edit(file, step)
        file.tables.checkpoint()
        states = [(file.tables.copy(), file.record, bytes(file.model))]
        possible = [{value} for value in file.model]
        for step, freezes in after:
            _edit(file, step)
            if freezes:
                file.generation += 1
            states.append((file.tables.copy(), file.record, bytes(file.model)))
            for at, value in enumerate(file.model[: len(possible)]):
                possible[at].add(value)
        file.content.close()
        tables, record, expected = states[0]
        content = Content(directory, tables, tables.after_checkpoint)
        found = content.read_file(_INODE, record, 0, MAX_SIZE, lambda start, end: _LOWER[start:end])
        assert len(found) == len(expected)
        assert all(value in possible[at] for at, value in enumerate(found))
        content.remove(content.strays(tables))
        tables.checkpoint()
        assert content.read_file(_INODE, record, 0, MAX_SIZE, lambda start, end: _LOWER[start:end]) == found
        content.close()


def test_data_that_no_range_speaks_of_does_not_show(tmp_path: Path) -> None:
    file = _File(tmp_path, _LOWER)
    file.write(4, b"xx")
    file.content.write(_INODE, file.record, 10, b"cut off before its changes were made", file.generation)
    file.content.close()
    file.reopen()
    assert file.read() == file.model


def test_a_write_far_out_in_a_large_version_costs_one_range(tmp_path: Path) -> None:
    file = _File(tmp_path)
    record = Record(Kind.FILE, 0o644, size=100 << 30, shown=100 << 30)
    changed, changes = file.content.write(_INODE, record, 50 << 30, b"x", 0)
    assert len(changes) == 1
    file.tables.change(changes)
    assert file.content.segments(_INODE, changed, (50 << 30) - 2, (50 << 30) + 3) == [
        Segment((50 << 30) - 2, 50 << 30, LOWER),
        Segment(50 << 30, (50 << 30) + 1, 0),
        Segment((50 << 30) + 1, (50 << 30) + 3, LOWER),
    ]
    assert file.content.usage() <= 64 << 10


def test_what_was_cut_stays_cut_when_the_file_grows_again(tmp_path: Path) -> None:
    file = _File(tmp_path, _LOWER)
    file.write(0, b"a" * 100)
    file.truncate(0)
    file.write(50, b"b")
    file.tables.checkpoint()
    file.truncate(100)
    assert file.read() == bytes(50) + b"b" + bytes(49)
    assert [part.source for part in file.content.segments(_INODE, file.record, 0, 100)] == [ZEROS, 0, ZEROS]


def test_space_comes_back_only_at_a_checkpoint(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, bytes(1 << 20))
    file.truncate(10)
    assert file.data_file(0).stat().st_size == 1 << 20
    file.write(4096, b"x")
    file.tables.checkpoint()
    assert file.data_file(0).stat().st_size == 4097
    assert file.read() == file.model
    file._store(msgspec.structs.replace(file.record, layers=()), file.content.drop(_INODE, file.record.layers))
    assert file.data_file(0).exists()
    file.tables.checkpoint()
    assert not file.data_file(0).exists()


def test_a_file_written_again_after_it_was_dropped_is_not_removed(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"before")
    empty = msgspec.structs.replace(file.record, layers=(), size=0)
    file._store(empty, file.content.drop(_INODE, file.record.layers))
    file.model.clear()
    file.write(1, b"new")
    file.tables.checkpoint()
    assert file.read() == b"\0new"


def test_a_commit_keeps_the_data_of_a_file_that_is_removed_meanwhile(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"committed")
    frozen = file.freeze()
    changes = file.content.drop(_INODE, file.record.layers)
    file.tables.change([*changes, Change(INODES, inode_key(_INODE), None)])
    file.tables.checkpoint()
    assert frozen.read(file) == b"committed"
    # What was not frozen goes meanwhile.
    file.tables.change(file.content.drop(_INODE + 1, [(1, MAX_SIZE)]))
    file.content.write(_INODE + 1, file.record, 0, b"x", 1)
    file.tables.checkpoint()
    assert sorted(file.content._files.names()) == [(_INODE, 0)]
    frozen.end()
    assert file.data_file(0).exists()
    file.tables.checkpoint()
    assert not file.data_file(0).exists()


@pytest.mark.parametrize("changed", [True, False])
def test_what_is_cut_during_a_commit_stays_cut_when_it_has_landed(tmp_path: Path, changed: bool) -> None:
    file = _File(tmp_path, _LOWER)
    if changed:
        file.write(2, b"committed")
    frozen = file.freeze()
    file.truncate(5)
    file.truncate(30)
    file.write(20, b"later")
    file.land(frozen)
    frozen.end()
    assert file.read() == file.model
    assert file.record.layers == ((1, MAX_SIZE),)
    file.tables.checkpoint()
    assert not file.data_file(0).exists()
    assert file.read() == file.model


def test_frozen_bytes_are_read_in_another_thread_while_writes_go_on(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, os.urandom(1 << 20))
    frozen = file.freeze()
    done = threading.Event()
    wrong: list[str] = []

    def commit() -> None:
        try:
            for _ in range(20):
                if frozen.read(file) != frozen.expected:
                    wrong.append("the frozen view changed")
                file.content.sync()
        finally:
            done.set()

    reader = threading.Thread(target=commit)
    reader.start()
    turn = 0
    while not done.is_set():
        file.write(turn * 37 % (1 << 20), b"%d" % turn)
        if turn % 50 == 49:
            file.truncate(1 << 19)
            file.tables.checkpoint()
        turn += 1
    reader.join()
    assert not wrong
    assert file.read() == file.model


def test_a_hole_takes_no_space_and_hides_the_version(tmp_path: Path) -> None:
    size = 8 << 20
    file = _File(tmp_path, b"v" * size)
    file.write(0, b"w" * (1 << 20))
    file.punch(4096, size - 4096, keep_size=True)
    assert file.content.usage() <= 64 << 10
    assert file.read() == file.model
    file.punch(size - 4096, size + 10, keep_size=False)
    assert len(file.read()) == size + 10
    assert file.read() == file.model


def test_reserved_space_outlives_a_cut_before_it(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"x" * 100_000)
    file.truncate(10)
    file.reserve(0, 2 << 20, keep_size=True)
    file.tables.checkpoint()
    assert file.content.usage() >= 2 << 20
    assert file.read() == b"x" * 10
    file.truncate(5)
    file.tables.checkpoint()
    assert file.content.usage() <= 64 << 10


def test_a_full_disk_changes_nothing(small_disk: Path) -> None:
    file = _File(small_disk, _LOWER)
    file.write(10, b"kept")
    tables = file.tables.copy()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as full:
        file.write(40, bytes(5 << 20))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.reserve(0, 5 << 20, keep_size=True)
    assert tables._values == file.tables._values
    assert file.read() == file.model
    # What did not fit is given back, so that it goes on.
    file.truncate(47)
    file.tables.checkpoint()
    file.write(0, b"n" * (1 << 20))
    assert file.read() == file.model


def test_a_data_file_made_in_vain_is_removed(small_disk: Path) -> None:
    file = _File(small_disk)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.write(0, bytes(5 << 20))
    assert file.data_file(0).exists()
    file.tables.checkpoint()
    assert not file.data_file(0).exists()


def test_a_file_can_be_no_larger_than_a_version_can_say(tmp_path: Path) -> None:
    file = _File(tmp_path)
    for attempt in (
        lambda: file.content.write(_INODE, file.record, MAX_SIZE, b"x", 0),
        lambda: file.content.truncate(_INODE, file.record, MAX_SIZE + 1, 0),
        lambda: file.content.punch(_INODE, file.record, 0, MAX_SIZE + 1, 0),
        lambda: file.content.reserve(_INODE, file.record, 0, MAX_SIZE + 1, 0),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            attempt()


def test_layers_that_failed_commits_leave_become_one(tmp_path: Path) -> None:
    file = _File(tmp_path, _LOWER)
    for turn in range(6):
        file.write(turn * 7, b"%d" % turn * 10)
        file.truncate(60 - turn)
        file.freeze().end()
    file.write(3, b"now")
    assert len(file.record.layers) == 7
    unchanged, changes = file.content.merge(_INODE, file.record, file.generation, most_bytes=3)
    assert (unchanged, changes) == (file.record, [])
    with file.content.keep(file.generation - 1):
        assert file.content.merge(_INODE, file.record, file.generation) == (file.record, [])
    file.merge()
    assert file.record.layers == ((0, MAX_SIZE), (6, MAX_SIZE))
    file.reopen()
    assert file.read() == file.model
    assert [file.data_file(number).exists() for number in range(7)] == [True, *[False] * 5, True]


def test_strays_of_a_crash_are_removed(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"kept")
    file.content.write(_INODE, file.record, 0, b"never said", 9)
    file.content.write(_INODE + 1, file.record, 0, b"never said", 0)
    file.content.write(_INODE + 2, file.record, 0, b"said soon", 0)
    strays = file.content.strays(file.tables)
    assert sorted(strays) == [(_INODE, 9), (_INODE + 1, 0), (_INODE + 2, 0)]
    file.content.remove(strays)
    file.tables.change(
        [Change(INODES, inode_key(_INODE + 2), msgspec.structs.replace(file.record, layers=((0, 9),)).encode())]
    )
    file.tables.checkpoint()
    assert sorted(file.content._files.names()) == [(_INODE, 0), (_INODE + 2, 0)]
    assert file.read() == b"kept"


def test_many_files_are_removed_in_a_thread(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"kept")
    for number in range(1, 201):
        file.content.write(_INODE + number, Record(Kind.FILE, 0o644), 0, b"x", 0)
        file.content.drop(_INODE + number, ((0, MAX_SIZE),))
    file.tables.checkpoint()
    for number in range(1, 201, 2):  # it may be gone by now, or not
        file.content.write(_INODE + number, Record(Kind.FILE, 0o644), 0, b"again", 0)
    file.content._removal.settle()
    assert sorted(file.content._files.names()) == [(_INODE, 0), *((_INODE + number, 0) for number in range(1, 201, 2))]
    for number in range(1, 201, 2):
        assert file.content.read_segment(_INODE + number, Segment(0, 5, 0)) == b"again"
    assert file.read() == b"kept"


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 3)])
def test_lost_bytes_are_an_error_and_no_zeros(tmp_path: Path, damage: object) -> None:
    file = _File(tmp_path)
    file.write(0, b"precious")
    file.reopen()
    assert callable(damage)
    damage(file.data_file(0))
    with pytest.raises(IntegrityError, match="has lost bytes"):
        file.read()


def test_data_is_the_owners_alone(tmp_path: Path) -> None:
    file = _File(tmp_path)
    file.write(0, b"x")
    place = file.data_file(0)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, place.parent, place.parent.parent)] == [
        0o600,
        0o700,
        0o700,
    ]


def _synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which paths are synced; they are synced all the same."""
    seen: list[str] = []

    def spy(call: object) -> object:
        def synced(descriptor: int) -> None:
            seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            assert callable(call)
            call(descriptor)

        return synced

    monkeypatch.setattr(os, "fdatasync", spy(os.fdatasync))
    monkeypatch.setattr(os, "fsync", spy(os.fsync))
    monkeypatch.setattr(datafiles, "sync_file_system", spy(datafiles.sync_file_system))
    return seen


def test_sync_reaches_each_file_written_and_each_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _File(tmp_path)
    seen = _synced(monkeypatch)
    file.write(0, b"x")
    file.content.sync()
    place = file.data_file(0)
    assert set(seen) == {str(path) for path in (place, place.parent, place.parent.parent, tmp_path)}
    seen.clear()
    file.content.sync()
    assert not seen
    file.punch(0, 1, keep_size=True)
    file.content.sync()
    assert seen == [str(place)]


def test_many_files_are_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DataFiles(str(tmp_path))
    seen = _synced(monkeypatch)
    for inode in range(100):
        files.write((inode, 0), 0, b"x")
    files.sync()
    assert seen == [str(tmp_path / "data")]
    files.close()


def test_a_sync_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert str(tmp_path / "data" / "00" / "1.0") in seen
    files.close()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_are_open_at_a_time(tmp_path: Path) -> None:
    before = _descriptors()
    files = DataFiles(str(tmp_path), open_files=4)
    for inode in range(40):
        files.write((inode, 0), 0, b"%02d" % inode)
    assert _descriptors() - before <= 5
    for inode in range(40):
        assert files.read((inode, 0), 0, 2) == b"%02d" % inode
    files.sync()
    assert _descriptors() - before <= 5
    files.close()
    assert _descriptors() == before


def test_a_file_in_use_is_not_closed(tmp_path: Path) -> None:
    files = DataFiles(str(tmp_path), open_files=1)
    files.write((1, 0), 0, b"one")
    with files._use((1, 0)) as descriptor:
        files.write((2, 0), 0, b"two")
        files.remove((1, 0))
        assert os.pread(descriptor, 3, 0) == b"one"
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(descriptor)
    assert files.read((2, 0), 0, 3) == b"two"
    files.close()
