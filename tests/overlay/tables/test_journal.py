from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.overlay.tables import journal as module
from penstock.overlay.tables.journal import HEADER_BYTES, Journal, journal_numbers, journal_path
from penstock.overlay.tables.schema import INODES, NAMES, TableChange

BOOT = "11111111-2222-3333-4444-555555555555"
CHANGES = [
    ([TableChange(NAMES, b"k%d" % number, b"v" * number), TableChange(INODES, b"gone", None)], b"note %d" % number)
    for number in range(6)
]


def write(directory: Path, *, marks: dict[int, int] | None = None) -> list[int]:
    """Write CHANGES, and after the i-th a mark of what `marks[i]` changes ended at; return where each ends."""
    journal = Journal(str(directory), 1, boot=BOOT)
    ends = [journal.length]
    for number, (changes, note) in enumerate(CHANGES):
        journal.append(changes, note)
        ends.append(journal.changes_end)
        if marks and number in marks:
            journal.mark(ends[marks[number]])
    journal.close()
    return ends


def replayed(directory: Path, *, everything: bool = True) -> list[tuple[list[TableChange], bytes]]:
    journal = Journal(str(directory), 1)
    try:
        return list(journal.replay(everything=everything))
    finally:
        journal.close()


def test_what_was_appended_is_replayed(tmp_path: Path) -> None:
    write(tmp_path)
    assert replayed(tmp_path) == CHANGES
    assert journal_numbers(str(tmp_path)) == [1]
    assert os.stat(journal_path(str(tmp_path), 1)).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("marks", "kept"), [({}, 0), ({2: 3}, 3), ({4: 2}, 2), ({2: 3, 4: 5}, 5), ({3: 4, 5: 2}, 4)])
def test_after_a_boot_what_a_mark_covers_is_replayed(tmp_path: Path, marks: dict[int, int], kept: int) -> None:
    write(tmp_path, marks=marks)
    assert replayed(tmp_path, everything=False) == CHANGES[:kept]


def test_a_torn_tail_is_dropped_at_every_byte_and_appending_goes_on(tmp_path: Path) -> None:
    ends = write(tmp_path)
    path = journal_path(str(tmp_path), 1)
    whole = Path(path).read_bytes()[: ends[-1]]
    added = ([TableChange(NAMES, b"added", b"later")], b"")
    for length in range(HEADER_BYTES, len(whole)):
        for rest in (b"", bytes(50), b"\xff" * 3):
            Path(path).write_bytes(whole[:length] + rest)
            kept = CHANGES[: sum(end <= length for end in ends) - 1]
            journal = Journal(str(tmp_path), 1)
            assert list(journal.replay(everything=True)) == kept
            journal.append(*added)
            journal.close()
            assert replayed(tmp_path) == [*kept, added]


def test_a_flipped_bit_is_told_from_a_torn_tail(tmp_path: Path) -> None:
    ends = write(tmp_path)
    path = journal_path(str(tmp_path), 1)
    whole = Path(path).read_bytes()[: ends[-1]]
    for at in range(HEADER_BYTES, len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[at] ^= 1 << bit
            Path(path).write_bytes(broken)
            if at < ends[-2]:
                with pytest.raises(IntegrityError, match="damaged"):
                    replayed(tmp_path)
            else:
                # The last record: it could be torn as well.
                assert replayed(tmp_path) == CHANGES[:-1]


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = Path(journal_path(str(tmp_path), 1))
    whole = path.read_bytes()
    for at in range(HEADER_BYTES - 4):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            Journal(str(tmp_path), 1)
    path.write_bytes(whole[: HEADER_BYTES - 1])
    with pytest.raises(IntegrityError, match="does not begin") as caught:
        Journal(str(tmp_path), 1)
    assert str(tmp_path) in caught.value.fix
    path.rename(journal_path(str(tmp_path), 2))
    with pytest.raises(IntegrityError):
        Journal(str(tmp_path), 2)


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORMAT", 2)
    write(tmp_path)
    monkeypatch.undo()
    with pytest.raises(FormatTooNewError, match="newer Penstock"):
        Journal(str(tmp_path), 1)


def test_a_record_that_was_taken_back_is_gone(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), 1, boot=BOOT)
    journal.append(*CHANGES[0])
    before = journal.length
    journal.append(*CHANGES[5])
    journal.cut(before)
    journal.append(*CHANGES[1])
    journal.close()
    assert replayed(tmp_path) == CHANGES[:2]


def test_a_write_that_stops_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(str(tmp_path), 1, boot=BOOT)
    journal.append(*CHANGES[0])
    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[: len(data) // 2], at))
        with pytest.raises(OSError) as caught:
            journal.append(*CHANGES[5])
    assert caught.value.errno == errno.ENOSPC
    journal.append(*CHANGES[1])
    journal.close()
    assert replayed(tmp_path) == CHANGES[:2]
    assert len(Path(journal.path).read_bytes().rstrip(b"\0")) <= journal.length


def test_it_is_allocated_ahead_so_that_a_full_disk_takes_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path), 1, boot=BOOT)
    journal.append(*CHANGES[0])

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    taken = 0
    with pytest.raises(OSError) as caught:
        while taken < 1 << 20:
            journal.append([TableChange(NAMES, b"key", bytes(1000))], b"")
            taken += 1
    assert caught.value.errno == errno.ENOSPC
    assert taken > 500
    journal.mark(journal.changes_end)
    journal.close()
    assert len(replayed(tmp_path, everything=False)) == 1 + taken
