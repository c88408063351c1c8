from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from penstock.errors import AccessError, ConflictError, IntegrityError, UsageError
from penstock.overlay.tables import durable_tables as module
from penstock.overlay.tables import lmdb_tables as tables_module
from penstock.overlay.tables.durable_tables import DurableTables, Reader
from penstock.overlay.tables.journal import Journal, journal_numbers
from penstock.overlay.tables.schema import INODES, META, NAMES, RANGES, TABLES, TableChange, inode_key, name_key

State = dict[tuple[int, bytes], bytes]
DEADLINE_SECONDS = 60


def nothing() -> None:
    pass


def open_records(directory: Path, **options: str) -> DurableTables:
    return DurableTables(str(directory), nothing, **options)


def everything(view: DurableTables | Reader) -> State:
    return {(table, key): value for table in range(len(TABLES)) for key, value in view.scan(table, b"")}


def put(key: bytes, value: bytes | None = b"value", table: int = NAMES) -> TableChange:
    return TableChange(table, key, value)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[DurableTables]:
    opened = open_records(tmp_path / "overlay")
    yield opened
    with suppress(OSError):
        opened.close()


class Model(RuleBasedStateMachine):
    """Whatever is done, in whatever order, the tables are what a dict would be."""

    snapshots = Bundle("snapshots")
    keys = st.sampled_from(
        [name_key(parent, name) for parent in range(3) for name in (b"", b"a", b"ab", b"b", b"\xff")]
    )
    changes = st.lists(
        st.builds(TableChange, st.sampled_from([META, NAMES, RANGES]), keys, st.none() | st.binary(max_size=40)),
        max_size=6,
    )

    @initialize(directory=st.just(None))
    def begin(self, directory: None) -> None:
        self.directory = Path(tempfile.mkdtemp()) / "overlay"
        self.records = open_records(self.directory)
        self.state: State = {}
        self.notes: list[bytes] = []
        self.cleared = 0

    def teardown(self) -> None:
        self.records.close()
        shutil.rmtree(self.directory.parent)

    @rule(changes=changes, note=st.binary(max_size=5))
    def change(self, changes: list[TableChange], note: bytes) -> None:
        self.records.change(changes, note)
        for table, key, value in changes:
            if value is None:
                self.state.pop((table, key), None)
            else:
                self.state[table, key] = value
        self.notes += [note] if note else []

    @rule(table=st.sampled_from([META, NAMES, RANGES]), key=keys, prefix=keys)
    def look(self, table: int, key: bytes, prefix: bytes) -> None:
        rows = sorted((found, value) for (place, found), value in self.state.items() if place == table)
        assert self.records.get(table, key) == self.state.get((table, key))
        assert self.records.floor(table, key) == max((row for row in rows if row[0] <= key), default=None)
        assert list(self.records.scan(table, b"")) == rows
        expected = [row for row in rows if row[0] >= key and row[0].startswith(prefix)]
        # What begins with the prefix lies together: from beyond it there is nothing.
        assert list(self.records.scan(table, key, prefix)) == expected

    @rule()
    def durable(self) -> None:
        self.records.durable()

    @rule()
    def checkpoint(self) -> None:
        self.records.checkpoint()

    @rule()
    def clear(self) -> None:
        self.records.clear()
        self.state = {}

    @rule(boot=st.booleans())
    def reopen(self, boot: bool) -> None:
        self.records.close()
        self.records = open_records(self.directory, **({"boot": "another"} if boot else {}))
        assert self.records.recent_notes() == self.notes[-256:]

    @rule(target=snapshots)
    def snapshot(self) -> tuple[State, Reader, DurableTables]:
        return dict(self.state), self.records.snapshot(), self.records

    @rule(snapshot=snapshots)
    def look_back(self, snapshot: tuple[State, Reader, DurableTables]) -> None:
        state, reader, owner = snapshot
        if owner is self.records:
            assert everything(reader) == state


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_files_are_the_owners_alone(records: DurableTables, tmp_path: Path) -> None:
    records.change([put(b"key")])
    assert (tmp_path / "overlay").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "overlay").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(AccessError, match="chmod 700"):
        open_records(tmp_path / "open")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        open_records(tmp_path / "file")


