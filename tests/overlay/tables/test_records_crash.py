"""What a crash leaves: the process is killed between any two steps, or the power goes, and the overlay opened again.

The process that dies is a fork of this one, in which every call that changes the disk counts as a step.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from penstock.overlay import directory as directory_module
from penstock.overlay.tables import durable_tables as module
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.journal import HEADER_BYTES, journal_numbers, journal_path
from penstock.overlay.tables.lmdb_tables import LmdbTables
from penstock.overlay.tables.schema import NAMES, TABLES, TableChange

State = dict[bytes, bytes]
BOOT, OTHER_BOOT = "this boot", "another boot"

WORK = (
    *("change", "change", "durable", "change", "durable", "durable", "checkpoint"),
    *("change", "durable", "change", "checkpoint", "change", "clear", "change", "change", "durable", "change"),
    *("reopen", "change", "durable", "close"),
)
"""What the process does; `states` says what there is after each."""


def changes_of(step: int) -> list[TableChange]:
    gone = TableChange(NAMES, b"key %d" % (step - 1), None)
    return [TableChange(NAMES, b"key %d" % step, b"v" * step), gone, TableChange(NAMES, b"last", b"%d" % step)]


def states() -> list[State]:
    """The state before the first step of WORK, and after each."""
    state: State = {}
    found = [dict(state)]
    for step, action in enumerate(WORK):
        if action == "change":
            for change in changes_of(step):
                if change.value is None:
                    state.pop(change.key, None)
                else:
                    state[change.key] = change.value
        elif action == "clear":
            state.clear()
        found.append(dict(state))
    return found


STATES = states()


def work(directory: str, report: Callable[[int], None]) -> None:
    records = DurableTables(directory, lambda: os.sched_yield(), boot=BOOT)
    report(0)
    for step, action in enumerate(WORK):
        if action == "change":
            records.change(changes_of(step), b"note %d" % step)
        elif action == "reopen":
            records.close()
            records = DurableTables(directory, lambda: os.sched_yield(), boot=BOOT)
        else:
            getattr(records, action)()
        report(step + 1)


class Dying:
    """Kills this process before its n-th step, or in the middle of its n-th write."""

    def __init__(self, step: int, moment: str) -> None:
        self.left = step
        self.moment = moment

    def step(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def doing(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return doing

    def torn(self, real: Callable[..., int]) -> Callable[..., int]:
        def writing(descriptor: int, data: bytes, offset: int) -> int:
            self.left -= 1
            if self.left == 0:
                real(descriptor, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(descriptor, data, offset)

        return writing

    def put_in_place(self) -> None:
        if self.moment == "within":
            os.pwrite = self.torn(os.pwrite)
            return
        for name in ("pwrite", "fsync", "fdatasync", "unlink", "open", "close", "mkdir", "posix_fallocate"):
            setattr(os, name, self.step(getattr(os, name)))
        for name in ("ftruncate", "sched_yield"):
            setattr(os, name, self.step(getattr(os, name)))
        LmdbTables.commit = self.step(LmdbTables.commit)  # type: ignore[method-assign]
        LmdbTables.apply = self.step(LmdbTables.apply)  # type: ignore[method-assign]
        LmdbTables.drop = self.step(LmdbTables.drop)  # type: ignore[method-assign]
        LmdbTables._open = self.step(LmdbTables._open)  # type: ignore[method-assign]
        module.sync_file_system = self.step(module.sync_file_system)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk in memory: what a process that dies leaves there is what it leaves anywhere, and thousands of syncs."""
    path = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "_LEAST_RESERVED", 1 << 16)
    monkeypatch.setattr(directory_module, "_MOST_RESERVED", 1 << 16)


