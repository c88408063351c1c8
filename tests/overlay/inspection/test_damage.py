"""Bits that flip on the disk of an overlay: nothing of it is served or committed, and the rest can be taken out."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, version_tree
from views.memory import Made

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.commit.steps import OpenOverlay, commit_steps, run_steps
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables import schema
from penstock.overlay.tables.checksum import with_checksum
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.journal import Journal, journal_numbers
from penstock.overlay.tables.schema import (
    FIRST_NEW_INODE,
    INODES,
    NAMES,
    RANGES,
    TABLES,
    InodeRecord,
    TableChange,
    inode_key,
)
from penstock.progress import SILENT
from penstock.repo.read.snapshot import open_snapshot

State = dict[tuple[int, bytes], bytes]
FILES = 120


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"old": Made(b"0123456789"), b"gone": Made(b"gone"), b"dir": {b"x": Made(b"x")}})
    made.push(tmp_path / "source")
    return made


@pytest.fixture
def closed(bucket: LocalBucket, tmp_path: Path) -> Path:
    """An overlay with changes, as a clean unmount leaves it."""
    edited = Edited(bucket, tmp_path / "overlay")
    edited.mkdir("made")
    for number in range(FILES):
        edited.create(f"made/file-{number}", b"content of %d\n" % number * 10)
        if number % 25 == 0:
            edited.overlay.records.checkpoint()
    edited.create("large", random.Random(1).randbytes(2_500_000))
    edited.write("old", 2, b"--")
    edited.unlink("gone")
    edited.symlink("link", b"old")
    edited.close()
    return tmp_path / "overlay"


def everything(records: DurableTables) -> State:
    return {(table, key): value for table in range(len(TABLES)) for key, value in records.scan(table, b"")}


def flip(path: Path, at: int, bit: int = 1) -> None:
    with open(path, "r+b") as stream:
        stream.seek(at)
        old = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([old ^ bit]))


def commit(bucket: LocalBucket, overlay: Overlay) -> None:
    version = open_snapshot("demo/data", bucket.settings)
    editor = overlay.editor(lambda _: False, umask=0o022, epoch_ns=0)
    opened = OpenOverlay(overlay, editor, version, lambda _: False)
    run_steps(commit_steps(opened, bucket.settings, CommitOptions("A <a@b.c>", "m"), SILENT), opened)


@pytest.mark.regress
def test_a_bit_that_flips_in_the_tables_is_noticed_or_changes_nothing(closed: Path) -> None:
    overlay = Overlay(os.fspath(closed))
    before = everything(overlay.records)
    overlay.close()
    data = closed / "index" / "data.mdb"
    whole = data.read_bytes()
    draw = random.Random(7)
    # Wherever something is: a byte among zeros is in a page that is used, or was.
    places = [at for at in range(len(whole)) if whole[at]]
    refused = 0
    for _ in range(150):
        flip(data, draw.choice(places), 1 << draw.randrange(8))
        try:
            overlay = Overlay(os.fspath(closed))
        except IntegrityError as error:
            refused += 1
            assert "penstock overlay check" in error.fix
            assert "penstock overlay rescue" in error.fix
        else:
            assert everything(overlay.records) == before
            overlay.records.close(checkpoint=False)
            overlay.content.close()
        data.write_bytes(whole)
    assert refused > 25


def test_a_bit_that_flips_in_the_number_of_their_format_is_damage_and_no_newer_penstock(closed: Path) -> None:
    path = os.fspath(closed / "index")

    def note(version: bytes) -> None:
        with lmdb.open(path, max_dbs=16) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"format", version, db=environment.open_db(b"journal", transaction))

    for bit in range(8):
        note(bytes([ord("4") ^ (1 << bit)]))
        with pytest.raises(IntegrityError, match="penstock overlay check"):
            Overlay(os.fspath(closed))
    note(with_checksum(len(TABLES), b"format", b"17"))
    with pytest.raises(FormatTooNewError, match=r"format 17.*Upgrade"):
        Overlay(os.fspath(closed))


@pytest.mark.regress
def test_the_size_of_a_file_does_not_change_by_a_bit(closed: Path) -> None:
    """As it was reported: one bit in the tables gave a file another length, and zeros for its end."""
    overlay = Overlay(os.fspath(closed))
    found = {key: InodeRecord.decode(value) for key, value in overlay.records.scan(INODES, b"")}
    overlay.close()
    key = next(key for key, record in found.items() if record.name == b"large")
    size = b"\xce" + found[key].size.to_bytes(4, "big")
    data = closed / "index" / "data.mdb"
    body = data.read_bytes()
    at, flipped = body.find(size), 0
    while at >= 0:
        flip(data, at + 2, 2)
        flipped += 1
        at = body.find(size, at + 1)
    assert flipped
    with pytest.raises(IntegrityError, match="damaged"):
        Overlay(os.fspath(closed))


def test_a_record_that_is_damaged_while_it_is_mounted_is_an_error_of_its_own(tmp_path: Path) -> None:
    records = DurableTables(str(tmp_path / "overlay"), lambda: None)
    records.change([TableChange(NAMES, b"%08d" % number, b"value of %d" % number) for number in range(50)])
    records.checkpoint()
    data = tmp_path / "overlay" / "index" / "data.mdb"
    body = data.read_bytes()
    at = body.find(b"value of 7")
    while at >= 0:
        flip(data, at, 4)
        at = body.find(b"value of 7", at + 1)
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        records.get(NAMES, b"%08d" % 7)
    assert records.get(NAMES, b"%08d" % 8) == b"value of 8"
    with pytest.raises(IntegrityError):
        list(records.scan(NAMES, b""))
    with pytest.raises(IntegrityError):
        records.floor(NAMES, b"%08d" % 7)
    assert len(records.damage.found()) == 1
    records.close()


def test_a_record_that_is_missing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = DurableTables(str(tmp_path / "overlay"), lambda: None)
    records.change([TableChange(NAMES, b"%08d" % number, b"value") for number in range(50)])
    records.checkpoint()
    tables = records._tables
    # Behind the tables' back: what a lost page comes to, had LMDB's own count of it been mended.
    with tables._environment.begin(write=True) as transaction:
        tables._transaction = None
        assert transaction.delete(b"%08d" % 7, b"", tables._databases[NAMES])
    records.close(checkpoint=False)
    with pytest.raises(IntegrityError, match="names 1 records are missing"):
        DurableTables(str(tmp_path / "overlay"), lambda: None)


def test_records_are_tallied_through_all_that_changes_them(tmp_path: Path) -> None:
    draw = random.Random(3)
    records = DurableTables(str(tmp_path / "overlay"), lambda: None)
    for round_ in range(30):
        changes = [
            TableChange(
                table, b"%08d" % draw.randrange(40), draw.choice([None, draw.randbytes(draw.choice([0, 9, 9000]))])
            )
            for table in (NAMES, RANGES, schema.SUMS)
            for _ in range(20)
        ]
        records.change(changes)
        if round_ % 7 == 6:
            records.close(checkpoint=draw.random() < 0.5)
            records = DurableTables(str(tmp_path / "overlay"), lambda: None)  # looks through it, or knows it
        if round_ == 20:
            records.clear()
    records.close()


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.regress
def test_a_bit_that_flips_in_the_bytes_of_a_file_is_not_committed(
    closed: Path, bucket: LocalBucket, clean: bool
) -> None:
    if not clean:  # a process had it open since, and was killed
        Overlay(os.fspath(closed)).records.close(checkpoint=False)
    flip_in_data(closed, random.Random(1).randbytes(2_500_000)[500:530])
    overlay = Overlay(os.fspath(closed))
    with pytest.raises(IntegrityError, match="damaged"):
        commit(bucket, overlay)
    overlay.close()
    found = version_tree(open_snapshot("demo/data", bucket.settings))
    assert "large" not in found
    assert "gone" in found


def flip_in_data(overlay: Path, text: bytes) -> None:
    """Flip a bit of some bytes, wherever they lie in the data files."""
    for path in (overlay / "data").rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                descriptor, at = stream.fileno(), 0
                while True:
                    try:
                        at = os.lseek(descriptor, at, os.SEEK_DATA)
                    except OSError:
                        break
                    end = os.lseek(descriptor, at, os.SEEK_HOLE)
                    place = os.pread(descriptor, end - at, at).find(text)
                    if place >= 0:
                        flip(path, at + place + 3)
                        return
                    at = end
    raise AssertionError("it is there")


def test_a_file_that_is_damaged_cannot_be_read_and_others_can(closed: Path, bucket: LocalBucket) -> None:
    flip_in_data(closed, b"content of 77\n")
    edited = Edited(bucket, closed)
    for path, damaged in (("made/file-77", True), ("made/file-78", False), ("large", False)):
        node = edited.node(path)
        assert node.record is not None
        segment = edited.overlay.content.segments(node.inode, node.record, 0, 10)[0]
        if damaged:
            with pytest.raises(IntegrityError, match="not those that were written"):
                edited.overlay.content.read_segment(node.inode, segment)
        else:
            edited.overlay.content.read_segment(node.inode, segment)
    assert len(edited.overlay.records.damage.found()) == 1
    edited.unlink("made/file-77")
    edited.overlay.records.checkpoint()
    commit(bucket, edited.overlay)  # what is whole
    edited.close()


def test_what_is_written_again_is_right_whatever_it_was(closed: Path, bucket: LocalBucket) -> None:
    edited = Edited(bucket, closed)
    for _ in range(3):
        edited.write("large", 1_000_000, b"x" * 100_000)  # across the border of two blocks
        edited.truncate("large", 2_000_000)
        edited.overlay.sum_up(5)
        edited.truncate("large", 1 << 20)
        edited.write("large", (1 << 20) + 5, b"y")
        edited.overlay.sum_up(5)
        edited.close()
        edited = Edited(bucket, closed)
        assert edited.read("large")[-1:] == b"y"
        commit(bucket, edited.overlay)
    edited.close()


def test_a_process_that_dies_between_bytes_and_record_leaves_no_false_alarm(
    closed: Path, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = Edited(bucket, closed)
    inode = edited.node("large").inode
    record = edited.node("large").record
    assert record is not None
    # The bytes are there, and the change of the tables is not: what a kill between the two leaves.
    edited.overlay.content.write(inode, record, 100, b"new bytes", edited.editor.counters.generation)
    edited.overlay.close(keep_up=False)
    again = Edited(bucket, closed)
    assert again.read("large")[100:109] == b"new bytes"
    commit(bucket, again.overlay)
    again.close()


def test_after_a_power_loss_sums_are_made_anew(closed: Path) -> None:
    records = DurableTables(str(closed), lambda: None)
    assert list(records.scan(schema.SUMS, b""))
    records.close(checkpoint=False)  # no note: it was in use
    again = DurableTables(str(closed), lambda: None, boot="another boot")
    assert not list(again.scan(schema.SUMS, b""))
    again.close()


def test_what_was_not_summed_when_a_process_died_is_found(closed: Path, bucket: LocalBucket) -> None:
    edited = Edited(bucket, closed)
    edited.write("large", 5, b"z")
    edited.overlay.close(keep_up=False)
    again = Edited(bucket, closed)
    with again.overlay.records.snapshot() as reader:
        missing = list(again.overlay.content.sums.missing(reader))
    assert missing == [(again.node("large").inode, again.editor.counters.generation, 0)]
    again.overlay.content.sums.note(missing)
    again.overlay.sum_up(5)
    with again.overlay.records.snapshot() as reader:
        assert not list(again.overlay.content.sums.missing(reader))
    again.close()


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """An overlay of format 2 with 50 files, 10 of them in its journal, as a process of then left it when it died."""
    (tmp_path / "old").mkdir()
    archive = Path(__file__).with_name("format-2.tar.xz")
    subprocess.run(["tar", "-xJf", archive, "-C", tmp_path / "old"], check=True)
    yield tmp_path / "old" / "overlay"
    shutil.rmtree(tmp_path / "old")


def test_an_overlay_of_the_format_before_gets_checksums_when_it_is_opened(old: Path) -> None:
    old.chmod(0o700)
    (number,) = journal_numbers(str(old))
    journal = Journal(str(old), number)
    journal.close()
    records = DurableTables(str(old), lambda: None, boot=journal.boot)
    state = everything(records)
    assert sum(table == INODES for table, _ in state) == 50
    assert sum(table == NAMES for table, _ in state) == 49
    record = InodeRecord.decode(state[INODES, inode_key(FIRST_NEW_INODE + 45)])
    assert record.size == 140
    records.close(checkpoint=False)
    again = DurableTables(str(old), lambda: None, boot=journal.boot)
    assert everything(again) == state
    again.close()
    overlay = Overlay(str(old))
    assert overlay.content.read_file(FIRST_NEW_INODE + 45, record, 0, 13, lambda *_: b"") == b"content of 45"
    with overlay.records.snapshot() as reader:
        overlay.content.sums.note(overlay.content.sums.missing(reader))
    overlay.close()
    flip_in_data(old, b"content of 45\n")
    overlay = Overlay(str(old))
    with pytest.raises(IntegrityError):
        overlay.content.read_file(FIRST_NEW_INODE + 45, record, 0, 13, lambda *_: b"")
    overlay.close()
