"""The bytes of changed files, on a real disk: in both layouts: against a bytearray, frozen, full, cut off."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from views.changed import HEADS, INODE, LAYOUTS, OWN, ChangedFile, Frozen, Place

from penstock.errors import IntegrityError
from penstock.manifest.entry import MAX_SIZE, Kind
from penstock.overlay.content.file_content import LOWER, ZEROS, Segment
from penstock.overlay.content.shared_heads import HEAD_BYTES, place_of
from penstock.overlay.tables.schema import INODES, InodeRecord, TableChange, inode_key

_LOWER = bytes(range(1, 49))
_SPACE = 80
_BORDER = HEAD_BYTES - _SPACE // 2
_layouts_and_bases = pytest.mark.parametrize(("layout", "base"), [(HEADS, 0), (HEADS, _BORDER), (OWN, 0)])


@pytest.fixture(params=LAYOUTS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


@pytest.fixture
def file(place: Place) -> ChangedFile:
    return ChangedFile(place)


_offsets = st.integers(0, _SPACE)
_spans = st.tuples(_offsets, _offsets).filter(lambda span: span[0] != span[1]).map(sorted)
_writes = st.tuples(st.just("write"), _offsets, st.binary(max_size=24))
_one_file = st.one_of(
    _writes,
    _writes,
    st.tuples(st.just("truncate"), _offsets),
)
_edits = st.tuples(st.sampled_from([0, 0, 1]), _one_file)
_steps = st.one_of(
    _edits,
    _edits,
    _edits,
    st.tuples(st.sampled_from([0, 1]), st.tuples(st.sampled_from(["replace", "merge"]))),
    st.sampled_from(["freeze", "freeze", "land", "abort", "reopen", "checkpoint", "sync"]),
)


def _edit(file: ChangedFile, step: tuple[object, ...]) -> None:
    match step:
        case "write", int(offset), bytes(data):
            file.write(offset, data)
        case "truncate", int(size):
            file.truncate(size)
        case ("replace",):
            file.replace(file.inode + 2)
        case ("merge",):
            file.merge()
        case _:
            raise AssertionError(step)


def _two(directory: str, layout: str, base: int, lower: bytes) -> list[ChangedFile]:
    """Return two files of one group, the one odd and the other even."""
    place = Place(directory, layout)
    return [ChangedFile(place, lower, INODE, base), ChangedFile(place, b"beside", INODE + 1, base)]


@_layouts_and_bases
@settings(max_examples=100, deadline=None)
@given(lower=st.sampled_from([b"", _LOWER]), steps=st.lists(_steps, max_size=25), asked=_spans)
def test_files_read_as_bytearrays_do(
    layout: str, base: int, lower: bytes, steps: list[object], asked: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        files = _two(directory, layout, base, lower)
        place = files[0].place
        frozen: list[Frozen] = []
        for step in steps:
            match step:
                case int(which), tuple(edit):
                    _edit(files[which], edit)
                case "freeze" if not frozen:
                    frozen = [file.freeze() for file in files]
                case "land" | "abort" if frozen:
                    for file, taken in zip(files, frozen, strict=True):
                        if step == "land":
                            file.land(taken)
                        taken.end()
                    frozen = []
                case "reopen" if not frozen:
                    place.reopen()
                case "checkpoint":
                    place.tables.checkpoint()
                case "sync":
                    place.content.sync()
                case _:
                    continue
            for file in files:
                assert file.read() == file.model
                assert file.record.size == base + len(file.model)
            for taken in frozen:
                assert taken.read(files[0]) == taken.expected
        start, end = asked
        assert files[0].read(start, end) == files[0].model[start:end]
        for taken in frozen:
            taken.end()
        place.reopen()
        assert place.content.strays(place.tables) == []
        for file in files:
            assert file.read(-base) == bytes(base) + file.model
        place.content.close()


@_layouts_and_bases
@settings(max_examples=70, deadline=None)
@given(before=st.lists(_edits, max_size=8), after=st.lists(st.tuples(_edits, st.booleans()), min_size=1, max_size=8))
def test_a_crash_leaves_bytes_that_were_written_there(
    layout: str,
    base: int,
    before: list[tuple[int, tuple[object, ...]]],
    after: list[tuple[tuple[int, tuple[object, ...]], bool]],
) -> None:
    """The tables go back to an earlier moment, the data files do not: as after a power loss."""
    with tempfile.TemporaryDirectory() as directory:
        files = _two(directory, layout, base, _LOWER)
        place = files[0].place
        for which, step in before:
            _edit(files[which], step)
        place.tables.checkpoint()
        tables, records = place.tables.copy(), [file.record for file in files]
        expected = [len(file.model) for file in files]
        possible = [[{value} for value in file.model] for file in files]
        for (which, step), freezes in after:
            _edit(files[which], step)
            if freezes:
                for file in files:
                    file.generation += 1
            for at, value in enumerate(files[which].model[: expected[which]]):
                possible[which][at].add(value)
        place.crash(tables)
        found = []
        for file, record, size, values in zip(files, records, expected, possible, strict=True):
            file.record = record
            found.append(file.read())
            assert len(found[-1]) == size
            assert all(value in values[at] for at, value in enumerate(found[-1]))
        place.remove_strays()
        assert [file.read() for file in files] == found
        assert place.content.strays(tables) == []
        place.content.close()


def test_data_that_no_range_speaks_of_does_not_show(place: Place) -> None:
    file = ChangedFile(place, _LOWER)
    file.write(4, b"xx")
    file.content.write(INODE, file.record, 10, b"cut off before its changes were made", file.generation)
    file.reopen()
    assert file.read() == file.model


def test_a_write_far_out_in_a_large_version_costs_one_range(file: ChangedFile) -> None:
    record = InodeRecord(Kind.FILE, 0o644, size=100 << 30, shown=100 << 30)
    changed, changes = file.content.write(INODE, record, 50 << 30, b"x", 0)
    assert len(changes) == 1
    file.tables.change(changes)
    assert file.content.segments(INODE, changed, (50 << 30) - 2, (50 << 30) + 3) == [
        Segment((50 << 30) - 2, 50 << 30, LOWER),
        Segment(50 << 30, (50 << 30) + 1, 0),
        Segment((50 << 30) + 1, (50 << 30) + 3, LOWER),
    ]
    assert file.content.usage() <= 64 << 10


def test_what_was_cut_stays_cut_when_the_file_grows_again(place: Place) -> None:
    file = ChangedFile(place, _LOWER)
    file.write(0, b"a" * 100)
    file.truncate(0)
    file.write(50, b"b")
    file.tables.checkpoint()
    file.truncate(100)
    assert file.read() == bytes(50) + b"b" + bytes(49)
    assert [part.source for part in file.content.segments(INODE, file.record, 0, 100)] == [ZEROS, 0, ZEROS]


def test_space_comes_back_only_at_a_checkpoint(file: ChangedFile) -> None:
    size = HEAD_BYTES + (1 << 20)
    file.write(0, bytes(size))
    file.truncate(10)
    assert file.content.usage() >= size
    assert file.own_file(0).stat().st_size == size
    file.write(4096, b"x")
    file.tables.checkpoint()
    assert file.content.usage() <= 16 << 10
    assert file.own_file(0).stat().st_size == 4097
    assert file.read() == file.model
    file.store(msgspec.structs.replace(file.record, layers=()), file.content.drop(INODE, file.record.layers))
    assert file.content.usage() > 0
    file.tables.checkpoint()
    assert file.place.files() == []


def test_a_file_written_again_after_it_was_dropped_is_not_removed(file: ChangedFile) -> None:
    file.write(0, b"before")
    empty = msgspec.structs.replace(file.record, layers=(), size=0)
    file.store(empty, file.content.drop(INODE, file.record.layers))
    file.model.clear()
    file.write(1, b"new")
    file.tables.checkpoint()
    assert file.read() == b"\0new"


def test_a_commit_keeps_the_data_of_a_file_that_is_removed_meanwhile(file: ChangedFile) -> None:
    file.write(0, b"committed")
    file.write(HEAD_BYTES, b"far out")
    kept = file.place.files()
    frozen = file.freeze()
    file.drop()
    file.tables.checkpoint()
    assert frozen.read(file) == frozen.expected
    # What was not frozen goes meanwhile.
    file.tables.change(file.content.drop(INODE + 1, [(1, MAX_SIZE)]))
    file.content.write(INODE + 1, file.record, 0, b"x", 1)
    file.tables.checkpoint()
    assert file.place.files() == kept
    frozen.end()
    assert file.place.files() == kept
    file.tables.checkpoint()
    assert file.place.files() == []


def test_a_commit_reads_what_was_cut_before_it_and_removed_meanwhile(file: ChangedFile) -> None:
    file.write(0, b"committed, and cut here")
    file.truncate(9)
    frozen = file.freeze()  # with the cut in line, as when the disk failed at it
    file.drop()
    file.tables.checkpoint()
    assert frozen.read(file) == b"committed"
    frozen.end()


@pytest.mark.parametrize("changed", [True, False])
def test_what_is_cut_during_a_commit_stays_cut_when_it_has_landed(place: Place, changed: bool) -> None:
    file = ChangedFile(place, _LOWER)
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
    assert not file.has_data(0)
    assert file.has_data(1)
    assert file.read() == file.model


@pytest.mark.parametrize("base", [0, HEAD_BYTES - (1 << 19)])
def test_frozen_bytes_are_read_in_another_thread_while_writes_go_on(place: Place, base: int) -> None:
    file = ChangedFile(place, base=base)
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_changes_nothing(small_disk: Path, layout: str) -> None:
    file = ChangedFile(Place(small_disk, layout), _LOWER)
    file.write(10, b"kept")
    tables = file.tables.copy()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as full:
        file.write(40, bytes(5 << 20))
    assert full.value.errno == errno.ENOSPC
    assert tables._values == file.tables._values
    assert file.read() == file.model
    # What did not fit is given back, so that it goes on.
    file.truncate(47)
    file.tables.checkpoint()
    assert file.content.usage() <= 64 << 10
    file.write(0, b"n" * (1 << 20))
    assert file.read() == file.model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_data_file_made_in_vain_is_removed(small_disk: Path, layout: str) -> None:
    file = ChangedFile(Place(small_disk, layout))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.write(0, bytes(5 << 20))
    assert file.has_data(0)
    file.tables.checkpoint()
    assert file.place.files() == []


def test_a_file_can_be_no_larger_than_a_version_can_say(file: ChangedFile) -> None:
    for attempt in (
        lambda: file.content.write(INODE, file.record, MAX_SIZE, b"x", 0),
        lambda: file.content.truncate(INODE, file.record, MAX_SIZE + 1, 0),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            attempt()


def test_layers_that_failed_commits_leave_become_one(place: Place) -> None:
    file = ChangedFile(place, _LOWER)
    for turn in range(6):
        file.write(turn * 7, b"%d" % turn * 10)
        file.truncate(60 - turn)
        file.freeze().end()
    file.write(3, b"now")
    assert len(file.record.layers) == 7
    unchanged, changes = file.content.merge(INODE, file.record, file.generation, most_bytes=3)
    assert (unchanged, changes) == (file.record, [])
    with file.content.keep(file.generation - 1):
        assert file.content.merge(INODE, file.record, file.generation) == (file.record, [])
    file.merge()
    assert file.record.layers == ((0, MAX_SIZE), (6, MAX_SIZE))
    file.reopen()
    assert file.read() == file.model
    assert [file.has_data(number) for number in range(7)] == [True, *[False] * 5, True]


def test_strays_of_a_crash_are_removed(file: ChangedFile) -> None:
    beside = ChangedFile(file.place, inode=INODE + 3)
    file.write(0, b"kept")
    beside.write(HEAD_BYTES, b"kept, too")
    file.content.write(INODE, file.record, 0, b"never said", 9)
    file.content.write(INODE + 1, file.record, 0, b"never said", 0)
    file.content.write(INODE + 1, file.record, HEAD_BYTES, b"never said", 0)
    file.content.write(INODE + 2, file.record, 0, b"said soon", 0)
    strays = file.content.strays(file.tables)
    assert [key for key in sorted(strays) if key[0] >= 0] == [(INODE, 9), (INODE + 1, 0), (INODE + 2, 0)]
    file.content.remove(strays)
    file.tables.change(
        [TableChange(INODES, inode_key(INODE + 2), msgspec.structs.replace(file.record, layers=((0, 9),)).encode())]
    )
    file.tables.checkpoint()
    assert file.content.strays(file.tables) == []
    assert not file.has_data(9)
    names = {key for key in file.content._files.names() if key[0] >= 0}
    assert names == {(INODE, 0), (INODE + 2, 0), (INODE + 3, 0)}
    assert file.content.read_segment(INODE + 2, Segment(0, 9, 0)) == b"said soon"
    assert file.read() == b"kept"
    assert beside.read() == beside.model


def test_many_files_are_removed_in_a_thread(file: ChangedFile) -> None:
    file.write(0, b"kept")
    for number in range(1, 201):
        file.content.write(INODE + number, InodeRecord(Kind.FILE, 0o644), 0, b"x", 0)
        file.content.drop(INODE + number, ((0, MAX_SIZE),))
    file.tables.checkpoint()
    for number in range(1, 201, 2):  # it may be gone by now, or not
        file.content.write(INODE + number, InodeRecord(Kind.FILE, 0o644), 0, b"again", 0)
    file.content._removal.settle()
    names = sorted(key for key in file.content._files.names() if key[0] >= 0)
    assert names == [(INODE, 0), *((INODE + number, 0) for number in range(1, 201, 2))]
    for number in range(1, 201, 2):
        assert file.content.read_segment(INODE + number, Segment(0, 5, 0)) == b"again"
    assert file.read() == b"kept"


@pytest.mark.parametrize("base", [0, HEAD_BYTES])
@pytest.mark.parametrize("whole", [True, False])
def test_lost_bytes_are_an_error_and_no_zeros(place: Place, base: int, whole: bool) -> None:
    file = ChangedFile(place, base=base)
    file.write(0, b"precious")
    file.reopen()
    (path,) = place.files()
    lost = os.path.join(place.directory, "data", path)
    if whole:
        os.unlink(lost)
    else:
        os.truncate(lost, 3 + (place_of((INODE, 0)) if path.startswith(HEADS) else base))
    with pytest.raises(IntegrityError, match="has lost bytes"):
        file.read()


def test_data_is_the_owners_alone(file: ChangedFile) -> None:
    file.write(HEAD_BYTES - 1, b"xx")
    assert len(file.place.files()) == (2 if file.head_file(0).exists() else 1)
    for found in Path(file.place.directory, "data").rglob("*"):
        assert stat.S_IMODE(found.stat().st_mode) == (0o700 if found.is_dir() else 0o600)
    assert stat.S_IMODE(Path(file.place.directory, "data").stat().st_mode) == 0o700