def test_one_process_at_a_time(records: DurableTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_WAIT_SECONDS", 0.0)
    with pytest.raises(ConflictError, match="in use"):
        open_records(tmp_path / "overlay")
    records.close()
    open_records(tmp_path / "overlay").close()


def test_a_scan_goes_on_while_names_come_and_go(records: DurableTables) -> None:
    parent = inode_key(7)
    records.change([put(name_key(7, b"%05d" % number)) for number in range(0, 2000, 2)])
    records.change([put(name_key(8, b"other")), put(name_key(6, b"other"))])
    assert [int(key[8:]) for key, _ in records.scan(NAMES, parent, parent)] == list(range(0, 2000, 2))
    seen = []
    for number, (key, _) in enumerate(records.scan(NAMES, parent, parent)):
        seen.append(int(key[8:]))
        records.change([put(key, None), put(name_key(7, b"%05d" % (number * 2 + 1)))])
        if number % 100 == 0:
            records.checkpoint()
    assert [number for number in seen if number % 2 == 0] == list(range(0, 2000, 2))
    assert seen == sorted(set(seen))


def test_a_snapshot_stays_while_changes_go_on(records: DurableTables) -> None:
    before = {(INODES, inode_key(number)): b"%d" % number for number in range(1000)}
    records.change([TableChange(table, key, value) for (table, key), value in before.items()])
    found: list[bool] = []
    started = threading.Event()

    def read(reader: Reader) -> None:
        with reader:
            for _ in range(20):
                found.append(everything(reader) == before)
                assert reader.get(INODES, inode_key(5)) == b"5"
                assert reader.floor(INODES, inode_key(5000)) == (inode_key(999), b"999")
                started.set()

    threads = [threading.Thread(target=read, args=(records.snapshot(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert started.wait(DEADLINE_SECONDS)
    for number in range(300):
        records.change([put(inode_key(number), b"new", INODES), put(inode_key(999 - number), None, INODES)])
        if number % 50 == 0:
            records.checkpoint()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert found == [True] * 40
    assert records.get(INODES, inode_key(5)) == b"new"


def test_notes_come_back_through_crashes_and_checkpoints(records: DurableTables, tmp_path: Path) -> None:
    for number in range(300):
        records.change([put(b"key")], b"%d" % number)
        if number == 200:
            records.checkpoint()
    records.change([put(b"key")])
    assert records.recent_notes() == []
    records.close()
    again = open_records(tmp_path / "overlay")
    assert again.recent_notes() == [b"%d" % number for number in range(44, 300)]
    again.close()


def test_callers_that_wait_together_share_one_sync(tmp_path: Path) -> None:
    running, release = threading.Event(), threading.Event()
    syncs: list[bytes | None] = []

    def sync_data() -> None:
        syncs.append(None)
        running.set()
        assert release.wait(DEADLINE_SECONDS)

    records = DurableTables(str(tmp_path / "overlay"), sync_data)
    records.change([put(b"first")])
    first = threading.Thread(target=records.durable)
    first.start()
    assert running.wait(DEADLINE_SECONDS)
    # The loop's thread is not held up by a sync that runs.
    records.change([put(b"second")])
    assert records.needs_checkpoint() is False
    others = [threading.Thread(target=records.durable) for _ in range(8)]
    for thread in others:
        thread.start()
    release.set()
    for thread in [first, *others]:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
    assert 2 <= len(syncs) <= 9
    alone = len(syncs)
    records.durable()
    assert len(syncs) == alone + 1
    records.close()


def test_waiters_are_served_by_the_next_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, release = threading.Event(), threading.Event()
    syncs: list[None] = []

    def sync_data() -> None:
        syncs.append(None)
        running.set()
        assert release.wait(DEADLINE_SECONDS)

    records = DurableTables(str(tmp_path / "overlay"), sync_data)
    waiting = threading.Semaphore(0)

    class Announcing:
        """The lock, saying who has come to it: by then its caller knows which sync is enough for it."""

        def __init__(self, lock: threading.Lock) -> None:
            self.lock = lock

        def __enter__(self) -> None:
            waiting.release()
            self.lock.acquire()

        def __exit__(self, *error: object) -> None:
            self.lock.release()

        def locked(self) -> bool:
            return self.lock.locked()

    monkeypatch.setattr(records, "_syncing", Announcing(threading.Lock()))
    threads = [threading.Thread(target=records.durable)]
    threads[0].start()
    assert running.wait(DEADLINE_SECONDS)
    threads += [threading.Thread(target=records.durable) for _ in range(8)]
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=DEADLINE_SECONDS)
    release.set()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert len(syncs) == 2
    records.close()


def test_data_is_synced_before_the_mark_and_the_commit(tmp_path: Path) -> None:
    marked: list[bool] = []
    path = tmp_path / "overlay"

    def sync_data() -> None:
        (number,) = journal_numbers(str(path))
        journal = Journal(str(path), number)
        marked.append(bool(list(journal.replay(everything=False))))
        journal.close()

    records = DurableTables(str(path), sync_data)
    records.change([put(b"key")])
    records.durable()
    assert marked == [False]
    records.durable()
    assert marked == [False, True]
    records.checkpoint()
    assert len(marked) == 3
    records.close()


def test_data_of_a_process_that_died_is_synced_with_the_first_promise(
    records: DurableTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.change([put(b"key")])
    shutil.copytree(tmp_path / "overlay", tmp_path / "crashed")
    synced: list[str] = []
    real = module.sync_file_system

    def counting(path: str) -> None:
        real(path)
        synced.append(path)

    monkeypatch.setattr(module, "sync_file_system", counting)
    records.durable()
    assert synced == []
    again = open_records(tmp_path / "crashed")
    assert synced == []
    again.durable()
    again.durable()
    again.checkpoint()
    assert synced == [str(tmp_path / "crashed")]
    again.close()
    after_boot = open_records(tmp_path / "crashed", boot="another")
    after_boot.durable()
    assert len(synced) == 1
    after_boot.close()


def test_it_closes_without_a_checkpoint_and_loses_nothing(tmp_path: Path) -> None:
    def never() -> None:
        raise AssertionError("asked to sync")

    records = DurableTables(str(tmp_path / "overlay"), never)
    records.change([put(b"key")], b"note")
    records.close(checkpoint=False)
    again = open_records(tmp_path / "overlay")
    assert again.get(NAMES, b"key") == b"value"
    assert again.recent_notes() == [b"note"]
    again.close()


def test_data_that_does_not_sync_fails_the_caller_and_promises_nothing(tmp_path: Path) -> None:
    failing = True

    def sync_data() -> None:
        if failing:
            raise OSError(errno.EIO, "the disk")

    records = DurableTables(str(tmp_path / "overlay"), sync_data)
    records.change([put(b"key")])
    for _ in range(2):
        with pytest.raises(OSError, match="the disk"):
            records.durable()
        with pytest.raises(OSError, match="the disk"):
            records.checkpoint()
    assert records.get(NAMES, b"key") == b"value"
    failing = False
    records.durable()
    records.close()


def test_a_journal_that_failed_to_sync_promises_nothing_until_a_checkpoint(
    records: DurableTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.change([put(b"key")])

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(OSError, match="the disk"):
            records.durable()
    with pytest.raises(OSError, match="failed to sync"):
        records.durable()
    assert records.needs_checkpoint()
    records.checkpoint()
    records.change([put(b"key", b"other")])
    records.durable()


def test_what_waits_for_a_checkpoint_runs_after_it(records: DurableTables, tmp_path: Path) -> None:
    ran: list[int] = []

    def fail() -> None:
        raise OSError(errno.EIO, "cannot remove")

    records.change([put(b"key")])
    for action in (lambda: ran.append(1), fail, lambda: ran.append(2)):
        records.after_checkpoint(action)
    assert ran == []
    with pytest.raises(OSError, match="cannot remove"):
        records.checkpoint()
    assert ran == [1]
    assert journal_numbers(str(tmp_path / "overlay")) == [2]
    records.checkpoint()
    assert ran == [1, 2]
    assert journal_numbers(str(tmp_path / "overlay")) == [2]


def test_a_checkpoint_is_due_when_the_journal_is_long_or_old(
    records: DurableTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not records.needs_checkpoint()
    records.change([put(b"key")])
    assert not records.needs_checkpoint()
    monkeypatch.setattr(module, "_OLD_SECONDS", 0.0)
    assert records.needs_checkpoint()
    monkeypatch.undo()
    records.change([put(b"key", bytes(module._LONG_BYTES))])
    assert records.needs_checkpoint()
    records.checkpoint()
    assert not records.needs_checkpoint()
    monkeypatch.setattr(module, "_OLD_SECONDS", 0.0)
    assert not records.needs_checkpoint()


def test_a_change_that_cannot_be_made_changes_nothing(records: DurableTables, tmp_path: Path) -> None:
    records.change([put(b"before")])
    with pytest.raises(OSError) as caught:
        records.change([put(b"half"), put(b"k" * 600)], b"refused")
    assert caught.value.errno == errno.ENAMETOOLONG
    records.change([put(b"after")])
    expected = {(NAMES, b"before"): b"value", (NAMES, b"after"): b"value"}
    assert everything(records) == expected
    records.close()
    again = open_records(tmp_path / "overlay")
    assert everything(again) == expected
    assert again.recent_notes() == []
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_refuses_changes_and_loses_none(small_disk: Path) -> None:
    records = open_records(small_disk / "overlay")
    try:
        state: State = {}
        (small_disk / "filler").write_bytes(bytes(18 << 20))
        with pytest.raises(OSError) as caught:
            for number in range(100_000):
                changes = [put(b"%d" % number, bytes(300)), put(b"%d" % number, b"x", INODES)]
                records.change(changes)
                state |= {(change.table, change.key): change.value or b"" for change in changes}
        assert caught.value.errno == errno.ENOSPC
        assert len(state) > 1000
        records.durable()
        with pytest.raises(OSError) as caught:
            records.checkpoint()
        assert caught.value.errno == errno.ENOSPC
        assert everything(records) == state
        assert len(journal_numbers(str(small_disk / "overlay"))) == 1
        (small_disk / "filler").unlink()
        # Room again: it goes on as if nothing had been.
        records.change([put(b"more")])
        records.checkpoint()
        state[NAMES, b"more"] = b"value"
        assert everything(records) == state
    finally:
        records.close()
    again = open_records(small_disk / "overlay")
    assert everything(again) == state
    again.close()


def test_a_full_disk_can_be_emptied(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["mount", "-o", "remount,size=128m", str(small_disk)], check=True)
    records = open_records(small_disk / "overlay")
    try:
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), (small_disk / "crumbs").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for number in range(1000):
            records.change([put(b"%d" % number, bytes(100))])
        records.after_checkpoint(filler.unlink)
        records.checkpoint()
        assert not filler.exists()
        assert records.get(NAMES, b"999") == bytes(100)
        assert (small_disk / "overlay" / "reserve").exists()
    finally:
        records.close()


def test_a_commit_that_fails_keeps_the_state_and_is_tried_again(
    records: DurableTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.change([put(b"committed")])
    records.checkpoint()
    records.change([put(b"key"), put(b"committed", None)], b"note")

    def full(self: object, journal: int, notes: list[bytes]) -> None:
        raise OSError(errno.EIO, "the disk")

    with monkeypatch.context() as patched:
        patched.setattr(tables_module.LmdbTables, "commit", full)
        with pytest.raises(OSError, match="the disk"):
            records.checkpoint()
        with pytest.raises(OSError, match="the disk"):
            records.clear()
        with pytest.raises(OSError, match="the disk"):
            records.snapshot()
    assert everything(records) == {(NAMES, b"key"): b"value"}
    assert journal_numbers(str(tmp_path / "overlay")) == [2]
    records.change([put(b"more")])
    records.checkpoint()
    records.close()
    again = open_records(tmp_path / "overlay")
    assert everything(again) == {(NAMES, b"key"): b"value", (NAMES, b"more"): b"value"}
    again.close()


def test_a_commit_that_fails_after_it_took_effect_counts(
    records: DurableTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tables_module.LmdbTables.commit

    def answer_lost(self: tables_module.LmdbTables, journal: int, notes: list[bytes]) -> None:
        real(self, journal, notes)
        raise OSError(errno.EIO, "the disk")

    records.change([put(b"key")])
    with monkeypatch.context() as patched:
        patched.setattr(tables_module.LmdbTables, "commit", answer_lost)
        records.checkpoint()
    assert everything(records) == {(NAMES, b"key"): b"value"}
    records.change([put(b"more")])
    records.close()
    again = open_records(tmp_path / "overlay")
    assert everything(again) == {(NAMES, b"key"): b"value", (NAMES, b"more"): b"value"}
    again.close()


def test_tables_that_cannot_be_read_again_refuse_until_they_can(
    records: DurableTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.change([put(b"key")])

    def failing(self: object, *arguments: object) -> None:
        raise OSError(errno.EIO, "the disk")

    with monkeypatch.context() as patched:
        patched.setattr(tables_module.LmdbTables, "commit", failing)
        patched.setattr(tables_module.LmdbTables, "restart", failing)
        with pytest.raises(OSError):
            records.checkpoint()
    for attempt in (lambda: records.get(NAMES, b"key"), lambda: records.change([put(b"other")])):
        with pytest.raises(OSError, match="could not be read again"):
            attempt()
    assert records.needs_checkpoint()
    records.checkpoint()
    assert everything(records) == {(NAMES, b"key"): b"value"}


def written(directory: Path) -> Path:
    records = open_records(directory)
    for number in range(2000):
        records.change([put(b"%d" % number, bytes(100))])
    records.close()
    return directory


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    overlay = written(tmp_path / "overlay")
    data = overlay / "index" / "data.mdb"
    whole = data.read_bytes()
    for broken in (b"\xaa" * len(whole), whole[: len(whole) // 2], whole[:5000]):
        data.write_bytes(broken)
        with pytest.raises(IntegrityError) as caught:
            open_records(overlay)
        assert str(overlay) in caught.value.fix
    data.write_bytes(whole)
    open_records(overlay).close()


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    overlay = written(tmp_path / "overlay")
    old = (overlay / "index" / "data.mdb").read_bytes()
    records = open_records(overlay)
    records.change([put(b"key")])
    records.checkpoint()
    records.change([put(b"other")])
    records._journal.sync()
    crashed = tmp_path / "crashed"
    subprocess.run(["cp", "-a", str(overlay), str(crashed)], check=True)
    records.close()
    good = (crashed / "index" / "data.mdb").read_bytes()
    (crashed / "index" / "data.mdb").write_bytes(old)
    with pytest.raises(IntegrityError, match="not there"):
        open_records(crashed)
    (crashed / "index" / "data.mdb").unlink()
    with pytest.raises(IntegrityError, match="tables that are not there"):
        open_records(crashed)
    (crashed / "index" / "data.mdb").write_bytes(good)
    again = open_records(crashed)
    assert again.get(NAMES, b"other") == b"value"
    again.close()


def test_it_opens_in_another_process_after_a_fork_of_this_one(records: DurableTables, tmp_path: Path) -> None:
    """A child that was forked while it was open holds neither the lock nor the tables."""
    records.change([put(b"key")])
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"x"
        records.close()
        code = (
            "import sys; from penstock.overlay.tables.durable_tables import DurableTables; "
            "r = DurableTables(sys.argv[1], lambda: None); assert r.get(1, b'key') == b'value'; r.close()"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "overlay")], check=True, timeout=DEADLINE_SECONDS)
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)
        for descriptor in (*ready, *go):
            os.close(descriptor)