def run_and_die(directory: Path, step: int, moment: str) -> int | None:
    """Do WORK in a fork that dies at a step; return how many actions it had finished (-1: not opened), None: all."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            report, pack = os.write, struct.Struct("b").pack
            Dying(step, moment).put_in_place()
            work(str(directory), lambda done: report(writing, pack(done)) and None)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        done = struct.unpack("b", pipe.read()[-1:] or b"\xff")[0]
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return int(done)
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def everything(records: DurableTables) -> State:
    assert not any(next(records.scan(table, b""), None) for table in range(len(TABLES)) if table != NAMES)
    return dict(records.scan(NAMES, b""))


def each_death(disk: Path, moment: str) -> Iterator[tuple[Path, int]]:
    """Yield the directory and what was done, for a death at every step there is."""
    for step in range(1, 1000):
        directory = disk / str(step)
        done = run_and_die(directory, step, moment)
        if done is None:
            assert step > (120 if moment == "before" else 15), "are the calls still those that are counted?"
            return
        yield directory, done
    pytest.fail("the work did not end")


@pytest.mark.parametrize("moment", ["before", "within"])
def test_what_was_changed_survives_a_kill_and_what_was_synced_a_power_loss(disk: Path, moment: str) -> None:
    for directory, done in each_death(disk, moment):
        powerless = directory.with_suffix(".powerless")
        if directory.exists():
            shutil.copytree(directory, powerless)
        check_all_is_there(directory, done)
        check_what_was_synced_is_there(powerless, done)
        shutil.rmtree(directory)
        shutil.rmtree(powerless)


def check_all_is_there(directory: Path, done: int) -> None:
    # Twice: the first opening must leave what the second needs.
    for _ in range(2):
        records = DurableTables(str(directory), lambda: None, boot=BOOT)
        found, notes = everything(records), records.recent_notes()
        assert found in STATES[max(done, 0) : done + 2], (done, found)
        wanted = [b"note %d" % step for step in range(done) if WORK[step] == "change"]
        assert notes[: len(wanted)] == wanted
        assert len(notes) <= len(wanted) + 1
        records.close()
    assert len(journal_numbers(str(directory))) == 1


def check_what_was_synced_is_there(directory: Path, done: int) -> None:
    synced = [step + 1 for step in range(max(done, 0)) if WORK[step] != "change"]
    allowed = [STATES[synced[-1] if synced else 0]]
    if 0 <= done < len(WORK) and WORK[done] != "change":
        # What was being done may have been finished.
        allowed += [STATES[done], STATES[done + 1]]
    for _ in range(2):
        records = DurableTables(str(directory), lambda: None, boot=OTHER_BOOT)
        found = everything(records)
        assert found in allowed, (done, found)
        # From here on it is a state like any other.
        allowed = [found]
        records.close()


def test_a_kill_in_the_boot_after_keeps_the_same_state(disk: Path) -> None:
    """Opening after a boot is itself cut off, at every step."""
    directory = disk / "overlay"
    records = DurableTables(str(directory), lambda: None, boot=OTHER_BOOT)
    records.change(changes_of(1))
    records.durable()
    expected = everything(records)
    records.change(changes_of(2))
    crashed = disk / "crashed"
    shutil.copytree(directory, crashed)
    records.close()
    for step in range(1, 100):
        trial = disk / f"trial {step}"
        shutil.copytree(crashed, trial)
        child = os.fork()
        if child == 0:
            try:
                Dying(step, "before").put_in_place()
                DurableTables(str(trial), lambda: None, boot=BOOT)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        for boot in (BOOT, OTHER_BOOT):
            # The dead process may not have got so far as to note its own boot: then this is one more.
            again = DurableTables(str(trial), lambda: None, boot="third" if boot == OTHER_BOOT else boot)
            assert everything(again) == expected
            again.close()
        if not os.WIFSIGNALED(status):
            assert step > 10
            return
    pytest.fail("opening did not end")


class Tail(NamedTuple):
    """What a power loss makes of the part of the journal that was not synced: kept up to a length, then rubbish."""

    kept: float
    rubbish: str
    seed: int


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    actions=st.lists(st.sampled_from(["change", "change", "durable", "checkpoint", "clear"]), max_size=15),
    tail=st.builds(Tail, st.floats(0, 1), st.sampled_from(["nothing", "zeros", "noise", "hole"]), st.integers(0, 1000)),
)
def test_a_power_loss_may_do_anything_to_what_was_not_synced(disk: Path, actions: list[str], tail: Tail) -> None:
    base = disk / "power"
    records = DurableTables(str(base / "overlay"), lambda: None, boot=BOOT)
    kept, synced = everything(records), HEADER_BYTES
    for step, action in enumerate(actions):
        if action == "change":
            records.change(changes_of(step))
        else:
            getattr(records, action)()
            kept, synced = everything(records), records._journal.length
    shutil.copytree(base / "overlay", base / "left")
    (number,) = journal_numbers(str(base / "left"))
    end = records._journal.length
    records.close()

    path = Path(journal_path(str(base / "left"), number))
    whole = path.read_bytes()
    cut = synced + int(tail.kept * (end - synced))
    random_bytes = random.Random(tail.seed).randbytes(end - cut)
    lost = {
        "nothing": b"",
        "zeros": bytes(len(whole) - cut),
        "noise": random_bytes,
        "hole": bytes(min(20, end - cut)) + whole[min(cut + 20, end) :],
    }
    path.write_bytes(whole[:cut] + lost[tail.rubbish])
    again = DurableTables(str(base / "left"), lambda: None, boot=OTHER_BOOT)
    assert everything(again) == kept
    again.change(changes_of(99))
    again.close()
    last = DurableTables(str(base / "left"), lambda: None, boot=OTHER_BOOT)
    assert everything(last)[b"last"] == b"99"
    last.close()
    shutil.rmtree(base)


def test_a_sync_after_a_checkpoint_counts_when_the_journal_is_as_long_as_before(disk: Path) -> None:
    records = DurableTables(str(disk / "same"), lambda: None, boot=BOOT)
    for value in (b"one", b"two"):
        records.change([TableChange(NAMES, b"key", value)])
        records.durable()
        if value == b"one":
            records.checkpoint()
    shutil.copytree(disk / "same", disk / "same left")
    records.close()
    again = DurableTables(str(disk / "same left"), lambda: None, boot=OTHER_BOOT)
    assert again.get(NAMES, b"key") == b"two"
    again.close()
