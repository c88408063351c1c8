"""Progress is drawn on a terminal and nowhere else, and costs next to nothing."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from penstock.cli.progress import ProgressDisplay
from penstock.cli.waiting import clear, wait_line
from penstock.errors import CancelledError
from penstock.progress import ProgressMeter
from penstock.repo.push.directory_total import total_told
from penstock.waits import waiting_for


class Terminal:
    """A pseudo-terminal that somebody watches: `shown` is all that was written so far."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = open(slave, "w")  # noqa: SIM115  # closed by close()
        self.shown = b""
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            try:
                read = os.read(self._master, 65536)
            except OSError:  # EIO: the other side is closed
                return
            self.shown += read

    def close(self) -> str:
        self.stream.close()
        self._thread.join(10)
        os.close(self._master)
        return self.shown.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    yield terminal
    if not terminal.stream.closed:
        terminal.close()


def test_a_terminal_shows_it(terminal: Terminal) -> None:
    with ProgressDisplay(terminal.stream) as progress:
        stage = progress.stage("uploading \x1b[2J", total=5_000_000)
        for _ in range(1000):
            stage.advance(2500)
        files = progress.stage("files", unit="items")
        files.advance()
        files.total(7)
    shown = terminal.close()
    assert "uploading \\e[2J" in shown
    assert "2.5 MB of 5 MB" in shown
    assert "1 of 7" in shown


def test_what_threads_count_adds_up(terminal: Terminal) -> None:
    with ProgressDisplay(terminal.stream) as progress:
        stage = progress.stage("files", total=40_000, unit="items")
        threads = [threading.Thread(target=lambda: deque(map(stage.advance, [1] * 10_000), 0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "40000 of 40000" in terminal.close()


def test_nothing_is_drawn_elsewhere(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown in ((io.StringIO(), True), (terminal.stream, False)):
        with ProgressDisplay(stream, shown=shown) as progress:
            progress.stage("uploading", total=2).advance()
        assert stream is terminal.stream or stream.getvalue() == ""  # type: ignore[attr-defined]  # a StringIO
    monkeypatch.setenv("TERM", "dumb")
    with ProgressDisplay(terminal.stream) as progress:
        progress.stage("uploading", total=2).advance()
    assert terminal.close() == ""


def test_an_error_takes_the_display_away(terminal: Terminal) -> None:
    with pytest.raises(KeyError), ProgressDisplay(terminal.stream) as progress:
        progress.stage("uploading", total=2).advance()
        raise KeyError("x")
    # The cursor was hidden, and is back.
    assert terminal.close().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.shown.decode()


def test_ctrl_c_ends_the_work_of_other_threads_too() -> None:
    with ProgressDisplay(io.StringIO()) as progress:
        stage = progress.stage("uploading")
        stage.advance(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(CancelledError):
            stage.advance(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_waited_for_is_told_and_cleared_away(terminal: Terminal) -> None:
    with wait_line(terminal.stream):
        with waiting_for("s3.example to list \x1b[2J"):
            until = time.monotonic() + 60
            while b"(2 s)" not in terminal.shown:
                assert time.monotonic() < until
                time.sleep(0.05)
        clear()
    shown = terminal.close()
    assert "penstock: waiting for s3.example to list \\e[2J" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_display_tells_what_is_waited_for(terminal: Terminal) -> None:
    with ProgressDisplay(terminal.stream) as progress, wait_line(terminal.stream), waiting_for("the store"):
        progress.stage("uploading", total=2).advance()
        until = time.monotonic() + 60
        while b"waiting for the store" not in terminal.shown:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert "penstock: waiting" not in terminal.close()  # once, not twice


def test_a_narrow_terminal_has_no_room_for_a_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with ProgressDisplay(terminal.stream) as progress:
        progress.stage("reading", total=5_000_000).advance(2_500_000)
    shown = terminal.close()
    assert "2.5 MB of 5 MB" in shown
    assert "━" not in shown


def test_a_directory_is_counted_beside_the_push(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b").write_bytes(b"x" * 5)
    (tmp_path / ".penstockignore").write_text("*.tmp\n")
    (tmp_path / "c.tmp").write_bytes(b"x" * 100)
    meter = ProgressMeter()
    stage = meter.stage("reading")
    with total_told(str(tmp_path), stage):
        until = time.monotonic() + 60
        while meter.states()[0].total is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert meter.states()[0].total == 15 + len("*.tmp\n")
    with total_told(str(tmp_path / "gone"), meter.stage("reading")):
        pass  # the push tells of it
    assert meter.states()[1].total is None
