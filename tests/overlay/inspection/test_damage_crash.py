"""A process that sums, converts or closes an overlay is killed before any step: nothing is lost, or called damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.manifest.entry import Kind
from penstock.overlay.content import data_files
from penstock.overlay.inspection.inspection import inspect_snapshot
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.journal import Journal, journal_numbers
from penstock.overlay.tables.lmdb_tables import LmdbTables
from penstock.overlay.tables.schema import INODES, TABLES, InodeRecord, TableChange, inode_key

INODE = 70
BLOCK = 1 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m,mode=700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def dies_before(step: int) -> None:
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def doing(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return doing

    for name in ("pwrite", "fsync", "fdatasync", "unlink", "ftruncate", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    for method in ("commit", "apply", "_open", "_convert"):
        setattr(LmdbTables, method, counted(getattr(LmdbTables, method)))
    data_files.punch_hole = counted(data_files.punch_hole)  # type: ignore[assignment]


def each_death(work: Callable[[], None], prepare: Callable[[], None]) -> Iterator[int]:
    for step in range(1, 1000):
        prepare()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                dies_before(step)
                work()
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            assert step > 15
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield step


def write(overlay: Overlay, record: InodeRecord, offset: int, data: bytes) -> InodeRecord:
    record, changes = overlay.content.write(INODE, record, offset, data, 0)
    overlay.records.change([*changes, TableChange(INODES, inode_key(INODE), record.encode())])
    return record


def findings(overlay: Overlay) -> list[object]:
    with overlay.records.snapshot() as reader:
        return list(inspect_snapshot(reader, overlay.content, None, overlay.records.tallies()))


def test_killed_while_it_writes_sums_and_cuts(disk: Path) -> None:
    directory = disk / "overlay"
    data = random.Random(5).randbytes(BLOCK + 50_000)

    def work() -> None:
        overlay = Overlay(str(directory))
        record = write(overlay, InodeRecord(Kind.FILE, 0o644), 0, data)
        overlay.sum_up(60)
        record = write(overlay, record, BLOCK - 5, b"0123456789")
        overlay.records.checkpoint()
        overlay.sum_up(60)
        record, changes = overlay.content.truncate(INODE, record, BLOCK + 1000, 0)
        overlay.records.change([*changes, TableChange(INODES, inode_key(INODE), record.encode())])
        overlay.sum_up(60)
        overlay.close()
        again = Overlay(str(directory))
        record = write(again, record, 17, b"again")
        again.close()

    for step in each_death(work, lambda: shutil.rmtree(directory, ignore_errors=True)):
        for _ in range(2):
            overlay = Overlay(str(directory))
            assert findings(overlay) == [], step
            value = overlay.records.get(INODES, inode_key(INODE))
            if value is not None:
                record = InodeRecord.decode(value)
                with overlay.records.snapshot() as reader:
                    read = overlay.content.read_file(INODE, record, 0, record.size, lambda *_: b"", reader)
                assert read[100 : BLOCK - 10] == data[100 : BLOCK - 10]
            overlay.close()


def test_killed_while_an_older_format_is_converted(disk: Path) -> None:
    (disk / "old").mkdir()
    archive = Path(__file__).with_name("format-2.tar.xz")
    subprocess.run(["tar", "-xJf", archive, "-C", disk / "old"], check=True)
    made, trial = disk / "old" / "overlay", disk / "trial"
    (number,) = journal_numbers(str(made))
    journal = Journal(str(made), number)
    journal.close()

    def prepare() -> None:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(made, trial)
        trial.chmod(0o700)

    def everything(records: DurableTables) -> dict[tuple[int, bytes], bytes]:
        return {(table, key): value for table in range(len(TABLES)) for key, value in records.scan(table, b"")}

    prepare()
    whole = DurableTables(str(trial), lambda: None, boot=journal.boot)
    expected = everything(whole)
    whole.close()

    def work() -> None:
        DurableTables(str(trial), lambda: None, boot=journal.boot).close()

    for _ in each_death(work, prepare):
        records = DurableTables(str(trial), lambda: None, boot=journal.boot)
        assert everything(records) == expected
        records.close()
