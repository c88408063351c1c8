"""What dies, fails or comes twice leaves nothing lost and nothing wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.errors import AccessError, ConflictError, PenstockError
from penstock.project.stages.execution import shelf as shelf_module
from penstock.project.stages.execution.at_work import _processes_of
from penstock.project.stages.execution.shelf import Shelf

ROOT = Path(__file__).resolve().parents[3]


def start_repro(work, *arguments) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "repro", *arguments],
        cwd=work.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


LONG = "mkdir out; echo new > out/x; echo $$ > pid; mv pid began; while :; do sleep 0.05; done"


@pytest.fixture
def begun(work):
    """Return a project whose stage has run once and would now run for ever."""
    work.write("in", "1")
    work.stage("make", "mkdir out; echo old > out/x", ["in"], ["out"])
    work.repro()
    work.stage("make", LONG, ["in"], ["out"])
    return work


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_commands_and_puts_back_what_was_there(begun, number):
    process = start_repro(begun)
    wait_for(begun.root / "began")
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert not is_alive(int(begun.read("began")))
    assert begun.read("out/x") == "old\n"
    assert begun.status() == {"make": ["its command is another"]}


def test_after_a_kill_commands_that_live_on_are_named_and_then_all_is_put_back(begun):
    process = start_repro(begun)
    wait_for(begun.root / "began")
    process.kill()
    process.communicate(timeout=60)
    command = int(begun.read("began"))
    token = (begun.root / ".penstock/stages/running").read_text().split()[1]
    with pytest.raises(ConflictError, match="still run") as raised:
        begun.repro()
    assert str(command) in raised.value.what
    os.kill(command, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while _processes_of(token):  # also what it had started: a sleep lives on a little
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begun.stage("make", "mkdir out; echo old > out/x", ["in"], ["out"])
    assert begun.repro()["make"].outcome == "up to date"
    assert begun.warnings == ["a run of stage 'make' had died: what was there before it is there again"]
    (left,) = (begun.root / ".penstock/stages/failed").iterdir()
    assert (left / "0-out" / "x").read_text() == "new\n"


def test_two_at_once_are_told_of_each_other(begun):
    process = start_repro(begun)
    try:
        wait_for(begun.root / "began")
        with pytest.raises(ConflictError, match="already") as raised:
            begun.repro()
        assert f"process {process.pid}" in raised.value.why
        assert begun.status() == {"make": ["its command is another", "out is not what the stage made"]}
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert begun.read("out/x") == "old\n"


class Died(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", range(12))
def test_a_death_at_any_step_of_putting_aside_and_back_loses_nothing(tmp_path, monkeypatch, step):
    root, state = tmp_path / "root", tmp_path / "state"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "x").write_text(f"old {name}")
    count = 0

    def dying(real):
        def call(*arguments):
            nonlocal count
            count += 1
            if count == step + 1:
                raise Died
            return real(*arguments)

        return call

    def run():
        shelved = Shelf(str(root), str(state)).take("s", ["a", "b", "c"])
        shelved.note_moved()
        (root / "a").mkdir()
        (root / "a" / "x").write_text("new a")
        (root / "c").write_text("new c")
        shelved.put_back()

    died = False
    with monkeypatch.context() as patch:
        for name in ("move", "replace_file", "remove"):
            patch.setattr(shelf_module, name, dying(getattr(shelf_module, name)))
        try:
            run()
        except Died:
            died = True
    assert died == (count == step + 1)
    Shelf(str(root), str(state)).recover()
    assert Shelf(str(root), str(state)).recover() == []
    for name in ("a", "b"):
        assert (root / name / "x").read_text() == f"old {name}"
    kept = sorted(path.read_text() for path in (state / "stages/failed").rglob("*") if path.is_file())
    if (root / "c").exists():  # it died before anybody said that the command runs
        assert kept == []
    elif count > 3:
        assert kept in ([], ["new a", "new c"])


def test_a_full_disk_while_outputs_are_kept_leaves_what_was_there(work, monkeypatch):
    work.write("in", "1")
    work.stage("copy", "cp in out", ["in"], ["out"])
    work.repro()
    work.write("in", "2")
    from penstock.store.local import LocalStore

    def full(self, key, *rest, **more):
        raise AccessError("no room", why=os.strerror(errno.ENOSPC))

    before = work.read("penstock.lock")
    with monkeypatch.context() as patch:
        for name in ("create", "put", "put_file"):
            patch.setattr(LocalStore, name, full)
        result = work.repro()["copy"]
    assert result.outcome == "failed"
    assert isinstance(result.error, PenstockError)
    assert (work.read("out"), work.read("penstock.lock")) == ("1", before)
    assert work.outcomes() == {"copy": "ran"}
    assert work.read("out") == "2"


def test_items_that_were_done_before_a_kill_are_not_done_again(work):
    for name in ("a", "b", "c"):
        work.write(f"in/{name}", name)
    wait = "if test {stem} = c && ! test -e go; then touch began; while :; do sleep 0.05; done; fi"
    work.stage("each", f"{wait}; cp {{input}} {{output}}; echo {{stem}} >> calls", [], ["out"], each="in")
    process = start_repro(work, "-j", "1")
    wait_for(work.root / "began")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    work.write("go")
    token = (work.root / ".penstock/stages/running").read_text().split()[1]
    for pid in _processes_of(token):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(map(is_alive, _processes_of(token))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert work.repro()["each"].ran == 1
    assert sorted(work.read("calls").split()) == ["a", "b", "c"]
    assert sorted(os.listdir(work.root / "out")) == ["a", "b", "c"]
