"""The line that says what a command waits for, once it has for a second: on a terminal, where nothing else is drawn.

`wait_line` draws it from a thread, on standard error; whoever writes a line clears it away first (`clear`). While a
progress display is drawn, that shows the same (`shown_wait`), and this is silent.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from penstock.waits import longest_wait

from .text import escape

__all__ = ["can_draw", "clear", "shown_wait", "suspended", "wait_line"]

_AFTER = 1.0
_INTERVAL = 0.5


class _Drawn:
    """What is on the terminal now. `stream` is None where nothing is; `quiet` counts displays that draw it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stream: TextIO | None = None
        self.quiet = 0


_drawn = _Drawn()


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can clear a line."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "")


def shown_wait() -> str:
    """Return what is waited for, if that has lasted long enough to be told; else nothing."""
    wait = longest_wait()
    seconds = time.monotonic() - wait.since if wait is not None else 0.0
    return f"waiting for {escape(wait.what)} ({seconds:.0f} s)" if wait is not None and seconds >= _AFTER else ""


def clear() -> None:
    """Take the line away: somebody else is about to write."""
    if _drawn.stream is not None:
        with _drawn.lock:
            _clear()


def _clear() -> None:
    if _drawn.stream is not None:
        _drawn.stream.write("\r\x1b[K")
        _drawn.stream.flush()
        _drawn.stream = None


@contextmanager
def suspended() -> Iterator[None]:
    """Draw nothing while the block lasts: a display shows what is waited for."""
    with _drawn.lock:
        _drawn.quiet += 1
        _clear()
    try:
        yield
    finally:
        with _drawn.lock:
            _drawn.quiet -= 1


@contextmanager
def wait_line(stream: TextIO) -> Iterator[None]:
    """Show what is waited for while the block lasts."""
    ended = threading.Event()

    def draw() -> None:
        while not ended.wait(_INTERVAL):
            text = shown_wait()
            width = shutil.get_terminal_size().columns - 1
            with _drawn.lock:
                if not text or _drawn.quiet or ended.is_set():
                    _clear()
                    continue
                _drawn.stream = stream
                stream.write("\r\x1b[K" + f"penstock: {text}"[:width])
                stream.flush()

    thread = threading.Thread(target=draw, name="penstock-wait-line", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        clear()
