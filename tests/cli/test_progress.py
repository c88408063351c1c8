"""Progress is drawn on a terminal and nowhere else, and costs next to nothing."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

import pytest

from penstock.cli.progress import Progress


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
    with Progress(terminal.stream) as progress:
        task = progress.task("uploading \x1b[2J", total=5_000_000)
        for _ in range(1000):
            task.advance(2500)
        files = progress.task("files", unit="items")
        files.advance()
        files.set_total(7)
        files.set_label("hashed")
    shown = terminal.close()
    assert "uploading \\e[2J" in shown
    assert "2.5 MB of 5 MB" in shown
    assert "hashed" in shown
    assert "1 of 7" in shown


def test_what_threads_count_adds_up(terminal: Terminal) -> None:
    with Progress(terminal.stream) as progress:
        task = progress.task("files", total=40_000, unit="items")
        threads = [threading.Thread(target=lambda: deque(map(task.advance, [1] * 10_000), 0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "40000 of 40000" in terminal.close()


def test_nothing_is_drawn_elsewhere(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown in ((io.StringIO(), True), (terminal.stream, False)):
        with Progress(stream, shown=shown) as progress:
            progress.task("uploading", total=2).advance()
        assert stream is terminal.stream or stream.getvalue() == ""  # type: ignore[attr-defined]  # a StringIO
    monkeypatch.setenv("TERM", "dumb")
    with Progress(terminal.stream) as progress:
        progress.task("uploading", total=2).advance()
    assert terminal.close() == ""


def test_an_error_takes_the_display_away(terminal: Terminal) -> None:
    with pytest.raises(KeyError), Progress(terminal.stream) as progress:
        progress.task("uploading", total=2).advance()
        raise KeyError("x")
    # The cursor was hidden, and is back.
    assert terminal.close().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.shown.decode()
