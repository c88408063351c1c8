"""Commands: their output, their end, and how they are stopped."""

from __future__ import annotations

import os
import threading
import time

import pytest

from penstock.project.stages.execution.command import StageCommand


def start(text, tmp_path, patience=(0.3, 0.3)):
    """Run a command in a thread; give it, what it wrote, and what joins the thread and returns how it ended."""
    lines, ended = [], []
    began = threading.Event()

    def tell(line):
        lines.append(line)
        began.set()

    command = StageCommand(text, str(tmp_path), dict(os.environ), tell, patience=patience)
    thread = threading.Thread(target=lambda: ended.append(command.run()))
    thread.start()

    def join():
        thread.join(60)
        assert ended
        return ended[0]

    return command, lines, began, join


def test_its_output_is_told_by_lines_whatever_they_end_with(tmp_path):
    _, lines, _, join = start("printf 'a\\r\\nb\\rc\\n\\nd' ; echo e >&2; exit 3", tmp_path)
    assert join() == (3, False)
    assert lines == ["a", "b", "c", "", "de"]


def test_a_line_without_end_is_told_in_pieces(tmp_path):
    _, lines, _, join = start("head -c 300000 /dev/zero | tr '\\0' x", tmp_path)
    assert join().code == 0
    assert "".join(lines) == "x" * 300_000
    assert len(lines) > 1


@pytest.mark.parametrize(
    ("trap", "code"),
    [("", -2), ("trap 'exit 7' INT;", 7), ("trap '' INT;", -15), ("trap '' INT TERM;", -9)],
)
def test_stop_asks_first_and_then_insists(tmp_path, trap, code):
    command, _, began, join = start(f"{trap} echo on; while :; do sleep 0.05; done", tmp_path)
    assert began.wait(30)
    command.stop()
    assert join().code == code


def test_a_second_stop_leaves_no_time(tmp_path):
    command, _, began, join = start("trap '' INT TERM; echo on; while :; do sleep 0.05; done", tmp_path, (600, 600))
    assert began.wait(30)
    command.stop()
    command.stop()
    assert join().code == -9


def test_what_was_stopped_before_it_began_does_not_begin(tmp_path):
    command = StageCommand("touch it", str(tmp_path), dict(os.environ), print)
    command.stop()
    assert command.run().code < 0
    assert not (tmp_path / "it").exists()


def test_nothing_of_it_runs_on(tmp_path):
    loop = "sh -c 'while :; do sleep 0.05; echo $$ > quiet.new; mv quiet.new quiet; done' > /dev/null 2>&1"
    text = f"{loop} & while ! test -s quiet; do sleep 0.05; done"
    _, _, _, join = start(text, tmp_path)
    assert join().code == 0
    pid = int((tmp_path / "quiet").read_text())
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True
